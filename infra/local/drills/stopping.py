"""A worker is stopped and comes back: dead while it is stopped, and as before when it runs again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import before_kill
from infra.local.drills.findings import WORKLOAD_APP, Before, Finding, judge_standing, pods_elsewhere
from infra.local.drills.stage import Played, Stage
from infra.local.drills.targets import target_group
from infra.local.drills.watcher import in_order
from infra.local.drills.witness import SeenNode

REPLACING = ("HealthCheck", "ReplaceUnhealthy")
"""The processes by which Auto Scaling would put another machine into the place of one that is stopped."""

STOPPED_WITHIN_S = 120.0
BACK_WITHIN_S = 180.0


@dataclass(frozen=True)
class Stopped:
    """A machine that is stopped. `node` as the witness sees it then, None when it has none."""

    stopped_at: datetime | None
    tainted_at: datetime | None
    node: SeenNode | None
    node_uid: str
    serves: bool


@dataclass(frozen=True)
class Back:
    """The same machine, started again. `serves` in its target group; `came`: machines that were launched meanwhile."""

    node: SeenNode | None
    node_uid: str
    pods: int
    serves: bool
    came: Sequence[str]


def judge_stopped(seen: Stopped) -> tuple[Finding, ...]:
    """A finding for every promise about a machine that is stopped. Pure."""
    kept = seen.node is not None and seen.node.uid == seen.node_uid
    out = seen.node is not None and seen.node.out_of_service and seen.node.unschedulable
    return (
        in_order("it was tainted out of service only when EC2 said stopped", seen.stopped_at, seen.tainted_at),
        Finding("its Node is there, out of service", kept and out, _of(seen.node, seen.node_uid)),
        Finding("it gets no requests", not seen.serves, "in its target group" if seen.serves else "none"),
    )


def judge_back(seen: Back) -> tuple[Finding, ...]:
    """A finding for every promise about one that runs again. Pure."""
    node = seen.node
    clean = node is not None and node.uid == seen.node_uid and node.ready and node.untouched
    return (
        Finding(
            "it is the same Node, Ready, with no taint, cordon, mark or label left", clean, _of(node, seen.node_uid)
        ),
        Finding("it takes pods again", seen.pods > 0, f"{seen.pods} of the workload's are Ready on it"),
        Finding(
            "it gets requests again", seen.serves, "in its target group" if seen.serves else "not in its target group"
        ),
        Finding("nobody replaced it", not seen.came, ", ".join(seen.came) or "nobody"),
    )


def _of(node: SeenNode | None, uid: str) -> str:
    if node is None:
        return "no Node"
    signs = {
        "another one": node.uid != uid,
        "not Ready": not node.ready,
        "out of service": node.out_of_service,
        "cordoned": node.unschedulable,
        "kept from load balancers": node.excluded,
    }
    return ", ".join([*(sign for sign, there in signs.items() if there), *node.marks]) or "Ready and clean"


def stop_and_start(stage: Stage) -> Played:
    """By EC2's own calls; the group is told to leave it alone meanwhile."""
    cluster, timeline = stage.cluster, stage.timeline
    ec2 = cluster.client("ec2")
    machine = min(machine for machine, state in cluster.members()[0].items() if state == "InService")
    before = before_kill(stage.witness, machine)
    stage.news.about(before)
    with target_group(cluster) as targets, not_replaced(cluster):
        wait_for("the machine in its target group", lambda: machine in targets.machines(), within_s=30)
        stage.show(f"stopping {machine}, which runs {len(before.pods)} of the pods")
        timeline.begin(datetime.now(UTC))
        ec2.stop_instances(InstanceIds=[machine])

        def stopped() -> tuple[Finding, ...]:
            seen = Stopped(
                stopped_at=timeline.milestones.get("stopped"),
                tainted_at=timeline.milestones.get("tainted"),
                node=stage.witness.nodes.get(machine),
                node_uid=before.node_uid,
                serves=machine in targets.machines(),
            )
            return (*judge_stopped(seen), pods_elsewhere(before, stage.sight()))

        found = stage.until(stopped, within_s=STOPPED_WITHIN_S + stage.healed_within_s)
        ec2.start_instances(InstanceIds=[machine])
        found += stage.until(
            lambda: (_node_of(stage, before), stage.reached("closed", "its case is closed")), within_s=BACK_WITHIN_S
        )
        cluster.kubectl("rollout", "restart", "deployment/web")
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=180s")

        def back() -> tuple[Finding, ...]:
            seen = Back(
                node=stage.witness.nodes.get(machine),
                node_uid=before.node_uid,
                pods=_pods_on(stage, machine),
                serves=machine in targets.machines(),
                came=tuple(stage.news.coming),
            )
            return (*judge_back(seen), *judge_standing(stage.sight()))

        found += stage.until(back, within_s=BACK_WITHIN_S)
    between = timeline.between
    figures = {
        "stopped_to_tainted_s": between("stopped", "tainted"),
        "stopped_to_pods_ready_s": between("stopped", "pods_ready"),
        "started_to_clean_s": between("started", "clean"),
        "started_to_closed_s": between("started", "closed"),
    }
    return Played(machine, found, figures)


def _node_of(stage: Stage, before: Before) -> Finding:
    node = stage.witness.nodes.get(before.victim)
    clean = node is not None and node.ready and node.untouched
    return Finding("it came back by itself", clean, _of(node, before.node_uid))


def _pods_on(stage: Stage, machine: str) -> int:
    pods = stage.witness.pods.values()
    return sum(pod.ready and pod.node == machine and pod.app == WORKLOAD_APP for pod in pods)


@contextmanager
def not_replaced(cluster: Cluster) -> Iterator[None]:
    """Auto Scaling neither notices that one of the workers is stopped nor replaces it."""
    autoscaling = cluster.client("autoscaling")
    which = {"AutoScalingGroupName": cluster.worker_group, "ScalingProcesses": list(REPLACING)}
    autoscaling.suspend_processes(**which)
    try:
        yield
    finally:
        autoscaling.resume_processes(**which)
