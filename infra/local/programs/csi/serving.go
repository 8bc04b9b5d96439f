package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// listening is a socket, and what is answered there.
type listening struct {
	socket   string
	register func(*grpc.Server)
}

// serve answers on the sockets, the first one first, until the context ends or one of them fails.
func serve(ctx context.Context, all ...listening) error {
	failed := make(chan error, len(all))
	for _, one := range all {
		// An earlier life has left its own, on which nobody answers.
		if err := os.Remove(one.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		listener, err := net.Listen("unix", one.socket)
		if err != nil {
			return fmt.Errorf("nobody can ask at %s: %w", one.socket, err)
		}
		server := grpc.NewServer()
		one.register(server)
		defer server.Stop()
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

type identity struct {
	csi.UnimplementedIdentityServer
}

func (identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: driverVersion}, nil
}

func (identity) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	attaches := &csi.PluginCapability_Service_{
		Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
	}
	capability := &csi.PluginCapability{Type: attaches}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{capability}}, nil
}

func (identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

// registrar answers the kubelet, which finds the socket in its plugin registry and asks what it is
// (Kubernetes, pluginregistration/v1).
type registrar struct {
	registerapi.UnimplementedRegistrationServer
	endpoint string
}

func (r registrar) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type:              registerapi.CSIPlugin,
		Name:              driverName,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{driverVersion},
	}, nil
}

func (r registrar) NotifyRegistrationStatus(
	_ context.Context, status *registerapi.RegistrationStatus,
) (*registerapi.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		// Started again, it is found and asked again.
		log.Fatalf("the kubelet does not take this driver: %s", status.Error)
	}
	log.Print("the kubelet knows this driver")
	return &registerapi.RegistrationStatusResponse{}, nil
}
