"""What a plan is made of: the steps. Every step says what it will touch and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from functions.cluster.doubt import Doubt, Rung
from functions.cluster.etcd import EtcdMember
from functions.cluster.machine import InstanceId, Pod, Role, Transition
from functions.cluster.notice import Notice

AT_ONCE = timedelta(0)
SOON = timedelta(seconds=1)  # the next tick but the one that has begun: 1 to 3 s
LATER = timedelta(seconds=10)


@dataclass(frozen=True)
class OpenCase:
    """Write down that the machine is being worked on, and take one of the cluster's places for such work."""

    instance: InstanceId
    group: str | None
    node_name: str | None
    reason: str
    role: Role = Role.WORKER


@dataclass(frozen=True)
class Cordon:
    """Keep new pods away from a Node whose machine may still run, and write down what AWS has announced about it.

    When it `drains`, since when is written down too, and load balancers that controllers own are kept away.
    """

    node_name: str
    node_uid: str
    reason: str
    notice: Notice | None = None
    drains: bool = True


@dataclass(frozen=True)
class Fence:
    """Cordon a dead machine's Node and taint it out of service."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class Restore:
    """Take back what we did to the Node of a machine that runs again."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class DeletePods:
    """Delete a dead machine's pods by uid with no grace: there is no kubelet left to end them."""

    node_name: str
    pods: tuple[Pod, ...]
    reason: str


@dataclass(frozen=True)
class Evict:
    """Ask for the eviction of pods that still run, each under its uid; disruption budgets are respected.

    `after` is when those that may not go yet are asked again; None when nothing waits for them any more.
    """

    node_name: str
    pods: tuple[Pod, ...]
    reason: str
    after: timedelta | None = SOON


@dataclass(frozen=True)
class DeleteOverdue:
    """Delete pods that are still there when the drain's time is nearly over, each with its own grace."""

    node_name: str
    pods: tuple[Pod, ...]
    reason: str


@dataclass(frozen=True)
class LeaveLoadBalancers:
    """Take the instance out of these load balancers, which are its own group's: see `Target.of`.

    One that does not answer is waited for only as long as the machine can serve.
    """

    instance: InstanceId
    load_balancers: tuple[str, ...]
    reason: str
    serves: bool = True


@dataclass(frozen=True)
class JoinLoadBalancers:
    """Put the instance back into the load balancers of its group, from which a pass had taken it."""

    instance: InstanceId
    load_balancers: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class AwaitDetach:
    """Wait until no VolumeAttachment names the Node."""

    node_name: str
    reason: str


@dataclass(frozen=True)
class DeleteNode:
    """Delete the Node object, that very one."""

    node_name: str
    node_uid: str
    reason: str


@dataclass(frozen=True)
class CompleteHook:
    """Let Auto Scaling go on with an instance that waits in a hook, or have it abandon the launch."""

    instance: InstanceId
    group: str
    transition: Transition
    reason: str
    abandon: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """Have the hook that holds the instance wait its time anew."""

    instance: InstanceId
    group: str
    transition: Transition
    reason: str


@dataclass(frozen=True)
class Release:
    """Say that a drain's time is over and what is left on the machine; `held` when it was a hook that held it."""

    instance: InstanceId
    reason: str
    held: bool


@dataclass(frozen=True)
class Mint:
    """Give the machine its token and its bundle, if it may have them."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class Revoke:
    """Have nothing be left that the machine could join with. What fails is tried again; nothing waits for it."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class Approve:
    """Have the machine's pending certificate requests decided. What fails is tried again; nothing waits for it."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class Admit:
    """Write down, under the lease, that this machine and no other may join etcd now; `wanted` voters it makes then.

    One that is `admitted` already has the time that it was given then: etcd is only read once more.
    """

    instance: InstanceId
    asked: InstanceId
    wanted: int
    reason: str
    admitted: bool = False


@dataclass(frozen=True)
class UploadCertificates:
    """Have a healthy control plane leave the cluster's certificates for one machine that was admitted."""

    instance: InstanceId
    asked: InstanceId
    reason: str


@dataclass(frozen=True)
class ForgetCertificates:
    """Have them deleted, and let the next machine be admitted. What fails is tried again; nothing waits for it."""

    instance: InstanceId
    asked: InstanceId | None
    reason: str


@dataclass(frozen=True)
class TakeSnapshot:
    """Have a snapshot of etcd taken, verified and stored, or find out about the one that is under way.

    One that fails holds up nothing; it is told if `overdue`. One that lasts is looked for again when it is `awaited`.
    """

    asked: InstanceId
    reason: str
    overdue: bool = False
    awaited: bool = False


@dataclass(frozen=True)
class MoveLeader:
    """Let another member lead before this one goes. One that cannot be moved is elected anew: nothing waits for it."""

    asked: InstanceId
    to: EtcdMember
    reason: str


@dataclass(frozen=True)
class RemoveMember:
    """Take this member out of etcd, by another one, if its quorum holds at that very moment."""

    member: EtcdMember
    asked: InstanceId
    dead: bool
    reason: str


@dataclass(frozen=True)
class AwaitQuorum:
    """Wait since etcd's membership must not be changed now; `tells` a person unless that is over in a moment."""

    of: str
    reason: str
    tells: bool = True


@dataclass(frozen=True)
class GiveUpLaunch:
    """Keep what the machine said while it booted, and tell a person why its launch is given up."""

    instance: InstanceId
    group: str
    reason: str


@dataclass(frozen=True)
class CountAbandoned:
    """Write the launch down among those of its group that were given up one after another."""

    instance: InstanceId
    group: str
    reason: str


@dataclass(frozen=True)
class SuspendLaunch:
    """Let the group launch no more for a while, and tell a person."""

    group: str
    reason: str


@dataclass(frozen=True)
class ForgetAbandoned:
    """A launch of the group has joined: the ones given up before it no longer count."""

    group: str
    reason: str


@dataclass(frozen=True)
class AwaitReplacement:
    """Write down that nothing more is to be removed; the machine's place in flight is free from here on."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class CloseCase:
    """The cluster is whole again. A machine that is gone for good need not be known any more."""

    instance: InstanceId
    reason: str
    forget: bool = False


@dataclass(frozen=True)
class NoteDoubt:
    """Write down that the machine is in trouble, or since when it has been out of it."""

    doubt: Doubt
    reason: str


@dataclass(frozen=True)
class ForgetDoubt:
    """It has been well for long: what was tried counts no more."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class RestartService:
    """Have the machine restart its kubelet, or its container runtime. One that cannot be reached was tried, too."""

    doubt: Doubt
    service: str
    reason: str


@dataclass(frozen=True)
class Reboot:
    """Have EC2 reboot the machine."""

    doubt: Doubt
    reason: str


@dataclass(frozen=True)
class Replace:
    """Ask Auto Scaling to end the machine and to start another one, if it is in service there at that very moment."""

    doubt: Doubt
    reason: str


@dataclass(frozen=True)
class TellDoubt:
    """Tell a person, once a day, that the machine is in trouble and nothing more is tried."""

    instance: InstanceId
    reason: str


@dataclass(frozen=True)
class LookAgain:
    """Nothing more can be done now."""

    after: timedelta
    reason: str


Step = (
    OpenCase | Cordon | Fence | Restore | DeletePods | Evict | DeleteOverdue | LeaveLoadBalancers | JoinLoadBalancers
    | AwaitDetach | DeleteNode | CompleteHook | Heartbeat | Release | Mint | Revoke | Approve | GiveUpLaunch
    | Admit | UploadCertificates | ForgetCertificates | TakeSnapshot | MoveLeader | RemoveMember | AwaitQuorum
    | CountAbandoned | SuspendLaunch | ForgetAbandoned | AwaitReplacement | CloseCase
    | NoteDoubt | ForgetDoubt | RestartService | Reboot | Replace | TellDoubt | LookAgain
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they must happen; none at all is a plan as well."""

    steps: tuple[Step, ...] = ()

    @property
    def opens_case(self) -> bool:
        """Whether it takes one of the workers' places in flight."""
        return any(isinstance(step, OpenCase) and step.role is Role.WORKER for step in self.steps)

    @property
    def ends_a_drain(self) -> bool:
        """Whether pods are given up that are still there."""
        return any(isinstance(step, DeleteOverdue | Release) for step in self.steps)

    @property
    def rung(self) -> Rung | None:
        """What it tries on a doubtful machine, None when it tries nothing."""
        for step in self.steps:
            match step:
                case RestartService():
                    return Rung.RESTART
                case Reboot():
                    return Rung.REBOOT
                case Replace():
                    return Rung.REPLACE
        return None

    @property
    def only_notes(self) -> bool:
        """Whether all that it changes is what is remembered of trouble."""
        notes = NoteDoubt | ForgetDoubt | LookAgain | Heartbeat | AwaitQuorum
        return all(isinstance(step, notes) for step in self.steps)

    @property
    def touches(self) -> bool:
        """Whether any step changes anything; a heartbeat only keeps things as they are."""
        return any(not isinstance(step, LookAgain | Heartbeat | AwaitQuorum) for step in self.steps)
