"""The drills by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from infra.local.drills.foreign import meet_a_stranger
from infra.local.drills.leaving import drain_for_long, scale_in
from infra.local.drills.losing import lose_a_worker, lose_a_worker_unheard
from infra.local.drills.never_joining import launch_what_never_joins
from infra.local.drills.stage import Played, Stage


@dataclass(frozen=True)
class Kind:
    """One drill: what happens, and what it proves when every promise is kept."""

    name: str
    about: str
    proves: str
    play: Callable[[Stage], Played]


_ALL = (
    Kind(
        "worker",
        "a worker is terminated behind its group's back, with no shutdown",
        "its pods come up elsewhere, nothing of it is left, and its replacement joins by a token of its own and "
        "certificates that Regrow approved",
        lose_a_worker,
    ),
    Kind(
        "missed",
        "the same with every event rule disabled",
        "no event is needed: the minute's sweep finds what happened",
        lose_a_worker_unheard,
    ),
    Kind(
        "scale-in",
        "the workers' group is made smaller by one, and larger again",
        "the machine leaves its target groups, then its pods are evicted within their budget, and only then does "
        "Regrow let it go; its Node goes after it",
        scale_in,
    ),
    Kind(
        "long-drain",
        "the same, with a pod that its budget holds for longer than a function, or the hook without heartbeats, lasts",
        "a drain takes as long as the budgets want, and no pod is deleted to end it",
        drain_for_long,
    ),
    Kind(
        "never-joins",
        "a worker is lost while the user data of new ones has a fault: they boot and never ask to join",
        "each launch is given up with its boot log kept and told, after three the group launches no more and a person "
        "is told once; with the fault mended the cluster becomes whole",
        launch_what_never_joins,
    ),
    Kind(
        "foreign",
        "a group that is not the cluster's launches a machine that wants to join, and a stranger asks for certificates",
        "Regrow completes none of its hooks, mints, approves, drains and deletes nothing",
        meet_a_stranger,
    ),
)
KINDS = {kind.name: kind for kind in _ALL}
