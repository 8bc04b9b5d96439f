"""Opt-outs: pauses by a tag of a group or an instance, or by an annotation of a Node. Pure.

The value is a time in UTC, then a space and a reason if one likes: `2026-11-28T18:00:00Z the disk is looked at`.

A tag is a person's word: no machine of ours may change tags. One that cannot be read, or reaches further ahead than
LONGEST_PAUSE, holds as long as it stands: who mistyped it wanted to be left alone, and is told each day.

An annotation may be the machine's own word: whoever has root on it can write on its own Node. So it holds back only
what would be done to a machine that runs and that no lifecycle hook holds, never what is left of a dead one; it ends
LONGEST_PAUSE after it has first held something back, however often it is renewed; and one that cannot be read is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from functions.cluster.facts import UNTIL_MENDED, Facts, Fleet, Memory, Pause
from functions.cluster.machine import (
    PAUSE_ANNOTATION,
    PAUSE_TAG,
    Group,
    Instance,
    InstanceId,
    InstanceState,
    Node,
)

LONGEST_PAUSE = timedelta(days=7)
HELD_KEPT = 2 * LONGEST_PAUSE  # since when an annotation holds; it counts again when that is forgotten
_LONGEST_REASON = 200
_MUST_BE = "it must be a time in UTC no more than 7 days ahead, such as 2026-11-28T18:00:00Z, then a space and a reason"


@dataclass(frozen=True)
class OptOut:
    """One tag or annotation as it was read: the pause that it stands for, and what is wrong with it, if anything is."""

    of: str
    source: str
    pause: Pause | None
    wrong: str | None = None


def pauses_of(facts: Facts) -> tuple[Pause, ...]:
    """Return every pause that one pass knows of: those of the table, of tags, and of its Node's annotation."""
    written = facts.memory.pauses if isinstance(facts.memory, Memory) else ()
    groups = facts.fleet.groups if isinstance(facts.fleet, Fleet) else ()
    instances = (facts.instance,) if isinstance(facts.instance, Instance) else ()
    return (*written, *pauses_by_tags(groups, instances, facts.at), *_annotated(facts))


def pauses_by_tags(groups: Iterable[Group], instances: Iterable[Instance], at: datetime) -> tuple[Pause, ...]:
    return tuple(one.pause for one in _tagged(groups, instances, at) if one.pause)


def held_by_annotation(facts: Facts) -> bool:
    """Whether it is among what holds now; then it has to be written down since when."""
    return any(pause.holds((facts.id,), facts.at) for pause in _annotated(facts))


def holds_key(machine: InstanceId) -> str:
    """Under what the table has since when a machine's annotation holds."""
    return f"annotation-holds#{machine}"


def misread(
    groups: Iterable[Group], instances: Iterable[Instance], nodes: Mapping[InstanceId, Node], at: datetime
) -> tuple[OptOut, ...]:
    """Return what is not as it must be, people's tags first."""
    annotated = (_of_node(machine, node, at) for machine, node in nodes.items())
    return tuple(one for one in (*_tagged(groups, instances, at), *annotated) if one and one.wrong)


def _tagged(groups: Iterable[Group], instances: Iterable[Instance], at: datetime) -> Iterator[OptOut]:
    tags = [(group.name, group.pause_until) for group in groups]
    tags += [(instance.id, instance.tags.get(PAUSE_TAG)) for instance in instances]
    for of, text in tags:
        if text is not None:
            read = _read(of, text, f"tag {PAUSE_TAG}", at)
            yield replace(read, pause=read.pause or Pause(of, UNTIL_MENDED, read.wrong or "", read.source))


def _annotated(facts: Facts) -> Iterator[Pause]:
    read = _of_node(facts.id, facts.node, facts.at) if isinstance(facts.node, Node) else None
    if read is None or read.pause is None or not _may_be_held_back(facts):
        return
    since = facts.annotation_holds_since
    over = since + LONGEST_PAUSE if isinstance(since, datetime) else read.pause.until
    yield replace(read.pause, until=min(read.pause.until, over))


def _may_be_held_back(facts: Facts) -> bool:
    place = facts.fleet.place_of(facts.id) if isinstance(facts.fleet, Fleet) else None
    if place and (place[1].held or place[1].terminating):
        return False
    runs = (InstanceState.PENDING, InstanceState.RUNNING)
    return isinstance(facts.instance, Instance) and facts.instance.state in runs


def _of_node(machine: InstanceId, node: Node, at: datetime) -> OptOut | None:
    text = node.annotations.get(PAUSE_ANNOTATION)
    return None if text is None else _read(machine, text, f"annotation {PAUSE_ANNOTATION}", at)


def _read(of: str, text: str, source: str, at: datetime) -> OptOut:
    moment, _, reason = text.strip().partition(" ")
    said = f"'{_printable(text)}'"
    try:
        read = datetime.fromisoformat(moment)
        until = read.astimezone(UTC)  # of one without a time zone it would be this computer's
    except (ValueError, OverflowError):
        return OptOut(of, source, None, f"{said} does not begin with a time; {_MUST_BE}")
    if read.tzinfo is None:
        return OptOut(of, source, None, f"{said} names no time zone; {_MUST_BE}")
    if until > at + LONGEST_PAUSE:
        return OptOut(of, source, None, f"{said} is more than 7 days ahead; {_MUST_BE}")
    return OptOut(of, source, Pause(of, until, _printable(reason) or "no reason is given", source))


def _printable(text: str) -> str:
    return (text if text.isprintable() else ascii(text[:_LONGEST_REASON])[1:-1])[:_LONGEST_REASON]
