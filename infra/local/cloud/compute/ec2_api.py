"""The EC2 API with the parameters of starting and ending that moto does not read."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2 import urls as ec2_urls
from moto.ec2.models import ec2_backends
from moto.ec2.models import instances as moto_instances
from moto.ec2.models import subnets as moto_subnets
from moto.ec2.responses import EC2Response
from moto.ec2.utils import parse_user_data

from infra.local.cloud.compute.ec2 import MachinesBackend, Moved
from infra.local.cloud.compute.instances import MachineInstance, MachineSubnet
from infra.local.cloud.surroundings import Surroundings


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

    def get_console_output(self) -> ActionResult:
        """Without `Output` as long as there is none, as in EC2."""
        self.error_on_dryrun()
        instance_id = self._get_param("InstanceId")
        output = self._machines.console_output(instance_id)
        result = {"InstanceId": instance_id, "Timestamp": utcnow()}
        return ActionResult({**result, "Output": base64.b64encode(output).decode()} if output else result)

    def create_launch_template_version(self) -> ActionResult:
        """What is not given is as in the source version, if one is named (moto drops it)."""
        answer = super().create_launch_template_version()
        made = cast(dict[str, dict[str, Any]], answer.result)["LaunchTemplateVersion"]
        template, source = (
            self._machines.get_launch_template(made["LaunchTemplateId"]),
            self._get_param("SourceVersion"),
        )
        data = {**(template.get_version(source).data if source else {}), **made["LaunchTemplateData"]}
        if "UserData" in data:
            data["UserData"] = parse_user_data(data["UserData"])
        template.get_version(made["VersionNumber"]).data = made["LaunchTemplateData"] = data
        return answer

    @property
    def _machines(self) -> MachinesBackend:
        return cast(MachinesBackend, self.ec2_backend)


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


def install(surroundings: Surroundings) -> None:
    """Put this EC2 in moto's place. To be called before the first backend is made."""
    moto_instances.Instance = MachineInstance
    moto_subnets.Subnet = MachineSubnet
    ec2_backends.backend = partial(MachinesBackend, surroundings)
    ec2_urls.url_paths["{0}/"] = MachinesResponse.dispatch
