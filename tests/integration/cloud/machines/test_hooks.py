"""Hooks hold a machine until somebody, or the clock, completes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.cloud.machines.fleet import Fleet
from tests.integration.cloud.machines.rig import Aws, eventually, never

LAUNCH, TERMINATE = "EC2 Instance-launch Lifecycle Action", "EC2 Instance-terminate Lifecycle Action"


def specification(transition: str, timeout_s: int = 3600, **options: Any) -> dict[str, Any]:
    word = transition.lower()
    return {
        "LifecycleHookName": f"on-{word}",
        "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{transition}",
        "HeartbeatTimeout": timeout_s,
        **options,
    }


def leaving(aws: Aws, timeout_s: int = 3600, **options: Any) -> tuple[Fleet, str]:
    """A group of one with a terminate hook, and the machine of it that has just been killed from outside."""
    fleet = Fleet.of(aws, size=1, LifecycleHookSpecificationList=[specification("TERMINATING", timeout_s, **options)])
    killed = fleet.wait_in_service(1)[0]["InstanceId"]
    aws.client("ec2").terminate_instances(InstanceIds=[killed], SkipOsShutdown=True)
    return fleet, killed


def arriving(aws: Aws, timeout_s: int = 3600, **options: Any) -> tuple[Fleet, str]:
    """A group of one with a launch hook, and the machine that waits for it."""
    fleet = Fleet.of(aws, size=1, LifecycleHookSpecificationList=[specification("LAUNCHING", timeout_s, **options)])
    return fleet, fleet.wait_state("Pending:Wait")


def test_a_dead_machine_waits_for_its_hook_while_its_replacement_is_launched(aws: Aws) -> None:
    fleet, killed = leaving(aws)
    eventually(lambda: fleet.state(killed) == "Terminating:Wait")
    eventually(lambda: len(fleet.ids()) == 2)
    assert aws.state(killed) == "terminated"
    fleet.complete("on-terminating", InstanceId=killed)
    eventually(lambda: killed not in fleet.ids())
    fleet.wait_in_service(1)


def test_a_living_machine_runs_until_its_hook_is_completed(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1, LifecycleHookSpecificationList=[specification("TERMINATING")])
    instance_id = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.scale(0)
    eventually(lambda: fleet.state(instance_id) == "Terminating:Wait")
    never(lambda: aws.state(instance_id) != "running")
    fleet.complete("on-terminating", InstanceId=instance_id)
    eventually(lambda: aws.state(instance_id) == "terminated")


@pytest.mark.parametrize("decrement", [True, False])
def test_a_machine_that_is_taken_out_of_its_group_waits_for_its_hook(aws: Aws, decrement: bool) -> None:
    fleet = Fleet.of(aws, size=1, LifecycleHookSpecificationList=[specification("TERMINATING")])
    instance_id = fleet.wait_in_service(1)[0]["InstanceId"]
    fleet.api.terminate_instance_in_auto_scaling_group(InstanceId=instance_id, ShouldDecrementDesiredCapacity=decrement)
    eventually(lambda: fleet.state(instance_id) == "Terminating:Wait")
    never(lambda: aws.state(instance_id) != "running")
    fleet.complete("on-terminating", InstanceId=instance_id)
    eventually(lambda: aws.state(instance_id) == "terminated")
    eventually(lambda: instance_id not in fleet.ids() and len(fleet.ids()) == (0 if decrement else 1))


def test_the_terminate_action_is_told_as_documented(aws: Aws) -> None:
    fleet, killed = leaving(aws, NotificationMetadata="more")
    event = eventually(lambda: aws.events_of(TERMINATE, killed))[0]
    token = event["detail"].pop("LifecycleActionToken")
    assert event["source"] == "aws.autoscaling"
    assert event["resources"] == [fleet.group()["AutoScalingGroupARN"]]
    assert event["detail"] == {
        "AutoScalingGroupName": fleet.name,
        "LifecycleHookName": "on-terminating",
        "EC2InstanceId": killed,
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
        "NotificationMetadata": "more",
        "Origin": "AutoScalingGroup",
        "Destination": "EC2",
    }
    fleet.complete("on-terminating", LifecycleActionToken=token)
    eventually(lambda: killed not in fleet.ids())


def test_a_hook_made_with_the_group_holds_the_very_first_machine(aws: Aws) -> None:
    fleet, waiting = arriving(aws)
    event = eventually(lambda: aws.events_of(LAUNCH, waiting))[0]
    assert (event["detail"]["Origin"], event["detail"]["Destination"]) == ("EC2", "AutoScalingGroup")
    assert "NotificationMetadata" not in event["detail"]
    never(lambda: aws.events_of("EC2 Instance Launch Successful"))
    fleet.complete("on-launching", InstanceId=waiting)
    assert fleet.wait_in_service(1)[0]["InstanceId"] == waiting


def test_the_token_of_the_launch_action_completes_it(aws: Aws) -> None:
    fleet, waiting = arriving(aws)
    token = eventually(lambda: aws.events_of(LAUNCH, waiting))[0]["detail"]["LifecycleActionToken"]
    fleet.complete("on-launching", LifecycleActionToken=token)
    assert fleet.wait_in_service(1)[0]["InstanceId"] == waiting


def test_abandoning_a_launch_terminates_and_replaces(aws: Aws) -> None:
    fleet, waiting = arriving(aws)
    fleet.complete("on-launching", "ABANDON", InstanceId=waiting)
    eventually(lambda: aws.state(waiting) == "terminated")
    eventually(lambda: aws.events_of("EC2 Instance Launch Unsuccessful", waiting))
    assert eventually(lambda: fleet.ids() - {waiting})


def test_a_launch_nobody_completes_continues_where_that_is_the_default(aws: Aws) -> None:
    fleet, waiting = arriving(aws, timeout_s=30, DefaultResult="CONTINUE")
    assert fleet.wait_in_service(1)[0]["InstanceId"] == waiting


def test_a_launch_nobody_completes_is_abandoned_and_replaced_where_that_is_the_default(aws: Aws) -> None:
    fleet, waiting = arriving(aws, timeout_s=30, DefaultResult="ABANDON")
    eventually(lambda: aws.state(waiting) == "terminated")
    assert eventually(lambda: fleet.ids() - {waiting})


def test_an_abandoned_launch_is_held_by_the_terminate_hook_like_every_termination(aws: Aws) -> None:
    hooks = [specification("LAUNCHING"), specification("TERMINATING")]
    fleet = Fleet.of(aws, size=1, LifecycleHookSpecificationList=hooks)
    abandoned = fleet.wait_state("Pending:Wait")
    fleet.complete("on-launching", "ABANDON", InstanceId=abandoned)
    eventually(lambda: fleet.state(abandoned) == "Terminating:Wait")
    eventually(lambda: aws.events_of(TERMINATE, abandoned))
    eventually(lambda: fleet.ids() - {abandoned})  # its replacement does not wait for it
    never(lambda: aws.state(abandoned) != "running")
    fleet.complete("on-terminating", InstanceId=abandoned)
    eventually(lambda: aws.state(abandoned) == "terminated")


def test_a_machine_that_dies_while_it_arrives_is_replaced(aws: Aws) -> None:
    fleet, waiting = arriving(aws)
    aws.client("ec2").terminate_instances(InstanceIds=[waiting], SkipOsShutdown=True)
    assert eventually(lambda: fleet.ids() - {waiting})
    eventually(lambda: waiting not in fleet.ids())


def test_a_termination_nobody_completes_goes_on_after_the_timeout(aws: Aws) -> None:
    fleet, killed = leaving(aws, timeout_s=30)
    eventually(lambda: aws.events_of(TERMINATE, killed))
    eventually(lambda: killed not in fleet.ids())


@pytest.mark.parametrize(
    ("held", "hook", "state"),
    [(leaving, "on-terminating", "Terminating:Wait"), (arriving, "on-launching", "Pending:Wait")],
)
def test_heartbeats_keep_it_waiting(aws: Aws, held: Callable[..., tuple[Fleet, str]], hook: str, state: str) -> None:
    fleet, machine = held(aws, timeout_s=400)  # lasts 0.8 s
    eventually(lambda: fleet.state(machine) == state)

    def beat_and_look() -> bool:
        fleet.api.record_lifecycle_action_heartbeat(
            AutoScalingGroupName=fleet.name, LifecycleHookName=hook, InstanceId=machine
        )
        return fleet.state(machine) != state

    never(beat_and_look, for_s=1.2)
    eventually(lambda: machine not in fleet.ids())


def test_two_hooks_must_both_be_completed(aws: Aws) -> None:
    fleet, killed = leaving(aws)
    eventually(lambda: fleet.state(killed) == "Terminating:Wait")
    fleet.put_hook("second", "TERMINATING")
    fleet.complete("on-terminating", InstanceId=killed)
    eventually(lambda: killed not in fleet.ids())
    fleet.scale(0)
    again = fleet.wait_state("Terminating:Wait")
    fleet.complete("second", InstanceId=again)
    never(lambda: fleet.state(again) != "Terminating:Wait")
    fleet.complete("on-terminating", InstanceId=again)
    eventually(lambda: again not in fleet.ids())


def test_completing_what_does_not_wait_is_refused_as_aws_refuses_it(aws: Aws) -> None:
    fleet, killed = leaving(aws)
    eventually(lambda: fleet.state(killed) == "Terminating:Wait")
    fleet.complete("on-terminating", InstanceId=killed)
    with pytest.raises(ClientError) as refused:
        fleet.complete("on-terminating", InstanceId=killed)
    assert refused.value.response["Error"] == {
        "Type": "Sender",
        "Code": "ValidationError",
        "Message": f"No active Lifecycle Action found with instance ID {killed}",
    }
    token = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(ClientError, match=f"No active Lifecycle Action found with token {token}"):
        fleet.complete("on-terminating", LifecycleActionToken=token)
    with pytest.raises(ClientError, match="No Lifecycle Hook found"):
        fleet.complete("no-such-hook", InstanceId=killed)


def test_deleting_a_hook_lets_the_waiting_go(aws: Aws) -> None:
    fleet, killed = leaving(aws)
    eventually(lambda: fleet.state(killed) == "Terminating:Wait")
    fleet.api.delete_lifecycle_hook(AutoScalingGroupName=fleet.name, LifecycleHookName="on-terminating")
    eventually(lambda: killed not in fleet.ids())


def test_hooks_are_described_as_they_were_put(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=0)
    fleet.put_hook("mine", "TERMINATING", 600, DefaultResult="CONTINUE", NotificationMetadata="more")
    fleet.put_hook("mine", "TERMINATING", 300)
    described = fleet.api.describe_lifecycle_hooks(AutoScalingGroupName=fleet.name)["LifecycleHooks"]
    assert described == [
        {
            "LifecycleHookName": "mine",
            "AutoScalingGroupName": fleet.name,
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
            "HeartbeatTimeout": 300,
            "GlobalTimeout": 30_000,
            "DefaultResult": "CONTINUE",
            "NotificationMetadata": "more",
        }
    ]


def test_a_hook_that_aws_refuses_stops_the_group_before_it_is_made(aws: Aws) -> None:
    with pytest.raises(ClientError, match="HeartbeatTimeout"):
        Fleet.of(aws, size=1, LifecycleHookSpecificationList=[specification("LAUNCHING", 5)])
    assert not aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]


def test_deleting_a_group_by_force_asks_no_hook(aws: Aws) -> None:
    fleet = Fleet.of(aws, size=1, LifecycleHookSpecificationList=[specification("TERMINATING")])
    fleet.wait_in_service(1)
    fleet.api.delete_auto_scaling_group(AutoScalingGroupName=fleet.name, ForceDelete=True)
    eventually(lambda: not aws.machines.running())
    assert not aws.events_of(TERMINATE)
