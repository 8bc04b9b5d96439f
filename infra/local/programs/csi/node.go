package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// node mounts, on one machine, the volumes that are attached to it.
type node struct {
	csi.UnimplementedNodeServer
	id      string
	storage storage
}

func serveNode(ctx context.Context, endpoint, registration, seen, id string, storage storage) error {
	if id == "" {
		return errors.New("-node is missing")
	}
	driver := listening{endpoint, func(server *grpc.Server) {
		csi.RegisterIdentityServer(server, identity{})
		csi.RegisterNodeServer(server, &node{id: id, storage: storage})
	}}
	announcement := listening{registration, func(server *grpc.Server) {
		registerapi.RegisterRegistrationServer(server, registrar{endpoint: seen})
	}}
	// The kubelet calls the driver as soon as it has seen the announcement.
	return serve(ctx, driver, announcement)
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.id}, nil
}

func (n *node) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	stages := &csi.NodeServiceCapability_Rpc{
		Rpc: &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME},
	}
	capability := &csi.NodeServiceCapability{Type: stages}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{capability}}, nil
}

// NodeStageVolume refuses a volume that this machine does not have: on a real one there would be no device.
func (n *node) NodeStageVolume(
	_ context.Context, request *csi.NodeStageVolumeRequest,
) (*csi.NodeStageVolumeResponse, error) {
	if request.GetVolumeCapability().GetMount() == nil {
		return nil, status.Error(codes.InvalidArgument, "only file systems can be mounted")
	}
	data, err := n.storage.data(request.VolumeId)
	if err != nil {
		return nil, told(err)
	}
	has, err := n.storage.attachedTo(request.VolumeId)
	if err == nil && has != n.id {
		err = fmt.Errorf("%w: %s is attached to %q, not to %s", errInUse, request.VolumeId, has, n.id)
	}
	if err == nil {
		err = bind(data, request.StagingTargetPath, false)
	}
	if err != nil {
		return nil, told(err)
	}
	log.Printf("%s is staged", request.VolumeId)
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *node) NodePublishVolume(
	_ context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	if err := bind(request.StagingTargetPath, request.TargetPath, request.Readonly); err != nil {
		return nil, told(err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) NodeUnpublishVolume(
	_ context.Context, request *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := release(request.TargetPath); err != nil {
		return nil, told(err)
	}
	// Never with what is in it: were it still mounted, that would be the volume's data.
	if err := os.Remove(request.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, told(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *node) NodeUnstageVolume(
	_ context.Context, request *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	if err := release(request.StagingTargetPath); err != nil {
		return nil, told(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func bind(source, target string, readOnly bool) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if mounted, err := isMountPoint(target); err != nil || mounted {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s is not mounted at %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func release(target string) error {
	mounted, err := isMountPoint(target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !mounted {
		return err
	}
	return unix.Unmount(target, 0)
}

// isMountPoint asks the kernel (statx(2), STATX_ATTR_MOUNT_ROOT): a bind mount has its source's device number.
func isMountPoint(path string) (bool, error) {
	var about unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &about); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if about.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false, errors.New("this kernel does not say what is mounted: Linux 5.8 or newer is needed")
	}
	return about.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
