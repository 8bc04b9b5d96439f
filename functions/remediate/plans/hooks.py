"""What keeps a machine's hooks from running out while nothing else is done about it."""

from __future__ import annotations

from functions.cluster.assess import Verdict
from functions.cluster.facts import Facts
from functions.cluster.machine import Transition
from functions.remediate.plan import Heartbeat


def heartbeats(verdict: Verdict, facts: Facts) -> tuple[Heartbeat, ...]:
    """One for each hook that holds the machine now."""
    group = verdict.group
    held = (transition for transition in Transition if verdict.waits(transition))
    return tuple(Heartbeat(facts.id, group.name, one, verdict.reason) for one in held) if group else ()
