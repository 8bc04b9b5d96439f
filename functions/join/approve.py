"""Decide the pending certificate requests of kubelets: {"machine": "i-0…"} those of one machine, {} those of all.

What was issued is read back and compared with what was approved, since another one signs. The hash of a machine's
client certificate is kept: the API server says by it who asks for the serving one. It is followed when it is renewed.

What is written down comes before what is done, so a call that ends anywhere leaves the next one to go on: an item for
each client key, which binds it to this launch, then the approval item, then the word on the request. Two calls at once
meet at an item, and the later one holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from functions.cluster.facts import Absent, Fleet, Record, Unknown, known
from functions.cluster.joining import (
    BOOTSTRAP_USER_PREFIX,
    CLIENT_SIGNER,
    NODE_USER_PREFIX,
    SERVING_SIGNER,
    TOKEN_ID,
    Approval,
    JoinRecord,
)
from functions.cluster.machine import Group, Instance, InstanceId, Member, instance_id
from functions.errors import ConfigurationError, PermanentError, RetryableError
from functions.join.approving_outside import Outside
from functions.join.certificate_request import CertificateRequest
from functions.join.decide import (
    Approve,
    Deny,
    Hold,
    Ignore,
    Incident,
    Seen,
    Standing,
    Verdict,
    agrees,
    convict_if,
    credential_of,
    decide_client,
    decide_serving,
    objection_to_client,
    objection_to_serving,
)
from functions.join.issued import Certificate, difference
from functions.join.pkcs10 import Asked, Wrong, read_client_request, read_serving_request

APPROVED, DENIED = "RegrowInstanceVerified", "RegrowRefused"
NOT_TO_SERVE = "a token cannot ask for a serving certificate"
DENIED_METRIC = "CertificateRequestsDenied"  # an alarm of infra/remediator/template.yaml is on it
APPROVAL_KEPT = timedelta(days=400)  # longer than a certificate may last, so a machine that renews is always known
MOST_OF_ONE_MACHINE = 10  # requests decided in one call; a machine that makes more only delays its own
_BOOTSTRAP_USER = re.compile(re.escape(BOOTSTRAP_USER_PREFIX) + f"(?P<token>{TOKEN_ID.pattern})")
_REASONS_TOLD = 5
_WORDS: dict[type[Verdict], str] = {
    Incident: "convicted",
    Deny: "denied",
    Approve: "approved",
    Hold: "held",
    Ignore: "ignored",
}
_TOLD = ("convicted", "denied", "approved", "held")


@dataclass(frozen=True)
class _Claim:
    """A request, and whose it is. A record is there when a token of ours made it."""

    request: CertificateRequest
    machine: InstanceId
    node_name: str
    record: JoinRecord | None = None


def answer(request: object, outside: Outside, *, cluster: str, now: datetime) -> dict[str, Any]:
    """Decide what is pending and say what became of each request.

    Raises PermanentError when the call cannot be understood. Whatever else goes wrong is in the answer, as held.
    """
    only = _machine(request)
    try:
        decided = _Call(outside, cluster, only, now).decide_all()
    except (RetryableError, ConfigurationError) as error:
        outside.journal.tell("approving held", machine=only, reason=str(error))
        return _told([], held=str(error))
    for entry, verdict in decided:
        outside.journal.tell(f"certificate request {_WORDS[type(verdict)]}", **entry)
        if isinstance(verdict, (Deny, Incident)):
            outside.journal.count(DENIED_METRIC)
    return _told(decided)


def _machine(request: object) -> InstanceId | None:
    if not isinstance(request, Mapping) or set(request) - {"machine"}:
        raise PermanentError(f"the request must be {{}} or {{'machine': 'i-0…'}}, not {request!r}")
    if "machine" not in request:
        return None
    machine = instance_id(request["machine"])
    if machine is None:
        raise PermanentError(f"'machine' is {request['machine']!r}; it must be an instance id such as i-0abc…")
    return machine


_Decided = list[tuple[dict[str, Any], Verdict]]


def _told(decided: _Decided, held: str | None = None) -> dict[str, Any]:
    """Return the answer; its one word is the gravest."""
    lists: dict[str, Any] = {word: [] for word in _WORDS.values()}
    for entry, verdict in decided:
        lists[_WORDS[type(verdict)]].append(entry)
    word = next((one for one in _TOLD if lists[one]), "held" if held else "nothing")
    reasons = [f"{entry['request']}: {entry['reason']}" for one in _TOLD for entry in lists[one]]
    if len(reasons) > _REASONS_TOLD:
        reasons[_REASONS_TOLD:] = [f"and {len(reasons) - _REASONS_TOLD} more"]
    return {"did": word, "reason": held or "; ".join(reasons) or "nothing that we decide is pending", **lists}


class _Call:
    """One call. What it reads of the outside it reads when it first needs it, and once."""

    def __init__(self, outside: Outside, cluster: str, only: InstanceId | None, now: datetime) -> None:
        self._outside = outside
        self._cluster = cluster
        self._only = only
        self._now = now
        self._seen: dict[InstanceId, Seen] = {}
        self._joins_of_one: dict[InstanceId, tuple[JoinRecord, ...]] = {}
        self._approvals: dict[InstanceId, dict[str, Approval]] = {}

    def decide_all(self) -> _Decided:
        claims: list[_Claim] = []
        decided: _Decided = []
        requests = self._outside.kubernetes.requests()
        for request in sorted((one for one in requests if one.issued), key=lambda one: one.created_at):
            if (issued := self._read_back(request)) and self._only in (None, issued[0]):
                decided.append((_entry(request, *issued), issued[1]))
        for request in (one for one in requests if not one.issued):
            match self._whose(request):
                case _Claim() as claim if self._only in (None, claim.machine):
                    claims.append(claim)
                case Ignore() as verdict if self._only is None:
                    decided.append((_entry(request, None, verdict), verdict))
        for place, claim in _in_turn(claims):
            too_many = Hold(f"one call decides {MOST_OF_ONE_MACHINE} requests of a machine, the next one goes on")
            settled = self._settle(claim) if place < MOST_OF_ONE_MACHINE else too_many
            decided.append((_entry(claim.request, claim.machine, settled), settled))
        return decided

    def _whose(self, request: CertificateRequest) -> _Claim | Ignore:
        """Find the machine by who asks, which is the API server's word, and never by what is asked for."""
        if request.signer not in (CLIENT_SIGNER, SERVING_SIGNER):
            return Ignore("its signer is none of the kubelets'")
        if user := _BOOTSTRAP_USER.fullmatch(request.username):
            records = [one for one in self._joins if one.token_id == user["token"]]
            if not records:
                return Ignore("request by a bootstrap user without a record")
            record = max(records, key=lambda one: one.issued_at)
            return _Claim(request, record.instance, record.node_name, record)
        if request.signer == CLIENT_SIGNER:
            return Ignore("it renews a node's own certificate, which is for kube-controller-manager to approve")
        if not request.username.startswith(NODE_USER_PREFIX):
            return Ignore("its user is no node")
        name = request.username.removeprefix(NODE_USER_PREFIX)
        machine = self._machine_of(name)
        return _Claim(request, machine, name) if machine else Ignore("no machine with a Node of its name is known")

    def _machine_of(self, node_name: str) -> InstanceId | None:
        """A Node that we let in is named after its instance; one that was there before, as it was written down."""
        if machine := instance_id(node_name):
            return machine
        records = [one for one in self._records if one.node_name == node_name]
        return max(records, key=lambda one: one.first_seen).instance if records else None

    def _read_back(self, request: CertificateRequest) -> tuple[InstanceId, Incident] | None:
        """Compare what was issued with what was approved. What cannot be read now, the next call sees again."""
        try:
            claim = self._whose_issued(request)
            if claim is None or self._only not in (None, claim.machine):
                return None
            incident = self._check_issued(request, claim)
            return (claim.machine, incident) if incident else None
        except (RetryableError, ConfigurationError) as error:
            self._outside.journal.tell("issued certificate not read", request=request.name, reason=str(error))
            return None

    def _whose_issued(self, request: CertificateRequest) -> _Claim | None:
        """Also a node's that has renewed its own client certificate, which kube-controller-manager approves."""
        if request.signer == CLIENT_SIGNER and request.username.startswith(NODE_USER_PREFIX):
            machine = instance_id(request.username.removeprefix(NODE_USER_PREFIX))
            return _Claim(request, machine, machine) if machine else None
        claim = self._whose(request)
        return claim if isinstance(claim, _Claim) else None

    def _check_issued(self, request: CertificateRequest, claim: _Claim) -> Incident | None:
        serving = request.signer == SERVING_SIGNER
        read = read_serving_request if serving else read_client_request
        asked = Wrong(NOT_TO_SERVE) if serving and claim.record else read(request.request, claim.node_name)
        approval = self._approval_behind(request, claim, asked)
        if approval is None or approval.denied:
            return None
        certificate = self._outside.read_certificate(request.issued or "")
        if isinstance(certificate, str):
            wrong: str | None = certificate
        elif isinstance(asked, Wrong):
            wrong = asked.reason
        else:
            wrong = difference(certificate, asked, claim.node_name, serving=serving)
        if wrong:
            reason = f"on {request.name} a certificate was issued that nobody may have approved: {wrong}"
            convicted = replace(approval, denied=reason)
            self._write(convicted)
            return Incident(reason, convicted)
        if isinstance(certificate, Certificate) and not serving and certificate.sha256 not in approval.certificates:
            certificates = (*approval.certificates, certificate.sha256)
            at, until = certificate.begins, certificate.ends
            self._write(replace(approval, certificates=certificates, certified_at=at, certified_until=until))
        return None

    def _approval_behind(self, request: CertificateRequest, claim: _Claim, asked: Asked | Wrong) -> Approval | None:
        """Return the approval that a certificate must agree with; None when it is for others to vouch for it."""
        if claim.record:
            approval = self._approval_of(claim.record.instance, claim.record.launched_at)
            ours = isinstance(asked, Wrong) or asked.key_sha256 in approval.client_keys
            return approval if ours else None  # what is wrong must not be out, whoever has approved it
        approvals = self._approvals_of(claim.machine).values()
        if request.signer == SERVING_SIGNER:
            return next((one for one in approvals if one.serving_uid == request.uid), None)
        credential = credential_of(request)
        return next((one for one in approvals if credential and credential in one.certificates), None)

    def _settle(self, claim: _Claim) -> Verdict:
        """Decide one request and do it. Whatever fails, holds this one and no other."""
        try:
            verdict = self._decide(claim)
            match verdict:
                case Approve(reason, approval):
                    self._write(approval)
                    self._outside.kubernetes.approve(claim.request, reason=APPROVED, message=reason, at=self._now)
                case Deny(reason, conviction):
                    if conviction:
                        self._write(conviction)
                    self._outside.kubernetes.deny(claim.request, reason=DENIED, message=reason, at=self._now)
        except (RetryableError, ConfigurationError) as error:
            return Hold(str(error))
        return verdict

    def _decide(self, claim: _Claim) -> Verdict:
        if claim.record is None:
            return self._decide_serving(claim.request, claim.machine, claim.node_name)
        if claim.request.signer == SERVING_SIGNER:
            return Deny(NOT_TO_SERVE)
        return self._decide_client(claim.request, claim.record)

    def _decide_client(self, request: CertificateRequest, record: JoinRecord) -> Verdict:
        approval = self._approval_of(record.instance, record.launched_at)
        if objection := objection_to_client(request, record, approval, self._now):
            return objection
        asked = self._checked(read_client_request(request.request, record.node_name))
        if isinstance(asked, Wrong):
            return convict_if(asked.convicts, asked.reason, approval)
        holder = self._outside.table.launch_of_key(asked.key_sha256)
        node = known(lambda: self._outside.kubernetes.node(record.node_name))
        return decide_client(request, asked, record, approval, holder, self._look_at(record.instance), node, self._now)

    def _decide_serving(self, request: CertificateRequest, machine: InstanceId, node_name: str) -> Verdict:
        seen = self._look_at(machine)
        if not isinstance(seen.instance, Instance):
            return Hold(seen.instance.reason if isinstance(seen.instance, Unknown) else "EC2 does not know the machine")
        launched_at = seen.instance.launched_at
        approval = self._approval_of(machine, launched_at)
        if objection := objection_to_serving(request, approval):
            return objection
        asked = self._checked(read_serving_request(request.request, node_name))
        if isinstance(asked, Wrong):
            return Deny(asked.reason)
        standing = known(lambda: self._standing_of(machine, node_name, seen.instance))
        silent = isinstance(standing, Standing) and standing.certificates and credential_of(request) is None
        version = known(self._outside.kubernetes.version) if silent else None
        return decide_serving(
            request, asked, machine, node_name, approval, seen, standing=standing, version=version, now=self._now
        )

    def _standing_of(
        self, machine: InstanceId, node_name: str, instance: Instance | Absent | Unknown
    ) -> Standing | Unknown | None:
        """One that was stopped and started still has the certificates of its earlier launch."""
        approvals = map(self._approval_for, self._joins_of(machine))
        joined = [one for one in approvals if one.client_at and not one.denied]
        certified = [one for one in joined if one.certificates]
        if certified:
            latest = max(certified, key=lambda one: one.certified_until or one.launched_at)
            certificates = tuple(certificate for one in certified for certificate in one.certificates)
            return Standing(certificates, latest.certified_at, latest.certified_until)
        if machine == self._outside.initialised_by() or self._was_there_before(machine, node_name, instance):
            return Standing()
        return Unknown("its client certificate is not issued yet, or was not read back") if joined else None

    def _approval_for(self, join: JoinRecord) -> Approval:
        return self._approval_of(join.instance, join.launched_at)

    def _was_there_before(self, machine: InstanceId, node_name: str, instance: Instance | Absent | Unknown) -> bool:
        """Whether the sweep has written the machine down, and Node, EC2 and what it wrote still agree."""
        if not any((one.instance, one.node_name) == (machine, node_name) for one in self._records):
            return False
        return isinstance(instance, Instance) and agrees(self._outside.kubernetes.node(node_name), instance)

    def _checked(self, asked: Asked | Wrong) -> Asked | Wrong:
        if isinstance(asked, Asked) and (wrong := self._outside.wrong_with_key(asked.der, asked.key)):
            return Wrong(wrong)
        return asked

    def _write(self, approval: Approval) -> None:
        written = self._approvals_of(approval.instance).get(approval.launch)
        if approval == written:
            return
        table, keep_until = self._outside.table, self._now + APPROVAL_KEPT
        for key in approval.client_keys:  # those of before too: they are kept for as long as the approval
            table.write_key(key, approval.launch, keep_until=keep_until)
        table.write_approval(approval, instead_of=written, keep_until=keep_until)
        self._approvals[approval.instance][approval.launch] = approval

    def _approval_of(self, machine: InstanceId, launched_at: datetime) -> Approval:
        """Return what is written about a launch, an empty one when nothing is."""
        nothing = Approval(machine, launched_at)
        return self._approvals_of(machine).get(nothing.launch, nothing)

    def _approvals_of(self, machine: InstanceId) -> dict[str, Approval]:
        if machine not in self._approvals:
            found = self._outside.table.approvals_of(machine)
            self._approvals[machine] = {approval.launch: approval for approval in found}
        return self._approvals[machine]

    @cached_property
    def _records(self) -> tuple[Record, ...]:
        return self._outside.table.records()

    @cached_property
    def _joins(self) -> tuple[JoinRecord, ...]:
        """Of all machines, unless the call is about one: only they say whose a token is."""
        return self._joins_of(self._only) if self._only else self._outside.table.joins()

    def _joins_of(self, machine: InstanceId) -> tuple[JoinRecord, ...]:
        if machine not in self._joins_of_one:
            self._joins_of_one[machine] = self._outside.table.joins_of(machine)
        return self._joins_of_one[machine]

    @cached_property
    def _groups(self) -> tuple[Group, ...] | Unknown:
        return known(lambda: self._outside.autoscaling.groups(self._cluster))

    def _look_at(self, machine: InstanceId) -> Seen:
        if machine not in self._seen:
            self._seen[machine] = Seen(known(lambda: self._outside.ec2.instance(machine)), self._place_of(machine))
        return self._seen[machine]

    def _place_of(self, machine: InstanceId) -> tuple[Group, Member] | Absent | Unknown:
        if isinstance(self._groups, Unknown):
            return self._groups
        return Fleet(self._groups, others_known=False).place_of(machine) or Absent()


def _in_turn(claims: Iterable[_Claim]) -> list[tuple[int, _Claim]]:
    """Give each machine its turn, with its oldest request first, then with the next: none can crowd out the others."""
    so_far: Counter[InstanceId] = Counter()
    turns = []
    for claim in sorted(claims, key=lambda one: (one.request.created_at, one.request.name)):
        turns.append((so_far[claim.machine], claim))
        so_far[claim.machine] += 1
    return sorted(turns, key=lambda turn: turn[0])


def _entry(request: CertificateRequest, machine: InstanceId | None, verdict: Verdict) -> dict[str, Any]:
    return {
        "request": request.name,
        "uid": request.uid,
        "signer": request.signer,
        "machine": machine,
        "reason": verdict.reason,
    }
