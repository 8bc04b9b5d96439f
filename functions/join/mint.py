"""The mint function: have one machine's token and bundle be what they must be now, and say what was done.

{"machine": "i-0…"}    the only request there is; everything else is found out here

Whoever changes anything first writes a record that says MINTING and until when it may be at work (`busy_until`), over
the very record it has read: of two calls at once one gets it, the other holds. That record names the only token that
can exist for the launch, so a call that dies at any point leaves nothing that a later one does not find. The later one
waits until `busy_until`; where only the record was left to write it does that, else it takes token and bundle away and
starts over. The function's own time-out must be shorter than
BUSY, so that nobody is still at work then.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from functions.cluster.facts import Unknown, known
from functions.cluster.joining import TOKEN_GROUPS, JoinRecord, JoinState
from functions.cluster.machine import InstanceId, Role, instance_id
from functions.errors import ConfigurationError, ConflictError, PermanentError, RetryableError
from functions.join.admit import (
    BUSY,
    KUBEADM_GROUP,
    RENEW_BEFORE_EXPIRY,
    Arriving,
    ClusterFacts,
    Hold,
    JoinFacts,
    Keep,
    Mint,
    Nothing,
    Refuse,
    Revoke,
    decide,
    decide_without_cluster,
)
from functions.join.delivery import Bundle
from functions.join.minting_outside import MintingOutside
from functions.join.token import Choose, Token, draw, redacted
from functions.settings import Settings

PARAMETER_REST = timedelta(seconds=30)  # from deleting a parameter to creating it again (SSM API, DeleteParameter)
RECORD_KEPT = timedelta(days=30)
_DRAWS = 3


@dataclass(frozen=True)
class Answer:
    """One of minted, is_minted, revoked, nothing, held, refused; and why."""

    did: str
    reason: str


def answer(
    request: object,
    outside: MintingOutside,
    settings: Settings,
    *,
    now: datetime,
    choose: Choose = secrets.choice,
) -> dict[str, Any]:
    """Raises PermanentError when the request is not understood; whatever else stands in the way is an answer."""
    machine = _machine(request)
    try:
        facts = observe(machine, outside, settings, now=now)
        done = _Minter(machine, outside, settings, now, choose).carry_out(facts)
    except (RetryableError, ConfigurationError) as error:
        done = Answer("held", str(error))
    return {"did": done.did, "machine": machine, "reason": redacted(done.reason)}


def _machine(request: object) -> InstanceId:
    if not isinstance(request, Mapping) or set(request) != {"machine"}:
        raise PermanentError('the request must be {"machine": "i-…"} and nothing else')
    machine = instance_id(request["machine"])
    if machine is None:
        raise PermanentError(f"'machine' is {request['machine']!r}; it must be an instance id such as i-0abc…")
    return machine


def observe(machine: InstanceId, outside: MintingOutside, settings: Settings, *, now: datetime) -> JoinFacts:
    """Gather the facts. The cluster is asked only about a machine that arrives, as far as AWS and the table know."""
    with ThreadPoolExecutor(max_workers=8) as together:
        instance = together.submit(known, lambda: outside.ec2.instance(machine))
        groups = together.submit(known, lambda: outside.autoscaling.groups(settings.cluster))
        joins = together.submit(known, lambda: outside.table.joins_of(machine))
        approvals = together.submit(known, lambda: outside.table.approvals_of(machine))
        facts = JoinFacts(machine, instance.result(), groups.result(), joins.result(), approvals.result())
        arriving = decide_without_cluster(facts, now, settings.join_deadline)
        if not isinstance(arriving, Arriving):
            return facts
        kubernetes, ec2, image = outside.kubernetes, outside.ec2, arriving.instance.image
        node = together.submit(known, lambda: kubernetes.node(machine))
        version = together.submit(known, kubernetes.version)
        signing = together.submit(known, kubernetes.signing_tokens)
        api_server = together.submit(known, kubernetes.api_server)
        image_tags = together.submit(known, lambda: ec2.image_tags(image))
        admission, all_joins = None, None
        if arriving.role is Role.CONTROL_PLANE:
            admission = together.submit(known, outside.table.admission)
            all_joins = together.submit(known, outside.table.joins)
        unseen = {
            group: together.submit(known, lambda group=group: kubernetes.approves_unseen(group))
            for group in (TOKEN_GROUPS[arriving.role], KUBEADM_GROUP)
        }
        approved = {group: answered.result() for group, answered in unseen.items()}
        cluster_facts = ClusterFacts(
            node=node.result(),
            version=version.result(),
            signing=signing.result(),
            approved_unseen=_approved_unseen(approved),
            api_server=api_server.result(),
            image_tags=image_tags.result(),
            admission=admission.result() if admission else None,
            all_joins=all_joins.result() if all_joins else None,
        )
    return replace(facts, cluster_facts=cluster_facts)


def _approved_unseen(approved: Mapping[str, bool | Unknown]) -> tuple[str, ...] | Unknown:
    """One group that is approved unseen is proof enough, whatever is known of the other."""
    unseen = tuple(group for group, is_so in approved.items() if is_so is True)
    unknown = next((is_so for is_so in approved.values() if isinstance(is_so, Unknown)), None)
    return unseen or unknown or ()


@dataclass(frozen=True)
class _Minter:
    """One call at work on one machine."""

    machine: InstanceId
    outside: MintingOutside
    settings: Settings
    now: datetime
    choose: Choose

    def carry_out(self, facts: JoinFacts) -> Answer:
        decision = decide(facts, self.now, self.settings.join_deadline)
        match decision:
            case Mint():
                return self._mint(decision)
            case Revoke():
                return self._revoke(decision)
            case Nothing():
                for record in decision.forget:
                    self._write(record, instead_of=record, gone=True)
                return Answer("nothing", decision.reason)
            case Keep():
                return Answer("is_minted", decision.reason)
            case Hold():
                return Answer("held", decision.reason)
            case Refuse():
                return Answer("refused", decision.reason)

    def _mint(self, decision: Mint) -> Answer:
        record = decision.arriving.record
        if record and self._lacks_only_its_end(record):
            self._write(replace(record, state=JoinState.ISSUED), instead_of=record)
            return Answer("minted", f"{decision.reason}; all of it was there already")
        if record:
            record, bundle_was_there = self._clear(record)
            if bundle_was_there:
                return Answer("held", f"{decision.reason}; its old bundle was just deleted, the new one has to wait")
        for _ in range(_DRAWS):
            token, record = self._draw(decision.arriving, instead_of=record)
            try:
                uid = self.outside.kubernetes.create_token(token)
            except ConflictError:
                continue  # somebody else's token has that id
            self.outside.bundles.put(Bundle(self.settings.cluster, decision.api_server, token))
            self._write(replace(record, state=JoinState.ISSUED, secret_uid=uid), instead_of=record)
            return Answer("minted", decision.reason)
        self._draw(decision.arriving, instead_of=record)  # what the record names will be deleted
        return Answer("held", f"{_DRAWS} token ids in a row were taken")

    def _lacks_only_its_end(self, record: JoinRecord) -> bool:
        """Whether an earlier call died with only its record left to write. The machine may be joining by now.

        The bundle is the last to come and the first to go, so where there is one, its token is there too.
        """
        good = self.now + RENEW_BEFORE_EXPIRY < record.expires_at
        return record.state is JoinState.MINTING and good and self.outside.bundles.holds(self.machine, record.token_id)

    def _revoke(self, decision: Revoke) -> Answer:
        cleared, _ = self._clear(decision.record)
        ended = replace(cleared, state=JoinState.ENDED, ended_because=decision.reason)
        self._write(ended, instead_of=cleared, gone=decision.gone)
        return Answer("revoked", decision.reason)

    def _clear(self, record: JoinRecord) -> tuple[JoinRecord, bool]:
        """Take away what an open record stands for; return the record as it is then, and whether a bundle was there.

        The bundle goes first: nobody can fetch it any more even when the cluster does not answer.
        """
        claimed = replace(record, state=JoinState.MINTING, busy_until=self.now + PARAMETER_REST)
        self._write(claimed, instead_of=record)
        bundle_was_there = self.outside.bundles.delete(self.machine)
        self.outside.kubernetes.delete_token(record.token_id, record.secret_uid)
        return claimed, bundle_was_there

    def _draw(self, arriving: Arriving, *, instead_of: JoinRecord | None) -> tuple[Token, JoinRecord]:
        """Draw a token and write down its id before it is anywhere else."""
        instance = arriving.instance
        token = draw(self.machine, arriving.role, self.choose, now=self.now)
        record = JoinRecord(
            instance=self.machine,
            launched_at=instance.launched_at,
            group=arriving.group.name,
            role=arriving.role,
            node_name=self.machine,
            zone=instance.zone,
            image=instance.image,
            token_id=token.id,
            state=JoinState.MINTING,
            issued_at=self.now,
            expires_at=token.expires_at,
            busy_until=self.now + BUSY,
            profile=instance.profile,
            vpc=instance.vpc,
            subnet=instance.subnet,
        )
        self._write(record, instead_of=instead_of)
        return token, record

    def _write(self, record: JoinRecord, *, instead_of: JoinRecord | None, gone: bool = False) -> None:
        keep_until = self.now + RECORD_KEPT if gone else None
        self.outside.table.write_join(record, instead_of=instead_of, keep_until=keep_until)
