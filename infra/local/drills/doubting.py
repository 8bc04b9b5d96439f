"""What Regrow does with a machine that runs, as EC2 says, and does not work: no event ever tells of it.

The policies that are set for the workers' group meanwhile only shorten the drill; what is judged holds for any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from kubernetes import client, config

from infra.local.cluster import Cluster
from infra.local.drills.acts import before_kill
from infra.local.drills.findings import Finding, judge_standing
from infra.local.drills.holder import run_in
from infra.local.drills.operating import host_dies, host_is_mended, network_fails
from infra.local.drills.stage import Played, Stage
from infra.local.drills.volume import Moves, judge_lines, judge_order, silence_s
from infra.local.drills.volume_setup import APP, VOLUME, ledger, storage_driver, writer_of
from infra.local.drills.watcher import Watcher, in_order
from infra.local.drills.witness import Change, SeenNode, SeenPod
from infra.local.places import WorldError

RESTART, REBOOT, REPLACE = "RestartService", "Reboot", "Replace"
RUNGS = (RESTART, REBOOT, REPLACE)
"""The steps of a ladder, by the names under which they are in a machine's history."""

TAG = "regrow:"
SOON = {"impaired-after": "5", "silent-after": "25"}
GENTLE = "restart=5 reboot=8 replace"
"""Longer than a reboot takes here, and no longer than it must be for a drill."""

LEASES = "kube-node-lease"
_SIGNAL_KUBELET = """
import os, pathlib, signal, sys
for process in pathlib.Path("/proc").glob("[0-9]*"):
    program = (process / "cmdline").read_text().partition(chr(0))[0]
    if os.path.basename(program) == "kubelet":
        os.kill(int(process.name), signal.Signals[sys.argv[1]])
        print(program)
"""


@contextmanager
def policy(cluster: Cluster, wanted: Mapping[str, str]) -> Iterator[None]:
    """The workers' group has these `regrow:` tags, and afterwards those that it had."""
    autoscaling, names = cluster.client("autoscaling"), {f"{TAG}{name}" for name in wanted}
    had = {tag["Key"]: tag["Value"] for tag in cluster.workers()["Tags"] if tag["Key"] in names}

    def tagged(tags: Mapping[str, str]) -> list[dict[str, Any]]:
        of = {"ResourceId": cluster.worker_group, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
        return [{**of, "Key": key, "Value": value} for key, value in tags.items()]

    autoscaling.create_or_update_tags(Tags=tagged({f"{TAG}{name}": value for name, value in wanted.items()}))
    try:
        yield
    finally:
        if had:
            autoscaling.create_or_update_tags(Tags=tagged(had))
        if more := names - had.keys():
            autoscaling.delete_tags(Tags=tagged(dict.fromkeys(more, "")))


def forget_tries(cluster: Cluster, machine: str) -> None:
    """What was tried on it in an earlier drill counts no more, as it would not after ten minutes of health."""
    key = {"pk": {"S": "doubt"}, "sk": {"S": machine}}
    cluster.client("dynamodb").delete_item(TableName=f"regrow-{cluster.name}", Key=key)


@dataclass
class Ends:
    """When the first pod object of a machine went: where no kubelet ends it, somebody has deleted it by force."""

    machine: str
    first_gone_at: datetime | None = None

    def see(self, change: Change) -> None:
        if isinstance(change.of, SeenPod) and change.of.node == self.machine and change.after is None:
            self.first_gone_at = self.first_gone_at or change.at


@dataclass(frozen=True)
class Replaced:
    """When what happened to a machine that was replaced; None where it was not seen. `steps` are its history's."""

    steps: Sequence[str]
    replaced_at: datetime | None
    shutting_down_at: datetime | None
    terminated_at: datetime | None
    tainted_at: datetime | None
    first_gone_at: datetime | None
    node_gone_at: datetime | None


def judge_ladder(steps: Sequence[str], rungs: Sequence[str]) -> Finding:
    """Whether these rungs were taken in this order and no other, a machine replaced once. Pure."""
    taken = [step for step in steps if step in RUNGS]
    climbed = [step for step, _ in groupby(taken)]
    kept = climbed == list(rungs) and taken.count(REPLACE) == rungs.count(REPLACE)
    return Finding(f"what was tried is {', then '.join(rungs)}", kept, ", ".join(taken) or "nothing")


def judge_replaced(seen: Replaced, rungs: Sequence[str]) -> tuple[Finding, ...]:
    """A finding for every promise about a machine that no event tells is dead. Pure."""
    return (
        judge_ladder(seen.steps, rungs),
        in_order("EC2 went on saying that it runs until it was replaced", seen.replaced_at, seen.shutting_down_at),
        in_order("it was tainted out of service only when EC2 said terminated", seen.terminated_at, seen.tainted_at),
        in_order("no pod of it was deleted by force before EC2 said so", seen.terminated_at, seen.first_gone_at),
        in_order("its Node went only after that", seen.terminated_at, seen.node_gone_at),
    )


def lose_a_host(stage: Stage) -> Played:
    """EC2's status checks are all that tells."""
    return _fail(stage, host_dies, "the host of {} dies", SOON, (REPLACE,))


def cut_off_a_worker(stage: Stage) -> Played:
    """It runs on with all its pods, and nothing that is tried reaches it or helps."""
    ladder = {**SOON, "ladder-impaired": GENTLE, "ladder-silent": GENTLE}
    return _fail(stage, network_fails, "the network of {} fails", ladder, RUNGS)


def _fail(
    stage: Stage, act: Callable[[Cluster, str], None], what: str, tags: Mapping[str, str], rungs: Sequence[str]
) -> Played:
    """The machine is the one that has a volume, so that a second writer would be seen."""
    cluster, timeline, news = stage.cluster, stage.timeline, stage.news
    with storage_driver(cluster), ledger(cluster) as kept, policy(cluster, tags):
        writer, victim = writer_of(cluster)
        forget_tries(cluster, victim)
        before, ends = before_kill(stage.witness, victim), Ends(victim)
        moves = Moves(timeline, before, attached={victim})
        news.about(before)
        news.listeners += [moves.on_change, ends.see]
        stage.show(f"{what.format(victim)}, which runs {len(before.pods)} of the pods and has {VOLUME}")
        timeline.begin(datetime.now(UTC))
        act(cluster, victim)
        timeline.add(datetime.now(UTC), "drill", what.format(victim))

        def findings() -> tuple[Finding, ...]:
            at, ready = timeline.milestones, _ready_writer(stage)
            seen = Replaced(
                steps=steps_of(news.histories[victim]),
                replaced_at=at.get("replaced"),
                shutting_down_at=news.moments.get((victim, "shutting-down")),
                terminated_at=news.moments.get((victim, "terminated")),
                tainted_at=at.get("tainted"),
                first_gone_at=ends.first_gone_at,
                node_gone_at=at.get("node_gone"),
            )
            return (
                *judge_replaced(seen, rungs),
                *stage.whole_without(before),
                judge_order(moves.detached, moves.node_gone),
                Finding("one machine at a time had its volume", not moves.twice, ", ".join(moves.twice) or "always"),
                *judge_lines(kept.lines(), first=writer, second=ready),
                stage.reached("closed", "its case is closed"),
                *stage.came_by_right(),
            )

        found = stage.until(findings, within_s=stage.healed_within_s)
        lines = kept.lines()
        with suppress(WorldError):  # as a rule it is gone
            host_is_mended(cluster, victim)
    reached = timeline.milestone_seconds()
    figures = {
        "failed_to_noticed_s": reached.get("noticed"),
        "failed_to_replaced_s": reached.get("replaced"),
        "failed_to_pods_ready_s": reached.get("pods_ready"),
        "failed_to_closed_s": reached.get("closed"),
        "not_written_s": silence_s(lines),
        **stage.approval_figures(),
    }
    return Played(victim, found, figures)


@dataclass(frozen=True)
class Frozen:
    """A machine whose kubelet was stopped. `node` as it is now; `renewed_at`: when its lease was last renewed."""

    steps: Sequence[str]
    node: SeenNode | None
    node_uid: str
    restarted_at: datetime | None
    renewed_at: datetime | None
    lost: Mapping[str, bool]
    came: Sequence[str]
    state: str


def judge_frozen(seen: Frozen) -> tuple[Finding, ...]:
    """A finding for every promise about a kubelet that only had to be started again. Pure."""
    node = seen.node
    same = node is not None and node.uid == seen.node_uid and node.ready and node.untouched
    return (
        judge_ladder(seen.steps, (RESTART,)),
        in_order("its kubelet was heard again", seen.restarted_at, seen.renewed_at),
        Finding("it is the same Node, Ready, with nothing on it", same, _of(node)),
        Finding("none of its pods was ended", not seen.lost, ", ".join(seen.lost) or "none"),
        Finding(
            "nobody replaced it",
            seen.state == "InService" and not seen.came,
            ", ".join([seen.state, *(f"{machine} came" for machine in seen.came)]),
        ),
    )


def _of(node: SeenNode | None) -> str:
    if node is None:
        return "no Node"
    return ", ".join([f"uid {node.uid}", "Ready" if node.ready else "not Ready", *node.marks])


@dataclass
class Leases:
    """When kubelets were last heard, as their leases say."""

    api: Any = field(repr=False)

    @classmethod
    def of(cls, cluster: Cluster) -> Leases:
        return cls(client.CoordinationV1Api(config.new_client_from_config(str(cluster.kubeconfig))))

    def renewed_at(self, machine: str) -> datetime | None:
        found: datetime | None = self.api.read_namespaced_lease(machine, LEASES).spec.renew_time
        return found


def freeze_a_kubelet(stage: Stage) -> Played:
    """Its process is stopped; machine, container runtime and pods are well."""
    cluster, timeline, news = stage.cluster, stage.timeline, stage.news
    machine = min(machine for machine, state in cluster.members()[0].items() if state == "InService")
    forget_tries(cluster, machine)
    before, watcher, leases = before_kill(stage.witness, machine), Watcher(machine), Leases.of(cluster)
    watcher.begin(stage.witness.pods.values())
    news.about(before)
    news.listeners.append(watcher.see)
    with policy(cluster, SOON):
        stage.show(f"the kubelet of {machine} is stopped, which runs {len(before.pods)} of the pods")
        timeline.begin(datetime.now(UTC))
        if not run_in(cluster, machine, "python3", "-c", _SIGNAL_KUBELET, "SIGSTOP"):
            raise WorldError(f"{machine} runs no kubelet that could be stopped.")
        timeline.add(datetime.now(UTC), "drill", f"the kubelet of {machine} is stopped")

        def findings() -> tuple[Finding, ...]:
            restarted_at, renewed_at = timeline.milestones.get("restarted"), leases.renewed_at(machine)
            if restarted_at and renewed_at and renewed_at > restarted_at and "heard" not in timeline.milestones:
                timeline.add(renewed_at, "Node", f"{machine} is heard again", milestone="heard")
            seen = Frozen(
                steps=steps_of(news.histories[machine]),
                node=stage.witness.nodes.get(machine),
                node_uid=before.node_uid,
                restarted_at=restarted_at,
                renewed_at=renewed_at,
                lost=dict(watcher.lost),
                came=tuple(news.coming),
                state=cluster.members()[0].get(machine, "gone"),
            )
            return (*judge_frozen(seen), *judge_standing(stage.sight()))

        found = stage.until(findings, within_s=stage.healed_within_s)
        if not all(finding.kept for finding in found):
            with suppress(WorldError):  # there may be no such machine any more
                run_in(cluster, machine, "python3", "-c", _SIGNAL_KUBELET, "SIGCONT")
    reached = timeline.milestone_seconds()
    figures = {
        "failed_to_noticed_s": reached.get("noticed"),
        "failed_to_restarted_s": reached.get("restarted"),
        "failed_to_heard_s": reached.get("heard"),
    }
    return Played(machine, found, figures)


def steps_of(history: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The steps in a machine's history, in order of time."""
    return tuple(step["step"] for entry in history for step in entry.get("steps", ()))


def _ready_writer(stage: Stage) -> str | None:
    return next((pod.uid for pod in stage.witness.pods.values() if pod.app == APP and pod.ready), None)
