"""From arguments, image and metadata to the one role that this machine plays."""

from __future__ import annotations

import argparse
import sys

from . import initialise, join
from .aws import Api, endpoint_override
from .failures import NodeError
from .machine import (
    Machine,
    log,
    name_in_hosts,
    read_image,
    remember_cluster,
    wait_for_runtime,
)
from .metadata import Metadata


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="boot.py", description="Make this machine a node of a kubeadm cluster.")
    parser.add_argument("--cluster", required=True, help="name of the cluster")
    parser.add_argument("--role", required=True, choices=("control-plane", "worker"))
    parser.add_argument("--endpoint", required=True, metavar="HOST:PORT", help="where the Kubernetes API answers")
    parser.add_argument("--target-group", metavar="ARN", help="control plane: the API load balancer's target group")
    parser.add_argument(
        "--group", metavar="NAME", help="control plane: its group, whose launch hook the founder completes"
    )
    options = parser.parse_args(arguments)
    if options.role == "control-plane" and not options.target_group:
        parser.error("a control plane needs --target-group, else no machine will ever reach its API server")
    return options


def boot(options: argparse.Namespace) -> None:
    """Play the role to its end. A second run on the same machine finds everything done and changes nothing."""
    image = read_image()
    metadata = Metadata()
    identity = metadata.identity()
    machine = Machine(identity=identity, image=image, cluster=options.cluster, endpoint=options.endpoint)
    log(f"{identity.instance_id} in {identity.zone} at {identity.address}: {options.role} of cluster {options.cluster}")
    remember_cluster(options.cluster, options.endpoint)
    name_in_hosts(machine.node_name, identity.address)
    wait_for_runtime(image.cri_socket)
    api = Api(identity.region, metadata.credentials, endpoint_override(image.aws_endpoint_url))
    if options.role == "control-plane" and initialise.may_found(machine, api):
        initialise.found(machine, api, options.target_group)
        if options.group:
            initialise.go_into_service(machine, api, options.group)
    elif options.role == "control-plane":
        join.control_plane(machine, api)
    else:
        join.worker(machine, api)
    log("done")


def main() -> int:
    options = parse()
    try:
        boot(options)
    except NodeError as problem:
        log(f"failed: {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
