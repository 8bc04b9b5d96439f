"""The EC2 API with the parameters of starting and ending that moto does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moto.core.responses import ActionResult
from moto.ec2.models.instances import Instance, InstanceState
from moto.ec2.responses import EC2Response

if TYPE_CHECKING:
    from infra.local.cloud.compute.ec2 import MachinesBackend

Moved = list[tuple[Instance, InstanceState]]
"""Instances, each with the state that it was in before."""


class MachinesResponse(EC2Response):
    """Reads a request, calls the backend, and tells the state before and after."""

    def terminate_instances(self) -> ActionResult:
        self.error_on_dryrun()
        skip_os = self._get_bool_param("SkipOsShutdown", False)
        moved = self._machines.terminate_instances(self._get_param("InstanceIds", []), skip_os=bool(skip_os))
        return _moved("TerminatingInstances", moved)

    def stop_instances(self) -> ActionResult:
        self.error_on_dryrun()
        skip_os = self._get_bool_param("SkipOsShutdown", False) or self._get_bool_param("Force", False)
        moved = self._machines.stop_instances(self._get_param("InstanceIds", []), skip_os=bool(skip_os))
        return _moved("StoppingInstances", moved)

    def start_instances(self) -> ActionResult:
        self.error_on_dryrun()
        return _moved("StartingInstances", self._machines.start_instances(self._get_param("InstanceIds", [])))

    @property
    def _machines(self) -> MachinesBackend:
        return cast("MachinesBackend", self.ec2_backend)


def _moved(title: str, moved: Moved) -> ActionResult:
    return ActionResult(
        {
            title: [
                {
                    "InstanceId": instance.id,
                    "CurrentState": {"Code": instance.state_code, "Name": instance.state},
                    "PreviousState": was,
                }
                for instance, was in moved
            ]
        }
    )
