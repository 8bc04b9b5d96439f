"""One small world in memory that the minter works on, with the real services' preconditions and conflicts.

Every call goes through `before` and `after`, by which a test lets it fail, kills the function there, or lets something
else happen at that very point. What must never be is noticed the moment it is, in `violations`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock
from typing import Any

from functions.cluster.facts import Absent
from functions.cluster.joining import Admission, Approval, JoinRecord, JoinState
from functions.cluster.machine import VERSION_TAG, Group, Instance, InstanceId, InstanceState, Node
from functions.errors import ConflictError, RetryableError
from functions.join.delivery import ApiServer, Bundle
from functions.join.mint import answer
from functions.join.minting_outside import MintingOutside
from functions.join.token import Token
from tests.unit.functions.builders import CLUSTER, NOW, ONE, SETTINGS, TWO, group, member
from tests.unit.functions.join.mint.launches import API_SERVER, IMAGE, launched

ABOUT_ONE = {"machine": ONE}


@dataclass(frozen=True)
class Call:
    """One call to the outside: the `nth` of its method, counted from 1."""

    method: str
    nth: int


def _nothing(call: Call) -> None:
    """Let the call be."""


def _choose(seed: int = 7) -> Callable[[str], str]:
    return random.Random(seed).choice  # noqa: S311 - foreseeable on purpose


@dataclass
class MintWorld:
    """The state of every service. `secrets` are the bootstrap tokens in the cluster, by id, each with its uid."""

    now: datetime = NOW
    instance: Instance | Absent = field(default_factory=launched)
    groups: tuple[Group, ...] = (group(member(ONE, "Pending:Wait"), member(TWO)),)
    image_tags: dict[str, str] | Absent = field(default_factory=lambda: {VERSION_TAG: "v1.36.3"})
    node: Node | Absent = field(default_factory=Absent)
    version: str = "v1.36.3"
    signing: tuple[str, ...] = ()
    approved_unseen: frozenset[str] = frozenset()
    no_answer_about: frozenset[str] = frozenset()  # groups
    joins: dict[str, JoinRecord] = field(default_factory=dict)
    kept_until: dict[str, datetime | None] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
    admission: Admission | Absent = field(default_factory=Absent)
    secrets: dict[str, tuple[str, Token]] = field(default_factory=dict)
    bundles: dict[InstanceId, Bundle] = field(default_factory=dict)
    deleted_at: datetime | None = None  # when the last bundle was
    calls: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    before: Callable[[Call], None] = _nothing
    after: Callable[[Call], None] = _nothing
    choose: Callable[[str], str] = field(default_factory=_choose)
    lock: Any = field(default_factory=RLock)

    @property
    def outside(self) -> MintingOutside:
        return MintingOutside(_Ec2(self), _AutoScaling(self), _Kubernetes(self), _Bundles(self), _Table(self))

    @property
    def record(self) -> JoinRecord | None:
        """That of the machine's latest launch."""
        own = [launch for launch, record in self.joins.items() if record.instance == ONE]
        return self.joins[max(own)] if own else None

    def mint(self, request: object = ABOUT_ONE) -> dict[str, Any]:
        return answer(request, self.outside, SETTINGS, now=self.now, choose=self.choose)

    def did(self) -> str:
        return str(self.mint()["did"])

    def settle(self, *, within: timedelta = timedelta(minutes=2)) -> str:
        """Call as passes do, every 2 s while the answer is held; return the word of the first other answer."""
        end = self.now + within
        while (did := self.did()) == "held":
            assert self.now < end, self.mint()["reason"]
            self.now += timedelta(seconds=2)
        return did

    def end_launch(self) -> None:
        """The instance is terminated, and its group has let it go."""
        assert isinstance(self.instance, Instance)
        self.instance = replace(self.instance, state=InstanceState.TERMINATED, address=None)
        self.groups = (group(member(TWO)),)

    @contextmanager
    def call(self, method: str) -> Iterator[None]:
        with self.lock:
            self.calls[method] += 1
            call = Call(method, self.calls[method])
        self.before(call)
        with self.lock:
            yield
        self.after(call)

    def live_tokens(self) -> list[Token]:
        return [token for _, token in self.secrets.values() if token.expires_at > self.now]


@dataclass
class _Edge:
    world: MintWorld


class _Ec2(_Edge):
    def instance(self, instance: InstanceId) -> Instance | Absent:
        with self.world.call("instance"):
            assert instance == ONE
            return self.world.instance

    def image_tags(self, image: str) -> dict[str, str] | Absent:
        with self.world.call("image_tags"):
            assert image == IMAGE
            return self.world.image_tags


class _AutoScaling(_Edge):
    def groups(self, cluster: str) -> tuple[Group, ...]:
        with self.world.call("groups"):
            assert cluster == CLUSTER
            return self.world.groups


class _Kubernetes(_Edge):
    def node(self, name: str) -> Node | Absent:
        with self.world.call("node"):
            assert name == ONE
            return self.world.node

    def version(self) -> str:
        with self.world.call("version"):
            return self.world.version

    def approves_unseen(self, group: str) -> bool:
        with self.world.call("approves_unseen"):
            if group in self.world.no_answer_about:
                raise RetryableError(f"no answer about {group}")
            return group in self.world.approved_unseen

    def signing_tokens(self) -> tuple[str, ...]:
        with self.world.call("signing_tokens"):
            return self.world.signing

    def api_server(self) -> ApiServer:
        with self.world.call("api_server"):
            return API_SERVER

    def create_token(self, token: Token) -> str:
        with self.world.call("create_token"):
            world = self.world
            if token.id in world.secrets:
                raise ConflictError(f"secrets bootstrap-token-{token.id} already exists")
            if world.record is None or (world.record.state, world.record.token_id) != (JoinState.MINTING, token.id):
                world.violations.append(f"token {token.id} was created, and no record names it")
            if any(other.machine == token.machine for other in world.live_tokens()):
                world.violations.append("a second live token was created")
            world.secrets[token.id] = (f"uid-of-{token.id}", token)
            return f"uid-of-{token.id}"

    def delete_token(self, token_id: str, uid: str | None) -> None:
        with self.world.call("delete_token"):
            there = self.world.secrets.get(token_id)
            if there and uid in (None, there[0]):
                del self.world.secrets[token_id]


class _Bundles(_Edge):
    def put(self, bundle: Bundle) -> None:
        with self.world.call("put_bundle"):
            world = self.world
            if bundle.token.machine in world.bundles:
                raise ConflictError("there is a parameter already")
            if world.deleted_at and world.now < world.deleted_at + timedelta(seconds=30):
                world.violations.append("a parameter was created within 30 s of its deletion")
            if bundle.token.id not in world.secrets:
                world.violations.append(f"a bundle with token {bundle.token.id}, which is not there")
            world.bundles[bundle.token.machine] = bundle

    def holds(self, machine: InstanceId, token_id: str) -> bool:
        with self.world.call("holds_bundle"):
            return machine in self.world.bundles and self.world.bundles[machine].token.id == token_id

    def delete(self, machine: InstanceId) -> bool:
        with self.world.call("delete_bundle"):
            if self.world.bundles.pop(machine, None) is None:
                return False
            self.world.deleted_at = self.world.now
            return True


class _Table(_Edge):
    def joins(self) -> tuple[JoinRecord, ...]:
        with self.world.call("joins"):
            return tuple(self.world.joins.values())

    def admission(self) -> Admission | Absent:
        with self.world.call("admission"):
            return self.world.admission

    def joins_of(self, instance: InstanceId) -> tuple[JoinRecord, ...]:
        with self.world.call("joins_of"):
            return tuple(record for _, record in sorted(self.world.joins.items()) if record.instance == instance)

    def approvals_of(self, instance: InstanceId) -> tuple[Approval, ...]:
        with self.world.call("approvals_of"):
            return tuple(approval for approval in self.world.approvals if approval.instance == instance)

    def write_join(self, record: JoinRecord, *, instead_of: JoinRecord | None, keep_until: datetime | None) -> None:
        with self.world.call("write_join"):
            world = self.world
            if world.joins.get(record.launch) != instead_of:
                raise ConflictError("the join record is another one by now")
            if record.state is JoinState.ENDED and (record.token_id in world.secrets or world.bundles):
                world.violations.append(f"ended, but something is left of {record.token_id}")
            world.joins[record.launch] = record
            world.kept_until[record.launch] = keep_until
