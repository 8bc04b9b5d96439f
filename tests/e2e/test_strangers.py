"""Machines that are none of Regrow's business."""

from __future__ import annotations

from typing import Any

from infra.local.cluster import wait_for
from tests.e2e.journal import Journal
from tests.e2e.scene import Scene
from tests.e2e.sights import see_cluster


def test_an_instance_of_no_group_may_end_without_anything_happening_to_the_cluster(scene: Scene) -> None:
    before = see_cluster(scene)
    passes = scene.journal("remediate")
    untagged, tagged = start(scene, {}), start(scene, {"regrow:cluster": scene.cluster.name, "regrow:role": "worker"})
    for stranger in (untagged, tagged):
        scene.kill(stranger)
    for stranger in (untagged, tagged):
        await_pass(passes, stranger)
        assert {line["verdict"] for line in passes.lines(machine=stranger)} == {"foreign"}
        assert scene.history(stranger) == []
    assert see_cluster(scene) == before


def await_pass(passes: Journal, stranger: str) -> None:
    """The one about its end, which is the last."""
    told = {"machine": stranger, "because": "EC2 says terminated"}
    wait_for(f"a pass about the end of {stranger}", lambda: bool(passes.lines(**told)), within_s=30)


def start(scene: Scene, tags: dict[str, str]) -> str:
    """An instance as somebody else may have it in the same network."""
    ec2 = scene.client("ec2")
    neighbour: dict[str, Any] = ec2.describe_instances(InstanceIds=[scene.workers()[0]])["Reservations"][0][
        "Instances"
    ][0]
    specification = [
        {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    ]
    answer = ec2.run_instances(
        ImageId=neighbour["ImageId"],
        SubnetId=neighbour["SubnetId"],
        MinCount=1,
        MaxCount=1,
        **({"TagSpecifications": specification} if tags else {}),
    )
    stranger: str = answer["Instances"][0]["InstanceId"]
    wait_for(f"{stranger}, running", lambda: scene.state_of(stranger) == "running", within_s=30)
    return stranger
