"""A whole cluster in a world: the groups from their template, machines that boot by themselves, Regrow deployed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from infra.deployment.package import fetch_requirements
from infra.deployment.stack import ensure_stack
from infra.local.building import build, emulator
from infra.local.building.cache import cache_root
from infra.local.host import probe
from infra.local.places import CHECKOUT, WorldError
from infra.local.progress import Progress
from infra.local.worlds.world import World

CLUSTER_TEMPLATE = CHECKOUT / "infra/cluster/template.yaml"
API_ADDRESS = "10.77.0.10"
POD_NETWORK = "10.200.0.0/14"
WORKERS = 2
CONTROL_PLANES = 1
READY_WITHIN_S = 120.0
_JOINS_WITHIN_S = 60.0
"""How much longer it may take for each control plane after the first one: they join one after another."""
SWEEP_EVERY_S = 5.0
_SWEEP_EVENT = CHECKOUT / "events" / "sweep.json"
_HEALTH_CHECK_S = 5  # the shortest that Elastic Load Balancing takes


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up. The process that holds it is in the world's network."""

    world: World
    session: Any
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.world.name

    @property
    def worker_group(self) -> str:
        return f"regrow-{self.name}-worker"

    @property
    def control_plane_group(self) -> str:
        return f"regrow-{self.name}-control-plane"

    def client(self, service: str) -> Any:
        """A boto3 client of the world's AWS; made once, since that costs more than a call."""
        if service not in self._clients:
            self._clients[service] = self.session.client(service)
        return self._clients[service]

    @property
    def kubeconfig(self) -> Path:
        found = self.world.admin_kubeconfig()
        if found is None:
            raise WorldError(f"World {self.name!r} has no control plane; `make up` makes one.")
        return found

    @property
    def delays(self) -> str:
        """The preset of this world's AWS."""
        return str(json.loads(self.world.place.settings.read_text())["delays"])

    def groups(self) -> list[dict[str, Any]]:
        """The cluster's groups as Auto Scaling lists them."""
        of_cluster = {"Name": "tag:regrow:cluster", "Values": [self.name]}
        groups: list[dict[str, Any]] = self.client("autoscaling").describe_auto_scaling_groups(Filters=[of_cluster])[
            "AutoScalingGroups"
        ]
        return groups

    def workers(self) -> dict[str, Any]:
        """The workers' group."""
        return self.group(self.worker_group)

    def group(self, name: str) -> dict[str, Any]:
        """A group as Auto Scaling describes it."""
        answer = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        group: dict[str, Any] = answer["AutoScalingGroups"][0]
        return group

    def members(self, of: str | None = None) -> tuple[dict[str, str], int]:
        """The members of a group, the workers' if none is named, instance to lifecycle state, and the size it wants."""
        group = self.group(of or self.worker_group)
        members = {member["InstanceId"]: member["LifecycleState"] for member in group["Instances"]}
        return members, group["DesiredCapacity"]

    def initialised_by(self) -> str | None:
        """The machine that initialised the cluster; None until the cluster exists for others."""
        ssm = self.client("ssm")
        try:
            answer = ssm.get_parameter(Name=f"/regrow/{self.name}/initialised-by")
        except ssm.exceptions.ParameterNotFound:
            return None
        return str(answer["Parameter"]["Value"])

    def function(self, name: str) -> str:
        """The full name of one of Regrow's functions."""
        return f"regrow-{self.name}-{name}"

    def topic_arn(self) -> str:
        """Where Regrow tells people something."""
        settings = self.client("lambda").get_function_configuration(FunctionName=self.function("remediate"))
        return str(settings["Environment"]["Variables"]["REGROW_TOPIC_ARN"])

    def sweep(self) -> None:
        """Order the minute's sweep now, and do not wait for it."""
        payload = _SWEEP_EVENT.read_bytes()
        self.client("lambda").invoke(FunctionName=self.function("sweep"), InvocationType="Event", Payload=payload)

    def query(self, partition: str) -> list[dict[str, Any]]:
        """The items of Regrow's table with this partition key, as DynamoDB shows them."""
        answer = self.client("dynamodb").query(
            TableName=f"regrow-{self.name}",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
            ConsistentRead=True,
        )
        items: list[dict[str, Any]] = answer["Items"]
        return items

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Run kubectl as the cluster's admin; its standard output."""
        done = subprocess.run(
            ["kubectl", *arguments],
            env={**os.environ, **self.world.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise WorldError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout


def enter(world: World) -> Cluster:
    """Move this process into the world's network and its AWS account. There is no way back for it."""
    world.enter_network()
    for name, value in world.environment().items():
        if name.startswith("AWS_"):
            os.environ[name] = value
    return Cluster(world, boto3.Session())


def up(
    name: str, *, delays: str, workers: int = WORKERS, control_planes: int = CONTROL_PLANES, progress: Progress
) -> Cluster:
    """From nothing to a deployed Regrow and a cluster whose Nodes are all Ready and whose machines are in service.

    A world in which that fails is ended again, so that nothing half made is taken for a cluster; its logs stay.
    """
    probe.check()
    programs = build.build(progress)
    emulator.ensure(progress)
    # Inside the world there is no way to PyPI any more.
    fetch_requirements(CHECKOUT / "requirements.txt", cache_root(), progress.say)
    world = World.up(name, delays=delays, programs=programs, progress=progress.say)
    try:
        cluster = enter(world)
        progress.say("the groups, their roles and the load balancer, from infra/cluster")
        make_groups(cluster, workers=workers, control_planes=control_planes, progress=progress)
        # While the machines boot: no worker joins before the functions are there that let it in.
        progress.say("Regrow itself, from infra/remediator and `chalice deploy`")
        deploy(cluster, progress)
        within_s = READY_WITHIN_S + (control_planes - 1) * _JOINS_WITHIN_S
        wait_until_ready(cluster, machines=workers + control_planes, within_s=within_s, progress=progress)
    except BaseException:
        world.down()
        raise
    return cluster


def make_groups(
    cluster: Cluster, *, workers: int, control_planes: int = CONTROL_PLANES, progress: Progress
) -> dict[str, str]:
    ec2 = cluster.client("ec2")
    ours = [{"Name": "tag:Name", "Values": ["regrow"]}]
    vpc = ec2.describe_vpcs(Filters=ours)["Vpcs"][0]
    subnets = sorted(ec2.describe_subnets(Filters=ours)["Subnets"], key=lambda subnet: subnet["CidrBlock"])
    parameters = {
        "ClusterName": cluster.name,
        "VpcId": vpc["VpcId"],
        "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
        "VpcCidr": vpc["CidrBlock"],
        "PodCidr": POD_NETWORK,
        "ApiAddress": API_ADDRESS,
        "ImageId": ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"],
        "WorkerCount": str(workers),
        "ControlPlaneCount": str(control_planes),
        "HealthCheckIntervalSeconds": str(_HEALTH_CHECK_S),
    }
    template = CLUSTER_TEMPLATE.read_text()
    formation = cluster.client("cloudformation")
    return ensure_stack(formation, f"regrow-{cluster.name}-cluster", template, parameters, progress.say)


def wait_until_ready(cluster: Cluster, *, machines: int, within_s: float = READY_WITHIN_S, progress: Progress) -> None:
    """Wait for as many Ready Nodes as there are machines, all of them in service; say meanwhile what there is.

    The machines were launched before anybody listened for that: the sweep, which finds them, is not waited for.
    """
    deadline = time.monotonic() + within_s
    swept_s = float("-inf")
    seen = "no control plane yet"

    def look() -> bool:
        nonlocal seen, swept_s
        if cluster.world.admin_kubeconfig() is None:
            return False
        lines = cluster.kubectl("get", "nodes", "--no-headers", "--request-timeout=2s", check=False).splitlines()
        ready = [line for line in lines if line.split()[1:2] == ["Ready"]]
        states = [member["LifecycleState"] for group in cluster.groups() for member in group["Instances"]]
        in_service = states.count("InService")
        seen = f"{len(ready)} of {machines} Nodes are Ready, {in_service} of {machines} machines in service"
        if len(ready) < machines and time.monotonic() - swept_s >= SWEEP_EVERY_S and cluster.initialised_by():
            swept_s = time.monotonic()
            cluster.sweep()
        return len(ready) >= machines and in_service == len(states) == machines

    with progress.watching(lambda: f"waiting for the machines: {seen}"):
        while not look():
            if time.monotonic() > deadline:
                logs = cluster.world.place.directory / "machines"
                raise WorldError(f"{seen} after {within_s:.0f} s. The machines' logs are in {logs}/*/log.")
            time.sleep(0.3)


def deploy(cluster: Cluster, progress: Progress) -> None:
    """Deploy as a person would, by the same command; its words appear only when it fails."""
    command = [sys.executable, "-m", "infra.deploy", "--cluster", cluster.name]
    command += ["--build-dir", str(cluster.world.place.directory / "deploy")]
    environment = {**os.environ, **cluster.world.environment()}
    with progress.watching(lambda: "deploying"):
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorldError(f"The deployment failed:\n{done.stderr.strip() or done.stdout.strip()}")


def wait_for(what: str, holds: Callable[[], bool], *, within_s: float, every_s: float = 0.2) -> None:
    """Wait until `holds`; raise WorldError that says what did not come."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise WorldError(f"This did not come within {within_s:.0f} s: {what}.")
        time.sleep(every_s)
