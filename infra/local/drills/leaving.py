"""A machine leaves in order: its group is made smaller, and Regrow drains it before Auto Scaling may end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import AT_LEAST_READY, before_kill, protected, set_capacity
from infra.local.drills.findings import WORKLOAD_APP, Before, Finding
from infra.local.drills.news import TERMINATE_ACTION
from infra.local.drills.stage import Played, Stage
from infra.local.drills.witness import Change, SeenPod

HELD = Path(__file__).with_name("held.yaml")
FUNCTION_LASTS_S = 30.0
"""How long one pass of Regrow may run (its function's time-out)."""

HOOK_TIMEOUT_S = 40
"""Of the terminate hook while a drain is long: shorter than the drain, so that it takes heartbeats to last."""

HOLD_S = 60.0
LET_GO_WITHIN_S = 60.0


@dataclass
class Watcher:
    """What the witness saw of the pods while a machine left."""

    machine: str
    budget_of: str = WORKLOAD_APP
    lost: dict[str, bool] = field(default_factory=dict)
    """Pods that ended on the machine, by name: whether an eviction ended them."""
    least_ready: int | None = None
    first_ended_at: datetime | None = None
    _ready: set[str] = field(default_factory=set)

    def see(self, change: Change) -> None:
        pod = change.of
        if not isinstance(pod, SeenPod):
            return
        after = change.after
        if pod.app == self.budget_of:
            ready = isinstance(after, SeenPod) and after.ready
            (self._ready.add if ready else self._ready.discard)(pod.uid)
            self.least_ready = len(self._ready) if self.least_ready is None else min(self.least_ready, len(self._ready))
        if pod.node == self.machine and pod.app and (after is None or pod.ending or pod.evicted):
            self.first_ended_at = self.first_ended_at or change.at
            self.lost[pod.name] = self.lost.get(pod.name, False) or pod.evicted

    def begin(self, pods: Iterable[SeenPod]) -> None:
        self._ready = {pod.uid for pod in pods if pod.app == self.budget_of and pod.ready}


@dataclass(frozen=True)
class Leave:
    """When what happened to a machine that left; None where it was not seen. `lost` as in Watcher."""

    lost: dict[str, bool]
    expected: int
    least_ready: int | None
    out_of_targets_at: datetime | None
    first_ended_at: datetime | None
    held_at: datetime | None
    let_go_at: datetime | None
    terminated_at: datetime | None
    node_gone_at: datetime | None
    completed_by_regrow: bool


def judge_leave(leave: Leave) -> tuple[Finding, ...]:
    """A finding for every promise about the order in which a machine leaves. Pure."""
    deleted = sorted(name for name, evicted in leave.lost.items() if not evicted)
    evicted = f"{len(leave.lost) - len(deleted)} evicted of {leave.expected}"
    least = leave.least_ready
    return (
        Finding(
            "every pod of it was evicted, none deleted",
            not deleted and len(leave.lost) >= leave.expected,
            f"{evicted}, deleted: {', '.join(deleted)}" if deleted else evicted,
        ),
        Finding(
            "their disruption budget was kept at every moment",
            least is not None and least >= AT_LEAST_READY,
            f"never fewer than {least} of at least {AT_LEAST_READY} Ready",
        ),
        _in_order(
            "it was out of its target groups before its first pod ended", leave.out_of_targets_at, leave.first_ended_at
        ),
        Finding(
            "Regrow completed its hook",
            leave.completed_by_regrow,
            "in its history" if leave.completed_by_regrow else "not yet",
        ),
        _in_order("it was held by its hook until then", leave.held_at, leave.let_go_at),
        _in_order("its Node went only when EC2 said terminated", leave.terminated_at, leave.node_gone_at),
    )


def _in_order(promise: str, first: datetime | None, second: datetime | None) -> Finding:
    if first is None or second is None:
        return Finding(promise, False, "not yet")
    return Finding(promise, first <= second, f"{(second - first).total_seconds():.2f} s between")


def scale_in(stage: Stage) -> Played:
    """In the time that its pods take."""
    return _leave(stage, hold=False)


def drain_for_long(stage: Stage) -> Played:
    """Held by one pod for longer than a function runs and longer than the hook lasts without heartbeats."""
    return _leave(stage, hold=True)


def _leave(stage: Stage, *, hold: bool) -> Played:
    cluster = stage.cluster
    members, desired = cluster.members()
    machine = min(machine for machine, state in members.items() if state == "InService")
    others = [each for each in members if each != machine]
    with target_group(cluster) as targets, protected(cluster, others):
        wait_for("the machine in its target group", lambda: machine in targets.machines(), within_s=30)
        if hold:
            with held_pod(cluster, machine) as budget, hook_timeout(cluster, HOOK_TIMEOUT_S):
                before, findings = _shrink(stage, machine, desired - 1, targets, budget)
        else:
            before, findings = _shrink(stage, machine, desired - 1, targets, None)
        set_capacity(cluster, desired)
        whole = stage.until(
            lambda: (*stage.whole_without(before), *stage.came_by_right()), within_s=stage.healed_within_s
        )
    between = stage.timeline.between
    figures = {
        "held_to_drained_s": between("held", "drained"),
        "drained_to_let_go_s": between("drained", "let_go"),
        "released_to_let_go_s": between("released", "let_go"),
        **stage.approval_figures(),
    }
    return Played(machine, (*findings, *whole), figures)


def _shrink(
    stage: Stage, machine: str, size: int, targets: Targets, budget: Budget | None
) -> tuple[Before, tuple[Finding, ...]]:
    """Make the group smaller by this machine; what was found when it was gone."""
    cluster, timeline, news = stage.cluster, stage.timeline, stage.news
    before = before_kill(stage.witness, machine)
    watcher = Watcher(machine)
    watcher.begin(stage.witness.pods.values())
    expected = len(before.pods) + (1 if budget else 0)
    news.about(before)
    news.listeners.append(watcher.see)
    stage.show(f"making {cluster.worker_group} smaller by {machine}, which runs {len(before.pods)} of the pods")
    timeline.begin(datetime.now(UTC))
    set_capacity(cluster, size)
    out_of_targets_at: list[datetime] = []

    def leave() -> Leave:
        if not out_of_targets_at and machine not in targets.machines():
            out_of_targets_at.append(datetime.now(UTC))
        return Leave(
            lost=dict(watcher.lost),
            expected=expected,
            least_ready=watcher.least_ready,
            out_of_targets_at=out_of_targets_at[0] if out_of_targets_at else None,
            first_ended_at=watcher.first_ended_at,
            held_at=news.moments.get((machine, TERMINATE_ACTION)),
            let_go_at=news.moments.get((machine, "shutting-down")),
            terminated_at=news.moments.get((machine, "terminated")),
            node_gone_at=timeline.milestones.get("node_gone"),
            completed_by_regrow=_completed(news.histories[machine]),
        )

    held: tuple[Finding, ...] = ()
    if budget:
        held = (
            *_hold(stage, machine, budget, leave),
            stage.reached("released", "the budget was released by the drill"),
        )
    found = stage.until(lambda: (*judge_leave(leave()), *stage.whole_without(before)), within_s=stage.healed_within_s)
    if budget:
        held = (*held, _let_go_after_release(stage, leave()))
    return before, (*held, *found)


def _hold(stage: Stage, machine: str, budget: Budget, leave: Callable[[], Leave]) -> tuple[Finding, ...]:
    """Wait until the hook would be over without heartbeats, see that the machine waits with its pod, release it."""
    waits = stage.comes_true("the machine is held by its hook", lambda: leave().held_at is not None, within_s=60)
    held_until = stage.comes_true(
        "nothing but the held pod is left on it",
        lambda: _left_on(stage, machine) == {budget.pod},
        within_s=stage.healed_within_s,
    )

    def long_enough() -> bool:
        began = leave().held_at
        return began is not None and (datetime.now(UTC) - began).total_seconds() >= HOLD_S

    stage.comes_true("the drain is long", long_enough, within_s=HOLD_S + 10)
    state = stage.cluster.members()[0].get(machine, "gone")
    left = _left_on(stage, machine)
    still = Finding(
        f"after {HOLD_S:.0f} s, with passes of {FUNCTION_LASTS_S:.0f} s and a hook of {HOOK_TIMEOUT_S} s, heartbeats "
        "still held it and its pod ran",
        state == "Terminating:Wait" and left == {budget.pod},
        f"{state}, on it: {', '.join(sorted(left)) or 'nothing'}",
    )
    budget.release()
    stage.timeline.add(datetime.now(UTC), "drill", "the budget that held its pod is deleted", milestone="released")
    return waits, held_until, still


def _let_go_after_release(stage: Stage, leave: Leave) -> Finding:
    released = stage.timeline.milestones.get("released")
    promise = f"Regrow let it go within {LET_GO_WITHIN_S:.0f} s after the release, and not before"
    if released is None or leave.let_go_at is None:
        return Finding(promise, False, "not let go")
    after_s = (leave.let_go_at - released).total_seconds()
    return Finding(promise, 0 <= after_s <= LET_GO_WITHIN_S, f"{after_s:.1f} s after it")


def _left_on(stage: Stage, machine: str) -> set[str]:
    return {pod.name for pod in stage.witness.pods.values() if pod.node == machine}


def _completed(history: list[dict[str, Any]]) -> bool:
    return any(step["step"] == "CompleteHook" for entry in history for step in entry.get("steps", ()))


@dataclass(frozen=True)
class Targets:
    """A target group that is attached to the workers' group."""

    client: Any
    arn: str

    def machines(self) -> set[str]:
        """Those that it would send requests to: who is being taken out gets none any more."""
        found = self.client.describe_target_health(TargetGroupArn=self.arn)["TargetHealthDescriptions"]
        return {one["Target"]["Id"] for one in found if one["TargetHealth"]["State"] != "draining"}


@contextmanager
def target_group(cluster: Cluster) -> Iterator[Targets]:
    """The workers serve behind a target group of the drill's own."""
    elb, autoscaling = cluster.client("elbv2"), cluster.client("autoscaling")
    vpc = cluster.client("ec2").describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["regrow"]}])["Vpcs"][0]["VpcId"]
    tags = [{"Key": "regrow:cluster", "Value": cluster.name}]  # Regrow may touch no other
    made = elb.create_target_group(Name=f"{cluster.name}-drill", Protocol="TCP", Port=30080, VpcId=vpc, Tags=tags)
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    which = {"AutoScalingGroupName": cluster.worker_group, "TargetGroupARNs": [arn]}
    try:
        autoscaling.attach_load_balancer_target_groups(**which)
        yield Targets(elb, arn)
    finally:
        autoscaling.detach_load_balancer_target_groups(**which)
        elb.delete_target_group(TargetGroupArn=arn)


@dataclass(frozen=True)
class Budget:
    """A disruption budget that lets its one pod never go, until it is released."""

    cluster: Cluster
    pod: str

    def release(self) -> None:
        self.cluster.kubectl("delete", "poddisruptionbudget", "held", "--ignore-not-found")


@contextmanager
def held_pod(cluster: Cluster, machine: str) -> Iterator[Budget]:
    """One pod more on this machine, which its budget holds."""
    manifest = cluster.world.place.directory / "held.yaml"
    manifest.write_text(HELD.read_text().replace("MACHINE", machine))
    get = (
        "get",
        "pods",
        "--selector=app=held",
        "--output=jsonpath={.items[0].metadata.name} {.items[0].spec.nodeName}",
    )

    def where() -> list[str]:
        return cluster.kubectl(*get, check=False).split()

    def counted() -> bool:
        healthy = ("get", "poddisruptionbudget", "held", "--output=jsonpath={.status.currentHealthy}")
        return where()[1:] == [machine] and cluster.kubectl(*healthy, check=False) == "1"

    try:
        cluster.kubectl("apply", "-f", str(manifest))
        wait_for(f"the held pod, counted by its budget, on {machine}", counted, within_s=60)
        yield Budget(cluster, where()[0])
    finally:
        cluster.kubectl("delete", "-f", str(manifest), "--ignore-not-found", "--wait=false")


@contextmanager
def hook_timeout(cluster: Cluster, seconds: int) -> Iterator[None]:
    """The workers' terminate hooks last this long without a heartbeat."""
    autoscaling = cluster.client("autoscaling")
    described = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=cluster.worker_group)["LifecycleHooks"]
    hooks = [
        {key: value for key, value in hook.items() if key != "GlobalTimeout"}
        for hook in described
        if hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    ]
    for hook in hooks:
        autoscaling.put_lifecycle_hook(**{**hook, "HeartbeatTimeout": seconds})
    try:
        yield
    finally:
        for hook in hooks:
            autoscaling.put_lifecycle_hook(**hook)
