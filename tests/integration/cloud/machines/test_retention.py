"""A group that says so keeps an instance whose terminate hook is abandoned, until somebody ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import Aws, eventually, never
from tests.integration.cloud.machines.test_formation import template

RETAIN: dict[str, Any] = {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}
TERMINATE: dict[str, Any] = {"RetentionTriggers": {"TerminateHookAbandon": "terminate"}}


def leaving(
    aws: Aws, policy: dict[str, Any] | None, timeout_s: int = 3600, result: str = "ABANDON"
) -> tuple[Fleet, str]:
    """A group of one, whose machine waits for its terminate hook."""
    options: dict[str, Any] = {"InstanceLifecyclePolicy": policy} if policy else {}
    fleet = Fleet.of(aws, 1, **options)
    instance_id = str(fleet.wait_in_service(1)[0]["InstanceId"])
    fleet.put_hook("leave", "TERMINATING", timeout_s, DefaultResult=result)
    fleet.api.set_instance_health(InstanceId=instance_id, HealthStatus="Unhealthy")
    eventually(lambda: fleet.state(instance_id) not in ("InService", "Terminating"))
    return fleet, instance_id


def test_an_abandoned_instance_lives_on_and_is_replaced(aws: Aws) -> None:
    fleet, instance_id = leaving(aws, RETAIN)
    fleet.complete("leave", "ABANDON", InstanceId=instance_id)
    eventually(lambda: fleet.state(instance_id) == "Terminating:Retained")
    replaced = eventually(lambda: [each for each in fleet.members() if each["LifecycleState"] == "InService"])
    assert instance_id not in {each["InstanceId"] for each in replaced}
    assert (len(replaced), fleet.group()["DesiredCapacity"]) == (1, 1)
    never(lambda: aws.state(instance_id) != "running")
    fleet.api.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=False)
    eventually(lambda: aws.state(instance_id) == "terminated")
    eventually(lambda: fleet.ids() == {each["InstanceId"] for each in replaced})


def test_a_hook_that_runs_out_with_abandon_retains_too(aws: Aws) -> None:
    fleet, instance_id = leaving(aws, RETAIN, timeout_s=30)
    eventually(lambda: fleet.state(instance_id) == "Terminating:Retained")
    assert aws.state(instance_id) == "running"


@pytest.mark.parametrize("policy", [TERMINATE, None])
def test_without_retention_an_abandoned_instance_ends(aws: Aws, policy: dict[str, Any] | None) -> None:
    fleet, instance_id = leaving(aws, policy)
    fleet.complete("leave", "ABANDON", InstanceId=instance_id)
    eventually(lambda: aws.state(instance_id) == "terminated")


def test_one_that_is_let_go_ends_all_the_same(aws: Aws) -> None:
    fleet, instance_id = leaving(aws, RETAIN)
    fleet.complete("leave", "CONTINUE", InstanceId=instance_id)
    eventually(lambda: aws.state(instance_id) == "terminated")


def test_a_hook_that_runs_out_with_continue_lets_go(aws: Aws) -> None:
    _, instance_id = leaving(aws, RETAIN, timeout_s=30, result="CONTINUE")
    eventually(lambda: aws.state(instance_id) == "terminated")


def test_a_retained_instance_that_somebody_terminates_in_ec2_is_gone(aws: Aws) -> None:
    fleet, instance_id = leaving(aws, RETAIN)
    fleet.complete("leave", "ABANDON", InstanceId=instance_id)
    eventually(lambda: fleet.state(instance_id) == "Terminating:Retained")
    aws.client("ec2").terminate_instances(InstanceIds=[instance_id])
    eventually(lambda: instance_id not in fleet.ids())


def test_a_group_tells_its_policy_and_takes_another(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=0, InstanceLifecyclePolicy=RETAIN)
    assert fleet.group()["InstanceLifecyclePolicy"] == RETAIN
    fleet.api.update_auto_scaling_group(AutoScalingGroupName=fleet.name, MaxSize=4)
    assert fleet.group()["InstanceLifecyclePolicy"] == RETAIN
    fleet.api.update_auto_scaling_group(AutoScalingGroupName=fleet.name, InstanceLifecyclePolicy=TERMINATE)
    assert fleet.group()["InstanceLifecyclePolicy"] == TERMINATE
    with pytest.raises(ClientError, match="ValidationError"):
        fleet.api.update_auto_scaling_group(
            AutoScalingGroupName=fleet.name,
            InstanceLifecyclePolicy={"RetentionTriggers": {"TerminateHookAbandon": "perhaps"}},
        )


def test_a_stack_gives_its_group_the_policy_and_takes_it_away(aws: Aws) -> None:
    formation, content = aws.client("cloudformation"), json.loads(template(aws, size=0))
    content["Resources"]["Group"]["Properties"]["InstanceLifecyclePolicy"] = RETAIN
    formation.create_stack(StackName="s", TemplateBody=json.dumps(content))
    fleet = Fleet("workers", aws.client("autoscaling"))
    assert fleet.group()["InstanceLifecyclePolicy"] == RETAIN
    formation.update_stack(StackName="s", TemplateBody=template(aws, size=0))
    assert fleet.group().get("InstanceLifecyclePolicy", {}) == {}
