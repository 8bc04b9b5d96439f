"""The machine is lost that has a StatefulSet's volume: another one gets it in seconds, and one pod at a time writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from infra.local.drills.acts import before_kill, invoke_drill
from infra.local.drills.findings import Before, Finding
from infra.local.drills.stage import Played, Stage
from infra.local.drills.timeline import Timeline
from infra.local.drills.volume_setup import APP, VOLUME, Line, ledger, storage_driver, writer_of
from infra.local.drills.witness import Change, SeenAttachment, SeenNode


@dataclass
class Moves:
    """Follows the volume and the Node that it was on; keeps the revisions that say what came before what."""

    timeline: Timeline
    before: Before
    attached: set[str]
    """The machines that have the volume, as the API server says."""
    twice: list[str] = field(default_factory=list)
    """The machines that were added while another one had it."""
    detached: int | None = None
    node_gone: int | None = None

    def on_change(self, change: Change) -> None:
        if isinstance(change.of, SeenAttachment) and change.of.volume == VOLUME:
            if change.after is None:
                self._detached(change, change.of.node)
            elif change.of.attached:
                self._attached(change, change.of.node)
        elif isinstance(change.of, SeenNode) and change.of.uid == self.before.node_uid and change.after is None:
            self.node_gone = change.revision

    def _detached(self, change: Change, machine: str) -> None:
        self.attached.discard(machine)
        milestone = None
        if machine == self.before.victim:
            self.detached, milestone = change.revision, "detached"
        self.timeline.add(change.at, "volume", f"{VOLUME} is detached from {machine}", milestone=milestone)

    def _attached(self, change: Change, machine: str) -> None:
        if machine in self.attached:
            return
        if self.attached:
            self.twice.append(machine)
        self.attached.add(machine)
        self.timeline.add(change.at, "volume", f"{VOLUME} is attached to {machine}", milestone="attached_elsewhere")


def lose_a_volumes_machine(stage: Stage) -> Played:
    """The kill is the deployed drill function's, of the machine that the pod happens to be on."""
    cluster, timeline = stage.cluster, stage.timeline
    with storage_driver(cluster), ledger(cluster) as kept:
        writer, victim = writer_of(cluster)
        before = before_kill(stage.witness, victim)
        moves = Moves(timeline, before, attached={victim})
        stage.news.about(before)
        stage.news.listeners.append(moves.on_change)
        stage.show(f"killing {victim}, whose pod {VOLUME} has written {len(kept.lines())} lines into its volume")
        invoke_drill(cluster, {"do": "drill", "machine": victim})

        def findings() -> tuple[Finding, ...]:
            ready = next((pod.uid for pod in stage.witness.pods.values() if pod.app == APP and pod.ready), None)
            return (
                *stage.whole_without(before),
                stage.reached("detached", "its volume was detached from it"),
                stage.reached("attached_elsewhere", "the volume was attached elsewhere"),
                judge_order(moves.detached, moves.node_gone),
                Finding("one machine at a time had it", not moves.twice, ", ".join(moves.twice) or "always"),
                Finding("its pod is Ready under a new uid", ready not in (None, writer), ready or "no pod is Ready"),
                *judge_lines(kept.lines(), first=writer, second=ready),
                stage.reached("closed", "its case is closed"),
                *stage.came_by_right(),
            )

        found = stage.until(findings, within_s=stage.healed_within_s)
        lines = kept.lines()
    reached = timeline.milestone_seconds()
    return Played(
        victim,
        found,
        {
            "dead_to_attached_elsewhere_s": reached.get("attached_elsewhere"),
            "detached_to_attached_elsewhere_s": timeline.between("detached", "attached_elsewhere"),
            "not_written_s": silence_s(lines),
            "killed_to_closed_s": reached.get("closed"),
        },
    )


def judge_order(detached: int | None, node_gone: int | None) -> Finding:
    """Whether the Node outlived the attachment, by the revisions of the store. Pure."""
    kept = detached is not None and node_gone is not None and detached < node_gone
    seen = f"revision {detached} before {node_gone}" if kept else f"detached {detached}, Node gone {node_gone}"
    return Finding("its Node went only after the volume was detached", kept, seen)


def judge_lines(lines: Sequence[Line], *, first: str, second: str | None) -> tuple[Finding, ...]:
    """Whether the second pod wrote on where the first one stopped, and no two ever wrote at once. Pure.

    A pod counts on from the last number that it finds when it starts: without the data it begins at 1, and a pod that
    writes beside another repeats its numbers.
    """
    turns = [writer for writer, _ in groupby(line.writer for line in lines)]
    numbers, times = [line.number for line in lines], [line.at_ns for line in lines]
    in_turn = len(turns) == len(set(turns)) and numbers == list(range(1, len(lines) + 1)) and times == sorted(times)
    seen = f"{len(lines)} lines, {len(turns)} writers one after the other" if in_turn else f"turns {turns}"
    wrote_on = second is not None and turns[-2:] == [first, second]
    return (
        Finding("no two pods wrote into it at once", in_turn and bool(lines), seen),
        Finding("the new pod wrote on where the old one stopped", wrote_on and in_turn, f"{len(turns)} writers"),
    )


def silence_s(lines: Sequence[Line]) -> float | None:
    """The longest time without a line. Pure."""
    pauses = [later.at_ns - sooner.at_ns for sooner, later in pairwise(lines)]
    return round(max(pauses) / 1e9, 2) if pauses else None
