"""What AWS announces about machines, brought about: interruptions by AWS FIS, maintenance by the local AWS alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from infra.local.cluster import Cluster
from infra.local.drills.operating import order
from infra.local.places import WorldError

INTERRUPT = "aws:ec2:send-spot-instance-interruptions"
NOTICE = timedelta(minutes=2)
_SCHEDULED = "/scheduled-events"
_ARNS_OF_A_TARGET = 5
_ACTIONS_OF_AN_EXPERIMENT = 10


@contextmanager
def spot_workers(cluster: Cluster) -> Iterator[None]:
    """What the workers' group launches meanwhile are Spot instances. The template's version stays behind."""
    ec2, autoscaling = cluster.client("ec2"), cluster.client("autoscaling")
    before = cluster.workers()["LaunchTemplate"]
    template = {"LaunchTemplateId": before["LaunchTemplateId"]}
    made = ec2.create_launch_template_version(
        **template,
        SourceVersion=before["Version"],
        LaunchTemplateData={"InstanceMarketOptions": {"MarketType": "spot"}},
    )
    version = str(made["LaunchTemplateVersion"]["VersionNumber"])
    which = {"AutoScalingGroupName": cluster.worker_group}
    autoscaling.update_auto_scaling_group(**which, LaunchTemplate={**template, "Version": version})
    try:
        yield
    finally:
        autoscaling.update_auto_scaling_group(**which, LaunchTemplate={**template, "Version": before["Version"]})


def interrupt(cluster: Cluster, instances: Sequence[str], *, before: timedelta = NOTICE) -> tuple[str, ...]:
    """Have EC2 interrupt these Spot instances after this time, all at once; the ids of the experiments.

    WorldError for an instance that is none. The role that AWS FIS acts in is made when it is not there, and stays.
    """
    fis, role = cluster.client("fis"), _role(cluster)
    experiments = []
    for group in _parts(instances, _ARNS_OF_A_TARGET * _ACTIONS_OF_AN_EXPERIMENT):
        targets = {f"part{number}": part for number, part in enumerate(_parts(group, _ARNS_OF_A_TARGET))}
        template = fis.create_experiment_template(
            clientToken=str(uuid4()),
            description=f"Regrow drill: {len(group)} Spot instances of {cluster.name} are interrupted",
            stopConditions=[{"source": "none"}],
            roleArn=role,
            targets={name: _target(cluster, role, part) for name, part in targets.items()},
            actions={name: _action(name, before) for name in targets},
        )["experimentTemplate"]["id"]
        try:
            started = fis.start_experiment(clientToken=str(uuid4()), experimentTemplateId=template)["experiment"]
        finally:
            fis.delete_experiment_template(id=template)
        if started["state"]["status"] == "failed":
            raise WorldError(f"AWS FIS does not interrupt {', '.join(group)}: {started['state']['reason']}")
        experiments.append(str(started["id"]))
    return tuple(experiments)


def schedule(cluster: Cluster, instances: Sequence[str], code: str, not_before: datetime) -> str:
    """Have EC2 schedule one event for these instances; its name, which is AWS Health's ARN of it."""
    wanted = {"do": "schedule", "instances": list(instances), "code": code, "notBefore": not_before.isoformat()}
    return str(order(cluster, _SCHEDULED, wanted)["event"])


def cancel(cluster: Cluster, event: str) -> None:
    """The event will not be."""
    order(cluster, _SCHEDULED, {"do": "cancel", "event": event})


def complete(cluster: Cluster, event: str) -> None:
    """The event is over, and nothing more happens to the instances."""
    order(cluster, _SCHEDULED, {"do": "complete", "event": event})


def _role(cluster: Cluster) -> str:
    iam, name = cluster.client("iam"), f"regrow-{cluster.name}-interrupting"
    trust = {"Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole"}
    may = [
        {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:SendSpotInstanceInterruptions", "Resource": "arn:aws:ec2:*:*:instance/*"},
    ]
    with suppress(iam.exceptions.EntityAlreadyExistsException):  # of an earlier drill
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document([trust]))
    iam.put_role_policy(RoleName=name, PolicyName="interrupt", PolicyDocument=_document(may))
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _target(cluster: Cluster, role: str, instances: Sequence[str]) -> dict[str, Any]:
    # A role's ARN has the account; the region is the client's.
    account, region = role.split(":")[4], cluster.client("ec2").meta.region_name
    arns = [f"arn:aws:ec2:{region}:{account}:instance/{instance}" for instance in instances]
    return {"resourceType": "aws:ec2:spot-instance", "resourceArns": arns, "selectionMode": "ALL"}


def _action(target: str, before: timedelta) -> dict[str, Any]:
    minutes = round(before.total_seconds() / 60)
    return {
        "actionId": INTERRUPT,
        "parameters": {"durationBeforeInterruption": f"PT{minutes}M"},
        "targets": {"SpotInstances": target},
    }


def _parts(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
