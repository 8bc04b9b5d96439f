"""A group's settings, its members, and which of them come and go next. Nothing here starts or ends a machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import FakeAutoScalingGroup

from infra.local.cloud.groups.hooks import LifecycleHook
from infra.local.cloud.groups.members import Member


class Group(FakeAutoScalingGroup):
    """moto's group, except that a new capacity is only noted: the backend brings the machines into line."""

    autoscaling_backend: Any

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.hooks: dict[str, LifecycleHook] = {}
        self.topics: dict[str, frozenset[str]] = {}
        """Topics that are told of its activities, each with the types of notifications that it gets."""
        self.members: list[Member] = []
        self.instance_lifecycle_policy: dict[str, Any] | None = None
        """As it was given; None if it never was."""
        self.status: str | None = None
        self.no_launch_before = 0.0
        self.stack_tags: frozenset[str] = frozenset()
        """Keys of the tags that its stack gave it, the only ones that an update of the stack takes away."""
        super().__init__(*arguments, **keywords)

    @property
    def instance_states(self) -> list[Member]:
        return list(self.members)

    @instance_states.setter
    def instance_states(self, members: list[Member]) -> None:
        self.members = members

    @property
    def retains_abandoned(self) -> bool:
        """Whether an instance whose terminate hook is abandoned is kept (InstanceLifecyclePolicy)."""
        triggers = (self.instance_lifecycle_policy or {}).get("RetentionTriggers", {})
        return bool(triggers.get("TerminateHookAbandon") == "retain")

    def put_lifecycle_policy(self, given: dict[str, Any] | None) -> None:
        """Without one, what it was stays."""
        if given is None:
            return
        action = given.get("RetentionTriggers", {}).get("TerminateHookAbandon", "terminate")
        if action not in ("retain", "terminate"):
            raise ValidationError(f"TerminateHookAbandon is {action}: choose retain or terminate.")
        self.instance_lifecycle_policy = given

    def set_desired_capacity(self, new_capacity: int | None) -> None:
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity
        self.autoscaling_backend.wake(self.name)

    def resize(self, capacity: int) -> None:
        """SetDesiredCapacity: within the group's limits, or ValidationError."""
        for bound, beyond, word in (
            (self.max_size, capacity > (self.max_size or 0), "above max"),
            (self.min_size, capacity < (self.min_size or 0), "below min"),
        ):
            if beyond:
                raise ValidationError(
                    f"New SetDesiredCapacity value {capacity} is {word} value {bound} for the AutoScalingGroup."
                )
        self.set_desired_capacity(capacity)

    def decrement(self, count: int = 1) -> None:
        """Lower the capacity as the API's ShouldDecrementDesiredCapacity does; never below the least."""
        desired = (self.desired_capacity or 0) - count
        if desired < (self.min_size or 0):
            raise ValidationError(
                f"Currently, desiredSize equals minSize ({self.min_size}). Terminating instance without replacement "
                "will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false "
                "or lower group's min size."
            )
        self.desired_capacity = desired

    def member(self, instance_id: str) -> Member | None:
        return next((member for member in self.members if member.instance_id == instance_id), None)

    def hooks_for(self, transition: str) -> list[LifecycleHook]:
        return [hook for hook in self.hooks.values() if hook.lifecycle_transition == transition]

    def suspended(self, process: str) -> bool:
        return process in self._suspended_processes

    def launched_with(self) -> dict[str, Any] | None:
        """The launch template and the version that a machine launched now gets."""
        if self.ec2_launch_template is None:
            return None
        version = self.ec2_launch_template.get_version(self.launch_template_version)
        return {
            "LaunchTemplateId": self.ec2_launch_template.id,
            "LaunchTemplateName": self.ec2_launch_template.name,
            "Version": str(version.number),
        }

    def launch_configuration_name_or_none(self) -> str | None:
        return self.launch_config.name if self.launch_config else None

    def missing(self) -> int:
        """How many machines to launch; negative: how many are too many. Those that leave do not count any more."""
        return (self.desired_capacity or 0) - sum(member.counts for member in self.members)

    def next_place(self) -> tuple[str | None, str | None]:
        """Subnet and zone of the next machine: the zone that has the fewest, the first listed among equals."""
        counted = [member for member in self.members if member.counts]
        if self.vpc_zone_identifier:
            population = Counter(member.subnet_id for member in counted)
            subnets = self.vpc_zone_identifier.split(",")
            return min(subnets, key=lambda subnet: population[subnet]), None
        population = Counter(member.availability_zone for member in counted)
        return None, min(self.availability_zones, key=lambda zone: population[zone])

    def too_many(self) -> list[Member]:
        """Who leaves first: out of the zone that has most, the oldest; never a protected one."""
        remaining = [member for member in self.members if member.counts]
        leaving: list[Member] = []
        for _ in range(-self.missing()):
            population = Counter(member.availability_zone for member in remaining)
            candidates = [member for member in remaining if not member.protected_from_scale_in]
            if not candidates:
                break
            chosen = min(candidates, key=lambda each: (-population[each.availability_zone], each.launched_at))
            remaining.remove(chosen)
            leaving.append(chosen)
        return leaving

    def require(self, instance_ids: Sequence[str]) -> list[Member]:
        """The members of these ids, or ValidationError for the first that is none."""
        found = []
        for instance_id in instance_ids:
            member = self.member(instance_id)
            if member is None:
                raise ValidationError(f"The instance {instance_id} is not part of Auto Scaling group {self.name}.")
            found.append(member)
        return found
