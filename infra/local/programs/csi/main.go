// The storage driver of a local world, and what a pod does with a volume. The first argument picks the part:
//
//	csi-driver controller -endpoint SOCKET            attaches volumes, asked by the external-attacher
//	csi-driver node -endpoint SOCKET -node ID ...     mounts what is attached to its machine, asked by the kubelet
//	csi-driver write FILE                             appends a numbered line ten times a second
//	csi-driver ready FILE                             whether this pod has written into the file
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const (
	driverName    = "volumes.regrow.dev"
	driverVersion = "1.0.0"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "csi-driver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to be: controller, node, write or ready")
	}
	part, args := args[0], args[1:]
	flags := flag.NewFlagSet(part, flag.ExitOnError)
	endpoint := flags.String("endpoint", "", "the socket to answer on")
	root := flags.String("storage", "", "the directory that every machine reaches")
	switch part {
	case "controller":
		if err := flags.Parse(args); err != nil {
			return err
		}
		return serveController(ctx, *endpoint, storage{*root})
	case "node":
		node := flags.String("node", "", "the machine that this one mounts on")
		seen := flags.String("kubelet-endpoint", "", "the endpoint as the kubelet sees it")
		registration := flags.String("registration", "", "the socket on which the kubelet learns of the driver")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return serveNode(ctx, *endpoint, *registration, *seen, *node, storage{*root})
	case "write", "ready":
		if len(args) != 1 {
			return fmt.Errorf("%s takes one file", part)
		}
		if part == "ready" {
			return hasWritten(args[0], os.Getenv("POD_UID"))
		}
		return write(ctx, args[0], os.Getenv("POD_UID"))
	}
	return fmt.Errorf("%q is not one of controller, node, write and ready", part)
}
