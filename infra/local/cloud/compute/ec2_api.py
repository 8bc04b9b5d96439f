"""The EC2 API with the parameters of starting and ending that moto does not read."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any, cast

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2 import urls as ec2_urls
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models import instances as moto_instances
from moto.ec2.models import subnets as moto_subnets
from moto.ec2.responses import EC2Response
from moto.ec2.utils import parse_user_data

from infra.local.cloud.compute import hosts_api, maintenance_api
from infra.local.cloud.compute.ec2 import MachinesBackend, Moved
from infra.local.cloud.compute.instances import MachineInstance, MachineSubnet
from infra.local.cloud.surroundings import Surroundings

PAGE = 1000


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

    def run_instances(self) -> ActionResult:
        """With the SpotOptions of the request, of which moto hands on the market's name alone."""
        answer = super().run_instances()
        if options := self._get_param("InstanceMarketOptions.SpotOptions", {}):
            for instance in answer.result.instances:
                self._machines.spot.open(MachineInstance.of(instance), options)
        return answer

    def describe_instance_status(self) -> ActionResult:
        self.error_on_dryrun()
        found = self._machines.describe_instance_status(
            self._get_param("InstanceIds", []),
            bool(self._get_bool_param("IncludeAllInstances", False)),
            self._filters_from_querystring(),
        )
        return self._paged("InstanceStatuses", [(instance.id, _status(instance)) for instance in found])

    def describe_spot_instance_requests(self) -> ActionResult:
        self.error_on_dryrun()
        found = self._machines.describe_spot_instance_requests(
            self._filters_from_querystring(), self._get_param("SpotInstanceRequestIds", [])
        )
        return self._paged("SpotInstanceRequests", [(request["SpotInstanceRequestId"], request) for request in found])

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
        if isinstance(data.get("UserData"), str):  # the source version's is parsed already
            data["UserData"] = parse_user_data(data["UserData"])
        template.get_version(made["VersionNumber"]).data = made["LaunchTemplateData"] = data
        return answer

    def _paged(self, title: str, entries: list[tuple[str, Any]]) -> ActionResult:
        """One page of named entries; the token is the name of the last entry of the page before."""
        token, size = self._get_param("NextToken"), self._get_int_param("MaxResults", PAGE) or PAGE
        names = [name for name, _ in entries]
        if token and token not in names:
            raise EC2ClientError("InvalidNextToken", "The token is not valid.")
        start = names.index(token) + 1 if token else 0
        page = entries[start : start + size]
        result: dict[str, Any] = {title: [entry for _, entry in page]}
        if start + size < len(entries):
            result["NextToken"] = page[-1][0]
        return ActionResult(result)

    @property
    def _machines(self) -> MachinesBackend:
        return cast(MachinesBackend, self.ec2_backend)


def _status(instance: MachineInstance) -> dict[str, Any]:
    """Its entry in DescribeInstanceStatus."""
    checks = instance.checks
    return {
        "AttachedEbsStatus": checks.attached_ebs.described(),
        "AvailabilityZone": instance.placement.zone,
        "Events": instance.events,
        "InstanceId": instance.id,
        "InstanceState": {"Code": instance.state_code, "Name": instance.state},
        "InstanceStatus": checks.instance.described(),
        "SystemStatus": checks.system.described(),
    }


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
    ec2_urls.url_paths[f"{{0}}{maintenance_api.PATH}$"] = maintenance_api.answer
    ec2_urls.url_paths[f"{{0}}{hosts_api.PATH}$"] = hosts_api.answer
