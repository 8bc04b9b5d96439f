"""Many workers at once, on paper: a group of instances that only EC2 knows, and a Node for each on the real API server.

What Regrow, AWS and the API server see of them is what they see of any worker that has joined; no kubelet is behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, config

from infra.local.cluster import Cluster, wait_for
from infra.local.machines.paper import ON_PAPER_TAG

SUBNETS = {"a": "10.77.64.0/18", "b": "10.77.128.0/18"}
NAMESPACE = "crowd"
IMAGES = 50  # as many as a kubelet lists (kubelet configuration, nodeStatusMaxImages)
_TOGETHER = 8
_BEAT_EVERY_S = 10.0  # as a kubelet renews its lease


@dataclass(frozen=True)
class Crowd:
    """The instances of the crowd's group, and a way to the API server as its admin."""

    cluster: Cluster
    group: str
    machines: tuple[str, ...]
    core: Any

    def make_nodes(self) -> None:
        """A Node for each instance, as a kubelet would have made it."""
        found = {one["InstanceId"]: one for one in instances(self.cluster, self.machines)}
        _each(self.machines, lambda machine: post(self.core, "/api/v1/nodes", node_of(found[machine])))

    def run_pods(self, count: int) -> None:
        """So many pods on each machine, Running and Ready, that go at once when they are evicted."""
        with contextlib.suppress(client.ApiException):
            self.core.create_namespace({"metadata": {"name": NAMESPACE}})
        accounts = self.core.list_namespaced_service_account
        wait_for("the namespace's account", lambda: bool(accounts(NAMESPACE).items), within_s=30)
        named = [(machine, number) for machine in self.machines for number in range(count)]
        _each(named, lambda one: _run_pod(self.core, *one))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Renew each Node's lease meanwhile, or Kubernetes would take them all for lost."""
        stopped = threading.Event()
        leases = client.CoordinationV1Api(self.core.api_client)

        def beat() -> None:
            while True:
                _each(self.machines, lambda machine: _renew(leases, machine))
                if stopped.wait(_BEAT_EVERY_S):
                    return

        thread = threading.Thread(target=beat, name="crowd", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def remove(self) -> None:
        """The group with all its instances, their Nodes and pods, and wait until EC2 has no more to tell of them."""
        autoscaling = self.cluster.client("autoscaling")
        autoscaling.delete_auto_scaling_group(AutoScalingGroupName=self.group, ForceDelete=True)
        with contextlib.suppress(client.ApiException):
            self.core.delete_namespace(NAMESPACE)
        _each(self.machines, lambda machine: _gone(lambda: self.core.delete_node(machine)))
        wait_for("the end of the crowd's instances", self._ended, within_s=120, every_s=1.0)

    def _ended(self) -> bool:
        return all(one["State"]["Name"] == "terminated" for one in instances(self.cluster, self.machines))


@contextmanager
def crowd(cluster: Cluster, name: str, count: int, *, template: dict[str, Any] | None = None) -> Iterator[Crowd]:
    """A worker group of the cluster with this many instances in service. `template` adds to its launch template.

    Nobody is told of their launch unless the caller lets events through: they have not been let in by Regrow.
    """
    group = f"regrow-{cluster.name}-{name}"
    _make_group(cluster, group, template or {}, count)
    try:
        machines = _in_service(cluster, group, count)
        core = client.CoreV1Api(config.new_client_from_config(str(cluster.kubeconfig)))
        made = Crowd(cluster, group, machines, core)
        try:
            yield made
        finally:
            made.remove()
    finally:
        ec2 = cluster.client("ec2")
        ec2.delete_launch_template(LaunchTemplateName=group)


def _make_group(cluster: Cluster, group: str, template: dict[str, Any], count: int) -> None:
    ec2, autoscaling = cluster.client("ec2"), cluster.client("autoscaling")
    image = ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
    data = {"ImageId": image, "InstanceType": "m7g.large", **template}
    ec2.create_launch_template(LaunchTemplateName=group, LaunchTemplateData=data)
    tags = {"regrow:cluster": cluster.name, "regrow:role": "worker", ON_PAPER_TAG: "yes"}
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=group,
        LaunchTemplate={"LaunchTemplateName": group, "Version": "$Latest"},
        MinSize=0,
        MaxSize=count,
        DesiredCapacity=count,
        VPCZoneIdentifier=",".join(_subnets(ec2)),
        Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
    )


def _subnets(ec2: Any) -> list[str]:
    """Of their own: a machine on paper takes no address that a real one could need."""
    vpc = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["regrow"]}])["Vpcs"][0]["VpcId"]
    there = {one["CidrBlock"]: one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]}
    for zone, block in SUBNETS.items():
        if block not in there:
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"{ec2.meta.region_name}{zone}")
            there[block] = made["Subnet"]["SubnetId"]
    return [there[block] for block in SUBNETS.values()]


def _in_service(cluster: Cluster, group: str, count: int) -> tuple[str, ...]:
    autoscaling = cluster.client("autoscaling")

    def members() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])[
            "AutoScalingGroups"
        ][0]["Instances"]
        return [member for member in found if member["LifecycleState"] == "InService"]

    wait_for(f"{count} instances in service", lambda: len(members()) == count, within_s=60 + count / 2, every_s=1.0)
    return tuple(sorted(member["InstanceId"] for member in members()))


def instances(cluster: Cluster, machines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for first in range(0, len(machines), 100):
        answer = cluster.client("ec2").describe_instances(InstanceIds=list(machines[first : first + 100]))
        for reservation in answer["Reservations"]:
            yield from reservation["Instances"]


def node_of(instance: dict[str, Any]) -> dict[str, Any]:
    """The Node that a kubelet of this instance would have made, with all that a kubelet in life tells."""
    machine, zone = instance["InstanceId"], instance["Placement"]["AvailabilityZone"]
    address = instance["PrivateIpAddress"]
    labels = {
        "beta.kubernetes.io/arch": "arm64",
        "beta.kubernetes.io/instance-type": instance["InstanceType"],
        "beta.kubernetes.io/os": "linux",
        "failure-domain.beta.kubernetes.io/region": zone[:-1],
        "failure-domain.beta.kubernetes.io/zone": zone,
        "kubernetes.io/arch": "arm64",
        "kubernetes.io/hostname": machine,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance["InstanceType"],
        "topology.k8s.aws/zone-id": "use1-az1",
        "topology.kubernetes.io/region": zone[:-1],
        "topology.kubernetes.io/zone": zone,
    }
    annotations = {
        "csi.volume.kubernetes.io/nodeid": json.dumps({"ebs.csi.aws.com": machine}),
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": machine, "labels": labels, "annotations": annotations},
        "spec": {"providerID": f"aws:///{zone}/{machine}"},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "InternalDNS", "address": instance["PrivateDnsName"]},
                {"type": "Hostname", "address": machine},
            ],
            "allocatable": {"cpu": "1930m", "memory": "7244720Ki", "pods": "110", "ephemeral-storage": "18242267924"},
            "capacity": {"cpu": "2", "memory": "7902128Ki", "pods": "110", "ephemeral-storage": "20893676Ki"},
            "conditions": _conditions(),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": [_image(number) for number in range(IMAGES)],
            "nodeInfo": {
                "architecture": "arm64",
                "bootID": _hash(f"{machine} boot")[:36],
                "containerRuntimeVersion": "containerd://2.2.0",
                "kernelVersion": "6.12.58-82.121.amzn2023.aarch64",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.36.3",
                "machineID": _hash(machine)[:32],
                "operatingSystem": "linux",
                "osImage": "Amazon Linux 2023.9.20251117",
                "systemUUID": _hash(f"{machine} system")[:36],
            },
        },
    }


def _conditions() -> list[dict[str, str]]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    well = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return [
        {"type": type_, "status": status, "reason": reason, "message": message, **times}
        for type_, status, reason, message in well
    ]


def _image(number: int) -> dict[str, Any]:
    """By digest and by tag, as a kubelet names an image: some 230 bytes."""
    repository = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/team-{number % 7}/service-{number}"
    names = [f"{repository}@sha256:{_hash(repository)}", f"{repository}:v1.{number}.0"]
    return {"names": names, "sizeBytes": 200_000_000 - number * 1_000_003}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _run_pod(core: Any, machine: str, number: int) -> None:
    name = f"{machine}-{number}"
    spec = {
        "nodeName": machine,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "one", "image": "registry.k8s.io/pause:3.10.2"}],
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
    }
    post(core, f"/api/v1/namespaces/{NAMESPACE}/pods", {"metadata": {"name": name}, "spec": spec})
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    core.patch_namespaced_pod_status(name, NAMESPACE, {"status": ready}, _preload_content=False)


def _renew(leases: Any, machine: str) -> None:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    spec = {"holderIdentity": machine, "leaseDurationSeconds": 40, "renewTime": now}
    body = {"metadata": {"name": machine}, "spec": spec}
    try:
        leases.patch_namespaced_lease(machine, "kube-node-lease", body, _preload_content=False)
    except client.ApiException as error:
        if error.status != 404:
            raise
        leases.create_namespaced_lease("kube-node-lease", body, _preload_content=False)


def post(core: Any, path: str, body: dict[str, Any]) -> None:
    """Create an object. The client's own method would first make its model of the answer, which costs more."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    core.api_client.call_api(
        path, "POST", header_params=headers, body=body, auth_settings=["BearerToken"], _preload_content=False
    )


def _gone(delete: Callable[[], Any]) -> None:
    try:
        delete()
    except client.ApiException as error:
        if error.status != 404:
            raise


def _each(things: Sequence[Any], do: Callable[[Any], None]) -> None:
    with ThreadPoolExecutor(max_workers=_TOGETHER) as together:
        list(together.map(do, things))
