"""The drills by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from infra.local.cluster import CONTROL_PLANES, WORKERS, Cluster
from infra.local.drills.control_plane import lose_one, lose_the_leader, lose_two_at_once
from infra.local.drills.control_plane_joins import keep_a_voter_from_its_node, kill_the_joining
from infra.local.drills.doubting import cut_off_a_worker, freeze_a_kubelet, lose_a_host
from infra.local.drills.foreign import meet_a_stranger
from infra.local.drills.groundwork import as_it_is, one_more_worker, one_spot_worker
from infra.local.drills.hostile_join import join_as_another
from infra.local.drills.interrupting import advise_to_leave, lose_a_spot_worker
from infra.local.drills.leaving import drain_for_long, drain_past_a_budget, scale_in
from infra.local.drills.losing import lose_a_worker, lose_a_worker_unheard
from infra.local.drills.maintaining import plan_maintenance
from infra.local.drills.never_joining import launch_what_never_joins
from infra.local.drills.quorum_lost import lose_the_quorum
from infra.local.drills.stage import Played, Stage
from infra.local.drills.stopping import stop_and_start
from infra.local.drills.storm import take_many
from infra.local.drills.volume import lose_a_volumes_machine
from infra.local.drills.witness import Witness


@dataclass(frozen=True)
class Kind:
    """One drill: what happens, and what it proves when every promise is kept.

    `groundwork` is what the cluster is made to be before it, and put back to after it. `control_planes` and `workers`:
    of a world that is made for it; one that is up must have at least as many control planes. `ends_world`: nothing can
    be put back after it.
    """

    name: str
    about: str
    proves: str
    play: Callable[[Stage], Played]
    groundwork: Callable[[Cluster, Witness], AbstractContextManager[None]] = as_it_is
    control_planes: int = CONTROL_PLANES
    workers: int = WORKERS
    ends_world: bool = False


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
        "pdb-blocked",
        "the same, with a pod that its budget never lets go, until a person loosens the budget",
        "the machine's history names the pod with its budget, the drain waits and then goes on, and nothing is deleted",
        drain_past_a_budget,
    ),
    Kind(
        "spot",
        "EC2 interrupts a Spot worker, with two minutes' notice",
        "it is cordoned in seconds, out of its load balancers and empty before it is taken, its Node goes after it, "
        "and its replacement joins by right",
        lose_a_spot_worker,
        one_spot_worker,
    ),
    Kind(
        "rebalance",
        "EC2 advises to leave a Spot worker, and nothing comes of it",
        "it is cordoned and serves on what it has; when the advice has run out it is as before, by the sweep alone",
        advise_to_leave,
        one_spot_worker,
    ),
    Kind(
        "health",
        "two workers are to be rebooted by one event of AWS Health, which is called off; a person had cordoned one",
        "both are empty ahead of it; called off, they serve again, and only the person's cordon stays",
        plan_maintenance,
        one_more_worker,
    ),
    Kind(
        "stopped",
        "a worker is stopped, and started again",
        "its pods run elsewhere in seconds and its Node stays, out of service; started, it takes pods and requests",
        stop_and_start,
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
    Kind(
        "hostile-join",
        "a machine with a good token of its own asks for certificates of others, in more than twenty ways",
        "none is approved, each is denied; its launch is convicted and given up with its token and bundle, a person is "
        "told, and no other machine notices",
        join_as_another,
    ),
    Kind(
        "volume",
        "the worker is terminated that has the volume of a StatefulSet's pod, which writes into it all the time",
        "the volume is detached and attached elsewhere in seconds, before the Node goes; the pod writes on where it "
        "stopped, and at no time did two of them write",
        lose_a_volumes_machine,
    ),
    Kind(
        "host-dies",
        "the host of a worker dies, and EC2 goes on saying that it runs",
        "EC2's status checks are enough: it is replaced through its group, nothing of it is deleted or tainted out of "
        "service before EC2 says terminated, and no two pods ever write into its volume",
        lose_a_host,
    ),
    Kind(
        "frozen",
        "the kubelet of a worker is stopped; the machine and its pods are well",
        "it is started again through Run Command, and that is all: nothing is evicted, rebooted or replaced",
        freeze_a_kubelet,
    ),
    Kind(
        "cut-off",
        "a worker loses its network and lives on, with all its pods",
        "a restart and a reboot are tried, then it is replaced; not before EC2 says terminated may another pod have "
        "its volume",
        cut_off_a_worker,
    ),
    Kind(
        "storm",
        "EC2 interrupts 50 Spot machines at once; they are on paper, with Nodes and pods on the real API server",
        "99 of 100 are cordoned within 10 s of their event, and all are empty long before they are taken",
        take_many,
    ),
    Kind(
        "control-plane",
        "one of three control planes is killed, not the one whose etcd leads",
        "its member is removed in seconds through another one's etcd, only then its replacement joins, votes and "
        "serves, and writes through the load balancer go on",
        lose_one,
        control_planes=3,
        workers=1,
    ),
    Kind(
        "leader",
        "the one of three control planes is killed whose etcd leads",
        "the others elect, and then the same holds",
        lose_the_leader,
        control_planes=3,
        workers=1,
    ),
    Kind(
        "two-at-once",
        "two of five control planes are killed at once",
        "etcd never stops; one member is removed, then the other, and two others come, one after the other",
        lose_two_at_once,
        control_planes=5,
        workers=1,
    ),
    Kind(
        "join-dies",
        "one of three control planes is killed, and its replacement as soon as its etcd has been added as a learner",
        "the learner that is left behind is removed within one sweep, and the next one joins",
        kill_the_joining,
        control_planes=3,
        workers=1,
    ),
    Kind(
        "voter-without-node",
        "one of three control planes is killed while the approve function is throttled: its replacement votes in etcd "
        "and gets no certificate to be a Node with",
        "at the join deadline the voter is seen and removed, and with certificates approved again the next one joins",
        keep_a_voter_from_its_node,
        control_planes=3,
        workers=1,
    ),
    Kind(
        "quorum-lost",
        "two of three control planes are killed at once; the world is ended after it, since only a restore could help",
        "nothing is touched, and one alert tells a person",
        lose_the_quorum,
        control_planes=3,
        workers=1,
        ends_world=True,
    ),
)
KINDS = {kind.name: kind for kind in _ALL}
