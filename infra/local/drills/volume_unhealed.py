"""How long a dead machine's volume stays where it was without Regrow: what the drill of a volume is compared to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import rules_disabled
from infra.local.drills.volume_setup import VOLUME, Line, ledger, storage_driver, writer_of
from infra.local.drills.witness import Witness

NOT_READY_WITHIN_S = 120.0
ATTACHED_WITHIN_S = 900.0
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Unhealed:
    """What became of the volume, in seconds since the kill; `lines` is what was written into it by then."""

    victim: str
    node_deleted_s: float
    attached_elsewhere_s: float
    lines: tuple[Line, ...]

    @property
    def waited_s(self) -> float:
        """From the Node's deletion on."""
        return round(self.attached_elsewhere_s - self.node_deleted_s, 1)


def delete_the_node_first(cluster: Cluster, say: Callable[[str], None]) -> Unhealed:
    """Do at once what Regrow does, in the wrong order: the Node is deleted, then its pod."""

    def forget(victim: str, _witness: Witness) -> None:
        cluster.kubectl("delete", "node", victim)
        cluster.kubectl("delete", "pod", VOLUME, "--force", "--grace-period=0")

    return _without_regrow(cluster, forget, say)


def leave_it_to_kubernetes(cluster: Cluster, say: Callable[[str], None]) -> Unhealed:
    """Do what AWS's cloud controller does: delete the Node of an instance that is gone once it is not Ready.

    A cluster without one waits for ever: the Node and its pod stay, and with them the attachment.
    """

    def forget(victim: str, witness: Witness) -> None:
        wait_for(f"{victim}, not Ready", lambda: not witness.nodes[victim].ready, within_s=NOT_READY_WITHIN_S)
        cluster.kubectl("delete", "node", victim)

    return _without_regrow(cluster, forget, say)


def _without_regrow(cluster: Cluster, forget: Callable[[str, Witness], None], say: Callable[[str], None]) -> Unhealed:
    """Kill the machine of the volume's pod while no event and no schedule reaches Regrow."""
    witness = Witness(cluster.kubeconfig)
    witness.start()
    try:
        with regrow_away(cluster), storage_driver(cluster), ledger(cluster) as kept:
            _, victim = writer_of(cluster)
            wait_for("the attachment", lambda: _has(witness) == {victim}, within_s=10)
            say(f"killing {victim} with Regrow switched off; its volume is expected to stay for six minutes")
            began = time.monotonic()
            cluster.client("ec2").terminate_instances(InstanceIds=[victim], SkipOsShutdown=True)
            forget(victim, witness)
            node_deleted_s = time.monotonic() - began
            say(f"the Node is deleted after {node_deleted_s:.1f} s")
            elsewhere = lambda: bool(_has(witness) - {victim})  # noqa: E731
            wait_for("the volume elsewhere", elsewhere, within_s=ATTACHED_WITHIN_S, every_s=_LOOK_EVERY_S)
            attached_s = time.monotonic() - began
            say(f"the volume is attached to {', '.join(_has(witness))} after {attached_s:.1f} s")
            seen = len(kept.lines())
            wait_for("more lines in the volume", lambda: len(kept.lines()) > seen, within_s=60)
            return Unhealed(victim, round(node_deleted_s, 1), round(attached_s, 1), kept.lines())
    finally:
        witness.stop()


@contextmanager
def regrow_away(cluster: Cluster) -> Iterator[None]:
    """No event and no schedule reaches Regrow, and no machine is launched that only Regrow would let in."""
    every_rule = [rule["Name"] for rule in cluster.client("events").list_rules()["Rules"]]
    launches = {"AutoScalingGroupName": cluster.worker_group, "ScalingProcesses": ["Launch"]}
    autoscaling = cluster.client("autoscaling")
    with rules_disabled(cluster, every_rule):
        autoscaling.suspend_processes(**launches)
        try:
            yield
        finally:
            autoscaling.resume_processes(**launches)


def _has(witness: Witness) -> set[str]:
    """The machines to which the volume is attached."""
    return {seen.node for seen in witness.attachments.values() if seen.volume == VOLUME and seen.attached}
