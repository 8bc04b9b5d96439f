"""Control planes are not moved between zones; workers may be."""

from __future__ import annotations

from functions.cluster.machine import CLUSTER_TAG, ROLE_TAG
from infra.deployment.rebalancing import keep_control_planes_in_place
from tests.integration.deploy.conftest import Site


def test_only_the_groups_of_this_clusters_control_planes_stay_in_their_zones_and_it_is_said_once(site: Site) -> None:
    autoscaling = site.client("autoscaling")
    autoscaling.create_launch_configuration(
        LaunchConfigurationName="any", ImageId="ami-12c6146b", InstanceType="t3.medium"
    )
    groups = {
        "masters": ("mine", "control-plane"),
        "workers": ("mine", "worker"),
        "others": ("theirs", "control-plane"),
    }
    for name, (cluster, role) in groups.items():
        tags = {CLUSTER_TAG: cluster, ROLE_TAG: role}
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchConfigurationName="any",
            MinSize=0,
            MaxSize=0,
            AvailabilityZones=["us-east-1a"],
            Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
        )
    said: list[str] = []
    for _ in range(2):
        keep_control_planes_in_place("mine", autoscaling, said.append)
    assert said == ["masters: AZRebalance is suspended, control planes stay where they are"]
    described = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[*groups])["AutoScalingGroups"]
    suspended = {
        group["AutoScalingGroupName"]: [process["ProcessName"] for process in group["SuspendedProcesses"]]
        for group in described
    }
    assert suspended == {"masters": ["AZRebalance"], "workers": [], "others": []}
