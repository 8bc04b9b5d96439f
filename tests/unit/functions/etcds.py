"""Small builders of etcd as it was seen: a test says only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from functions.cluster.etcd import Etcd, EtcdMember, EtcdPod
from tests.unit.functions.builders import machine


def address(number: int) -> str:
    """The same as that of `builders.instance` and `builders.node` of this number."""
    return f"10.77.1.{number}"


def etcd_member(number: int, **changes: Any) -> EtcdMember:
    """A healthy voter on the machine of this number, named and addressed as kubeadm does it."""
    whole = EtcdMember(
        id=f"{0x8E9E05C52164694D + number:x}",
        name=machine(number),
        peer_urls=(f"https://{address(number)}:2380",),
        client_urls=(f"https://{address(number)}:2379",),
        learner=False,
        leads=False,
        answers=True,
        raft_index=1000,
    )
    return replace(whole, **changes)


def unstarted(number: int, **changes: Any) -> EtcdMember:
    """A learner that was added and has never started."""
    nothing = {"name": "", "client_urls": (), "learner": True, "answers": False, "raft_index": 0}
    return etcd_member(number, **nothing | changes)


def etcd_of(*members: EtcdMember, **changes: Any) -> Etcd:
    """Led by the first voter that answers, where none is said to lead."""
    leading = next((one for one in members if one.voter and one.answers), None)
    if leading and not any(one.leads for one in members):
        members = tuple(replace(one, leads=one is leading) for one in members)
    return replace(Etcd(asked=leading.name if leading else machine(1), members=members), **changes)


def etcd_pod(number: int, **changes: Any) -> EtcdPod:
    whole = EtcdPod(machine(number), f"https://{address(number)}:2379", f"uid-of-etcd-{number}")
    return replace(whole, **changes)
