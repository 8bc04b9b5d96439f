"""AWS Fault Injection Service as far as it interrupts Spot instances: moto's experiments, whose actions really happen.

The action aws:ec2:send-spot-instance-interruptions, with its targets by ARN or by tags and filters, in the name of the
template's role. AWS FIS user guide, "Actions reference" and "Targets".
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from moto.ec2.models import ec2_backends
from moto.fis import models
from moto.fis.exceptions import FISException
from moto.fis.models import Experiment, FISBackend

from infra.local.cloud.access.access import Access, UnknownAccessError, context_of, tags_under
from infra.local.cloud.access.authority import Authority
from infra.local.cloud.access.policies import Decision
from infra.local.cloud.compute.ec2 import MachinesBackend
from infra.local.cloud.compute.instances import MachineInstance
from infra.local.cloud.compute.spot import NoSpotInstanceError
from infra.local.cloud.extension import put_in_place

INTERRUPT = "aws:ec2:send-spot-instance-interruptions"
MOST_ARNS = 5
_MINUTES = re.compile(r"PT(\d+)M")
_SELECTION = re.compile(r"ALL|(COUNT|PERCENT)\((\d+)\)")


class FailedExperimentError(Exception):
    """The experiment ends as failed; the text is its reason."""


class Experiments(FISBackend):
    """AWS FIS of one region."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._authority = Authority()

    def create_experiment_template(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What cannot be run here, or nowhere, is refused."""
        for action in kwargs["actions"].values():
            if action["actionId"] != INTERRUPT:
                raise _refused(f"The local AWS does not know the action {action['actionId']}.")
            _before(action)
            if "SpotInstances" not in action.get("targets", {}):
                raise _refused(f"{INTERRUPT} needs a target named SpotInstances.")
        for target in (kwargs.get("targets") or {}).values():
            if target["resourceType"] != "aws:ec2:spot-instance":
                raise _refused(f"{INTERRUPT} has targets of the type aws:ec2:spot-instance.")
            if len(target.get("resourceArns") or []) > MOST_ARNS:
                raise _refused(f"A target names {MOST_ARNS} resources at most.")
            if not _SELECTION.fullmatch(target["selectionMode"]):
                raise _refused(f"{target['selectionMode']} is no selection mode.")
        described: dict[str, Any] = super().create_experiment_template(*args, **kwargs)
        return described

    def start_experiment(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        before = set(self.experiments)
        described: dict[str, Any] = super().start_experiment(*args, **kwargs)
        if described["id"] in before:
            return described
        experiment = self.experiments[described["id"]]
        try:
            self._run(experiment)
        except (FailedExperimentError, NoSpotInstanceError, UnknownAccessError) as error:
            experiment.status = "failed"
            experiment.STATUS_REASONS = {**Experiment.STATUS_REASONS, "failed": str(error)}
        outcome: dict[str, Any] = experiment.to_dict(tags=described["tags"])
        return outcome

    def _run(self, experiment: Experiment) -> None:
        """All targets are found and allowed before the first is interrupted."""
        ordered: list[tuple[MachineInstance, timedelta]] = []
        for action in experiment.actions.values():
            target = experiment.targets[action["targets"]["SpotInstances"]]
            found = self._targets(target)
            if not found:
                raise FailedExperimentError("Target resolution returned empty set")
            for instance in found:
                self._require_allowed(experiment, instance)
            ordered += [(instance, _before(action)) for instance in found]
        for instance, before in ordered:
            self._ec2.spot.interrupt(instance.id, before)

    def _targets(self, target: Mapping[str, Any]) -> list[MachineInstance]:
        ids = {arn.rpartition("/")[2] for arn in target.get("resourceArns") or []}
        tags = target.get("resourceTags") or {}
        filters = {each["path"]: each["values"] for each in target.get("filters") or []}
        found = [
            request.instance
            for request in self._ec2.spot.requests()
            if (request.instance.id in ids if ids else _has(request.instance, tags))
            and all(_value(request.instance, path) in values for path, values in filters.items())
        ]
        if missing := ids - {instance.id for instance in found}:
            raise FailedExperimentError(f"These are no Spot instances: {', '.join(sorted(missing))}")
        return _selected(found, target["selectionMode"])

    def _require_allowed(self, experiment: Experiment, instance: MachineInstance) -> None:
        arn = f"arn:aws:ec2:{self.region_name}:{self.account_id}:instance/{instance.id}"
        context = context_of(tags_under(["aws:ResourceTag", "ec2:ResourceTag"], _tags(instance)))
        access = Access("ec2:SendSpotInstanceInterruptions", arn, context)
        who = f"{experiment.role_arn}/{experiment.id}"
        if self._authority.decision(who, experiment.role_arn, access, {}) is not Decision.ALLOWED:
            raise FailedExperimentError(f"{experiment.role_arn} is not authorized to perform {access.action} on {arn}")

    @property
    def _ec2(self) -> MachinesBackend:
        return cast(MachinesBackend, ec2_backends[self.account_id][self.region_name])


def _selected(found: list[MachineInstance], mode: str) -> list[MachineInstance]:
    """All of them, or so many, or so many of a hundred, at random."""
    selection = _SELECTION.fullmatch(mode)
    if selection is None or selection[1] is None:
        return found
    count = int(selection[2])
    if selection[1] == "PERCENT":
        count = math.floor(len(found) * count / 100)
    return random.sample(found, min(count, len(found)))


def _before(action: Mapping[str, Any]) -> timedelta:
    given = (action.get("parameters") or {}).get("durationBeforeInterruption", "")
    minutes = _MINUTES.fullmatch(given)
    if minutes is None or not 2 <= int(minutes[1]) <= 15:
        raise _refused("durationBeforeInterruption must be from PT2M to PT15M.")
    return timedelta(minutes=int(minutes[1]))


def _value(instance: MachineInstance, path: str) -> str:
    match path:
        case "State.Name":
            return str(instance.state)
        case "Placement.AvailabilityZone":
            return str(instance.placement.zone)
        case "SubnetId":
            return str(instance.subnet_id)
        case _:
            raise FailedExperimentError(f"The local AWS does not know the filter {path}.")


def _has(instance: MachineInstance, tags: Mapping[str, str]) -> bool:
    return bool(tags) and tags.items() <= _tags(instance).items()


def _tags(instance: MachineInstance) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in instance.get_tags()}


def _refused(message: str) -> FISException:
    error = FISException("ValidationException", message)
    error.code = 400
    return error


def install() -> None:
    """Put this FIS in moto's place. To be called before the first backend is made."""
    put_in_place(models.fis_backends, Experiments)
