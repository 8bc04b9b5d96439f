"""Times that cannot fit together are refused before anything is deployed, with the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import boto3
import pytest
from moto import mock_aws

from functions.cluster.machine import CLUSTER_TAG, Transition
from functions.cluster.policy import Policy
from infra.deployment.failure import DeploymentError
from infra.deployment.timers import LONGEST, SLACK, Hook, refuse_what_does_not_fit, too_long
from tests.unit.functions.builders import CLUSTER, ENVIRONMENT, SETTINGS


@pytest.fixture
def aws() -> Iterator[None]:
    with mock_aws():
        yield


def hook(timeout_s: int, transition: Transition = Transition.TERMINATING) -> Hook:
    return Hook("drill-worker", "regrow-terminate", transition, timedelta(seconds=timeout_s))


def test_a_hook_lives_for_a_hundred_heartbeats_and_never_longer_than_two_days() -> None:
    assert hook(120).lives == timedelta(seconds=12000)
    assert hook(7200).lives == LONGEST


@pytest.mark.parametrize(("deadline_s", "fits"), [(11940, True), (11941, False), (12000, False)])
def test_a_drain_must_end_before_its_hook_does(deadline_s: int, fits: bool) -> None:
    drain = replace(SETTINGS.drain, deadline=timedelta(seconds=deadline_s))
    found = too_long(replace(SETTINGS, policy=Policy(drain=drain)), [hook(120)])
    assert (found == []) is fits
    assert all(
        "REGROW_DRAIN_DEADLINE_S" in text and "lives 12000 s" in text and "11940 or less" in text for text in found
    )


@pytest.mark.parametrize(("timeout_s", "fits"), [(30, False), (119, False), (120, True)])
def test_a_hook_that_would_run_out_between_two_sweeps_is_refused(timeout_s: int, fits: bool) -> None:
    settings = replace(SETTINGS, policy=Policy(drain=replace(SETTINGS.drain, deadline=timedelta(seconds=60))))
    assert (too_long(settings, [hook(timeout_s)]) == []) is fits


def test_a_join_is_measured_by_the_launch_hook_alone() -> None:
    settings = replace(SETTINGS, policy=Policy(join_deadline=timedelta(hours=4)))
    assert too_long(settings, [hook(120), hook(150, Transition.LAUNCHING)]) == []
    (said,) = too_long(settings, [hook(600), hook(120, Transition.LAUNCHING)])
    assert said.startswith("REGROW_JOIN_DEADLINE_S is 14400, but hook")
    assert timedelta(0) < SLACK


@pytest.mark.usefixtures("aws")
def test_the_hooks_of_the_clusters_groups_are_asked_and_no_others() -> None:
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    autoscaling = session.client("autoscaling")
    ec2 = session.client("ec2")
    template = {"ImageId": ec2.describe_images()["Images"][0]["ImageId"], "InstanceType": "t3.medium"}
    ec2.create_launch_template(LaunchTemplateName="worker", LaunchTemplateData=template)
    for name, cluster, hook_name in (
        ("ours", CLUSTER, "regrow-terminate"),
        ("theirs", "other", "regrow-terminate"),
        ("ours-with-another-hook", CLUSTER, "backup"),
    ):
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": "worker"},
            MinSize=0,
            MaxSize=0,
            AvailabilityZones=["us-east-1a"],
            Tags=[{"Key": CLUSTER_TAG, "Value": cluster, "PropagateAtLaunch": True}],
        )
        autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=name,
            LifecycleHookName=hook_name,
            LifecycleTransition=Transition.TERMINATING.value,
            HeartbeatTimeout=120,
        )
    with pytest.raises(DeploymentError, match="regrow-terminate of ours lives 12000 s") as refused:
        refuse_what_does_not_fit(ENVIRONMENT | {"REGROW_DRAIN_DEADLINE_S": "12000"}, session)
    assert "theirs" not in str(refused.value)
    assert "another" not in str(refused.value)
    refuse_what_does_not_fit(ENVIRONMENT | {"REGROW_DRAIN_DEADLINE_S": "900"}, session)


def test_a_value_that_is_none_is_refused_with_its_name() -> None:
    with pytest.raises(DeploymentError, match="REGROW_DRAIN_OVERDUE is 'perhaps'; it must be release or delete"):
        refuse_what_does_not_fit(ENVIRONMENT | {"REGROW_DRAIN_OVERDUE": "perhaps"}, boto3.Session())
