package main

import (
	"context"
	"errors"
	"log"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controller attaches and detaches, for a cluster whose volumes are made beforehand.
type controller struct {
	csi.UnimplementedControllerServer
	storage storage
	// One change at a time: detaching looks before it removes.
	changing sync.Mutex
}

func serveController(ctx context.Context, endpoint string, storage storage) error {
	return serve(ctx, listening{endpoint, func(server *grpc.Server) {
		csi.RegisterIdentityServer(server, identity{})
		csi.RegisterControllerServer(server, &controller{storage: storage})
	}})
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	publishes := &csi.ControllerServiceCapability_Rpc{
		Rpc: &csi.ControllerServiceCapability_RPC{Type: csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME},
	}
	capability := &csi.ControllerServiceCapability{Type: publishes}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{capability}}, nil
}

func (c *controller) ControllerPublishVolume(
	_ context.Context, request *csi.ControllerPublishVolumeRequest,
) (*csi.ControllerPublishVolumeResponse, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if request.NodeId == "" {
		return nil, status.Error(codes.InvalidArgument, "to which instance?")
	}
	if err := c.storage.attach(request.VolumeId, request.NodeId); err != nil {
		log.Printf("%s is not attached to %s: %v", request.VolumeId, request.NodeId, err)
		return nil, told(err)
	}
	log.Printf("%s is attached to %s", request.VolumeId, request.NodeId)
	return &csi.ControllerPublishVolumeResponse{}, nil
}

func (c *controller) ControllerUnpublishVolume(
	_ context.Context, request *csi.ControllerUnpublishVolumeRequest,
) (*csi.ControllerUnpublishVolumeResponse, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if err := c.storage.detach(request.VolumeId, request.NodeId); err != nil {
		return nil, told(err)
	}
	log.Printf("%s is detached from %s", request.VolumeId, request.NodeId)
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

// told gives an error the code that the CSI specification has for it.
func told(err error) error {
	switch {
	case errors.Is(err, errNoVolume):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, errInUse):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}
