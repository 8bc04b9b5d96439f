"""What the metadata service knows about an instance, path by path."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import ec2_backends

from infra.local.cloud.compute.credentials import Credentials
from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.compute.spot import SpotRequest
from infra.local.cloud.events.happenings import stamp

Answer = str | bytes | None
ALIVE = ("pending", "running", "shutting-down", "stopping")
PARTITION = "aws"


class MetadataTree:
    """Looks into moto's backends at every question; keeps only credentials."""

    def __init__(self) -> None:
        self._credentials = Credentials()
        self._leaves: dict[str, Callable[[MachineInstance], Answer]] = {
            "ami-id": lambda instance: instance.image_id,
            "hostname": lambda instance: instance.private_dns_name,
            "iam/info": self._iam_info,
            "instance-id": lambda instance: str(instance.id),
            "instance-life-cycle": lambda instance: instance.lifecycle or "on-demand",
            "instance-type": lambda instance: instance.instance_type,
            "local-hostname": lambda instance: instance.private_dns_name,
            "local-ipv4": lambda instance: instance.private_ip,
            "mac": lambda instance: instance.nics[0].mac_address if instance.nics else None,
            "placement/availability-zone": lambda instance: instance.placement.zone,
            "placement/region": lambda instance: instance.region_name,
            "services/domain": lambda _: "amazonaws.com",
            "services/partition": lambda _: PARTITION,
            "autoscaling/target-lifecycle-state": _target_state,
            "events/maintenance/scheduled": _scheduled,
            "events/recommendations/rebalance": _rebalance,
            "spot/instance-action": _instance_action,
            "spot/termination-time": _termination_time,
        }

    def instance_at(self, address: str) -> MachineInstance | None:
        """The instance that has this address now, switched on or just about to be."""
        backends = [backend for account in list(ec2_backends.values()) for backend in list(account.values())]
        for instance in (MachineInstance.of(each) for backend in backends for each in backend.all_instances()):
            if instance.private_ip == address and instance.state in ALIVE:
                return instance
        return None

    def get(self, instance: MachineInstance, path: str) -> Answer:
        """The answer for this path, a listing for a directory, None for 404."""
        parts = [part for part in path.split("/") if part]
        if parts[:1] != ["latest"]:
            return "\n".join(("latest",)) if not parts else None
        if parts[1:] == ["user-data"]:
            return base64.b64decode(str(instance.user_data)) if instance.user_data else None
        if parts[1:] == ["dynamic", "instance-identity", "document"]:
            return _identity(instance)
        if parts[1:2] != ["meta-data"]:
            return "dynamic\nmeta-data\nuser-data" if len(parts) == 1 else None
        return self._metadata(instance, "/".join(parts[2:]))

    def _metadata(self, instance: MachineInstance, name: str) -> Answer:
        if name == "iam/security-credentials":
            profile = self._credentials.profile(instance)
            return profile.role_name if profile else None
        if name.startswith("iam/security-credentials/"):
            credentials = self._credentials.of(instance, name.rpartition("/")[2])
            return json.dumps(credentials, indent=2) if credentials else None
        if name == "tags/instance" or name.startswith("tags/instance/"):
            return _tags(instance, name.removeprefix("tags/instance").removeprefix("/"))
        if name in self._leaves:
            return self._leaves[name](instance)
        return self._listing(instance, name)

    def _listing(self, instance: MachineInstance, name: str) -> Answer:
        prefix = f"{name}/" if name else ""
        entries = set()
        for leaf, answer in self._leaves.items():
            if leaf.startswith(prefix) and answer(instance) is not None:
                head, slash, _ = leaf[len(prefix) :].partition("/")
                entries.add(head + slash)
        if name == "iam" and entries:
            entries.add("security-credentials/")
        return "\n".join(sorted(entries)) or None

    def _iam_info(self, instance: MachineInstance) -> Answer:
        profile = self._credentials.profile(instance)
        if profile is None:
            return None
        return json.dumps(
            {"Code": "Success", "InstanceProfileArn": profile.arn, "InstanceProfileId": profile.profile_id}, indent=2
        )


def _target_state(instance: MachineInstance) -> Answer:
    groups = autoscaling_backends[instance.owner_id][instance.region_name].autoscaling_groups
    members = (member for group in list(groups.values()) for member in group.instance_states)
    return next((member.target_state for member in members if member.instance_id == instance.id), None)


def _scheduled(instance: MachineInstance) -> Answer:
    """What is still to come; an empty list otherwise, as in EC2."""
    return json.dumps(
        [
            {
                "NotBefore": event["NotBefore"].strftime("%d %b %Y %H:%M:%S GMT"),
                "Code": event["Code"],
                "Description": event["Description"],
                "EventId": event["InstanceEventId"],
                "State": "active",
            }
            for event in instance.events
            if not event["Description"].startswith("[")
        ]
    )


def _rebalance(instance: MachineInstance) -> Answer:
    request = _spot_request(instance)
    if request is None or request.recommended_at is None:
        return None
    return json.dumps({"noticeTime": stamp(request.recommended_at)})


def _instance_action(instance: MachineInstance) -> Answer:
    request = _spot_request(instance)
    if request is None or request.taken_at is None:
        return None
    return json.dumps({"action": request.behavior, "time": stamp(request.taken_at)})


def _termination_time(instance: MachineInstance) -> Answer:
    request = _spot_request(instance)
    if request is None or request.taken_at is None or request.behavior != "terminate":
        return None
    return stamp(request.taken_at)


def _spot_request(instance: MachineInstance) -> SpotRequest | None:
    request: SpotRequest | None = instance.ec2_backend.spot.request_of(instance.id)
    return request


def _tags(instance: MachineInstance, key: str) -> Answer:
    """Only where the instance's metadata options allow it, as in EC2."""
    if instance.metadata_options.instance_metadata_tags != "enabled":
        return None
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
    return tags.get(key) if key else "\n".join(sorted(tags))


def _identity(instance: MachineInstance) -> Answer:
    return json.dumps(
        {
            "accountId": instance.owner_id,
            "architecture": "x86_64",
            "availabilityZone": instance.placement.zone,
            "imageId": instance.image_id,
            "instanceId": instance.id,
            "instanceType": instance.instance_type,
            "pendingTime": instance.launch_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": instance.private_ip,
            "region": instance.region_name,
            "version": "2017-09-30",
        },
        indent=2,
    )
