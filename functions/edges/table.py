"""DynamoDB: what the world cannot tell. One table, items found by (`pk`, `sk`):

    case      INSTANCE    an open case; deleted when it is closed
    flight    PLACE       one of the places for machines whose remains are being removed, held by one machine
    machine   INSTANCE    what we wrote down about a machine while it was well
    join      LAUNCH      what one launch of an instance may join as; only the minter writes it
    approval  LAUNCH      what was approved for that launch; only the approver writes it
    control-plane  admission  which machine may join as a control plane; only the remediator writes it
    control-plane  lease      who is changing etcd's membership, or letting a machine in, just now
    control-plane  snapshot-begun  one that was begun, until its outcome is known
    control-plane  snapshot   the last one of etcd that was verified and stored
    key       SHA-256     which launch a client key was let through for; only the approver writes it
    abandoned GROUP#INSTANCE  a launch that was given up, since the last one of its group that joined
    pause     SUBJECT     a person's word to leave a cluster, a group or a machine alone
    doubt     INSTANCE    a machine in trouble, or that was lately, and what was tried
    brake     SCOPE       machines that are left alone because too many are in trouble at once
    said      KEY         what a person has been told already
    history#INSTANCE  TIME    what passes did and why

Items that end by themselves carry `expires_at`, the table's time-to-live attribute, in seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.doubt import Doubt, Rung, Try
from functions.cluster.etcd import Snapshot, SnapshotBegun
from functions.cluster.facts import Abandoned, Absent, Case, Memory, Pause, Phase, Record, in_flight
from functions.cluster.joining import Admission, Approval, JoinRecord, JoinState
from functions.cluster.machine import InstanceId, Role
from functions.cluster.radius import Brake
from functions.edges.aws import code, speaking_to
from functions.errors import ConflictError, RefusedError

HISTORY_KEPT = timedelta(days=30)
ABANDONED_KEPT = timedelta(days=1)
DOUBT_KEPT = timedelta(days=1)  # after it was last written; a machine that was replaced counts for an hour
_HOUR = timedelta(hours=1)
_CONTROL_PLANE = "control-plane"


class TableEdge:
    """`client` is a boto3 DynamoDB client. Reads are consistent: a pass must see what the pass before it wrote."""

    def __init__(self, client: Any, *, table: str) -> None:
        self._client = client
        self._table = table

    def memory(self, instance: InstanceId, *, now: datetime) -> Memory:
        cases = {case.instance: case for case in self.cases()}
        record, joins, doubt = self._get("machine", instance), self.joins_of(instance), self._get("doubt", instance)
        may_join = bool(joins) or record is None  # of a machine that has long been well nobody asks the rest
        return Memory(
            case=cases.get(instance),
            record=_record(record) if record else None,
            pauses=tuple(pause for pause in self.pauses() if pause.until > now),
            in_flight=in_flight(cases.values()),
            joins=joins,
            approvals=self.approvals_of(instance) if joins else (),
            abandoned=self.abandoned(now=now) if may_join else (),
            doubt=_doubt(doubt) if doubt and doubt["expires_at"] > now.timestamp() else None,
        )

    def joins(self) -> tuple[JoinRecord, ...]:
        return tuple(_join(item) for item in self._query("join"))

    def joins_of(self, instance: InstanceId) -> tuple[JoinRecord, ...]:
        """The records of all launches of an instance, the latest last."""
        return tuple(_join(item) for item in self._query("join", f"{instance}#"))

    def write_join(self, record: JoinRecord, *, instead_of: JoinRecord | None, keep_until: datetime | None) -> None:
        """Write a record where there is none, or in the place of the one that was read.

        Raises ConflictError when there is one, or another one by now. `keep_until` is when it may be forgotten.
        """
        item = {"pk": "join", "sk": record.launch, **_without_none(_join_attributes(record))}
        if keep_until:
            item["expires_at"] = int(keep_until.timestamp())
        if not self._put(item, only_over=_join_attributes(instead_of) if instead_of else {}):
            raise ConflictError(f"the join record of {record.instance} is another one by now")

    def admission(self) -> Admission | Absent:
        item = self._get(_CONTROL_PLANE, "admission")
        if item is None:
            return Absent()
        return Admission(
            instance=InstanceId(item["instance"]),
            until=datetime.fromisoformat(item["until"]),
            written_at=datetime.fromisoformat(item["written_at"]),
        )

    def admit(self, admission: Admission, *, now: datetime) -> bool:
        """Write it unless another machine's holds; return whether it was written."""
        item = {
            "pk": _CONTROL_PLANE,
            "sk": "admission",
            "instance": admission.instance,
            "until": admission.until.isoformat(),
            "written_at": admission.written_at.isoformat(),
            "expires_at": int((admission.until + _HOUR).timestamp()),
            "until_s": int(admission.until.timestamp()),
        }
        free = "until_s <= :now OR instance = :instance"
        return self._put(item, condition=(free, {":now": int(now.timestamp()), ":instance": admission.instance}))

    def end_admission(self, instance: InstanceId) -> None:
        """The next one may be let in; another machine's admission stays."""
        found = self.admission()
        if isinstance(found, Admission) and found.instance == instance:
            self._delete(_CONTROL_PLANE, "admission", only_if=("instance = :instance", {":instance": instance}))

    def take_lease(self, holder: str, *, now: datetime, until: datetime) -> bool:
        """Whether nobody else is changing etcd's membership; who has it may take it again."""
        expires_s = int(until.timestamp())
        item = {"pk": _CONTROL_PLANE, "sk": "lease", "holder": holder, "until_s": expires_s, "expires_at": expires_s}
        free = "until_s <= :now OR holder = :holder"
        return self._put(item, condition=(free, {":now": int(now.timestamp()), ":holder": holder}))

    def end_lease(self, holder: str) -> None:
        self._delete(_CONTROL_PLANE, "lease", only_if=("holder = :holder", {":holder": holder}))

    def snapshot_at(self) -> datetime | None:
        """When the last snapshot of etcd was taken that was verified and stored."""
        item = self._get(_CONTROL_PLANE, "snapshot")
        return datetime.fromisoformat(item["at"]) if item else None

    def note_snapshot(self, snapshot: Snapshot, *, at: datetime) -> None:
        item = {"pk": _CONTROL_PLANE, "sk": "snapshot", "at": at.isoformat(), "key": snapshot.key}
        self._put(item | {"bytes": snapshot.size_bytes, "hash": snapshot.hash, "revision": snapshot.revision})

    def snapshot_begun(self) -> SnapshotBegun | Absent:
        item = self._get(_CONTROL_PLANE, "snapshot-begun")
        if item is None:
            return Absent()
        at = datetime.fromisoformat(item["at"])
        return SnapshotBegun(InstanceId(item["machine"]), item["stored_as"], at, item.get("command", ""))

    def begin_snapshot(self, begun: SnapshotBegun, *, now: datetime, until: datetime) -> bool:
        """Write it unless one may still be under way; once more, with its command, over the same one."""
        expires_s = int(until.timestamp())
        item = {"pk": _CONTROL_PLANE, "sk": "snapshot-begun", "machine": begun.on, "stored_as": begun.key}
        item |= {"at": begun.at.isoformat(), **({"command": begun.command} if begun.command else {})}
        ended: tuple[str, dict[str, Any]] = ("until_s <= :now", {":now": int(now.timestamp())})
        over = ("stored_as = :key", {":key": begun.key}) if begun.command else ended
        return self._put({**item, "until_s": expires_s, "expires_at": expires_s}, condition=over)

    def end_snapshot(self, begun: SnapshotBegun) -> None:
        """Nothing of it is under way any more; another one stays."""
        ours = ("stored_as = :key", {":key": begun.key})
        self._delete(_CONTROL_PLANE, "snapshot-begun", only_if=ours)

    def approvals_of(self, instance: InstanceId) -> tuple[Approval, ...]:
        return tuple(_approval(item) for item in self._query("approval", f"{instance}#"))

    def write_approval(self, approval: Approval, *, instead_of: Approval | None, keep_until: datetime) -> None:
        """As `write_join`."""
        item = {"pk": "approval", "sk": approval.launch, **_without_none(_approval_attributes(approval))}
        item["expires_at"] = int(keep_until.timestamp())
        if not self._put(item, only_over=_approval_attributes(instead_of) if instead_of else {}):
            raise ConflictError(f"the approval of {approval.instance} is another one by now")

    def launch_of_key(self, key_sha256: str) -> str | None:
        item = self._get("key", key_sha256)
        return str(item["launch"]) if item else None

    def write_key(self, key_sha256: str, launch: str, *, keep_until: datetime) -> None:
        """Bind a key to a launch, or let it be bound to it for longer; ConflictError when another launch has it."""
        item = {"pk": "key", "sk": key_sha256, "launch": launch, "expires_at": int(keep_until.timestamp())}
        if not self._put(item, condition=("launch = :launch", {":launch": launch})):
            raise ConflictError(f"the key {key_sha256[:12]} is of another launch than {launch}")

    def abandoned(self, *, now: datetime) -> tuple[Abandoned, ...]:
        """DynamoDB deletes expired items late, so the time is read as well."""
        items = (item for item in self._query("abandoned") if item["expires_at"] > now.timestamp())
        keys = (item["sk"].partition("#") for item in items)
        return tuple(Abandoned(group, InstanceId(instance)) for group, _, instance in keys)

    def note_abandoned(self, abandoned: Abandoned, *, at: datetime) -> None:
        expires_at = int((at + ABANDONED_KEPT).timestamp())
        self._put({"pk": "abandoned", "sk": f"{abandoned.group}#{abandoned.instance}", "expires_at": expires_at})

    def forget_abandoned(self, group: str) -> None:
        for item in list(self._query("abandoned", f"{group}#")):
            self._delete("abandoned", item["sk"])

    def cases(self) -> tuple[Case, ...]:
        return tuple(_case(item) for item in self._query("case"))

    def pauses(self) -> tuple[Pause, ...]:
        return tuple(
            Pause(item["sk"], datetime.fromisoformat(item["until"]), item["reason"]) for item in self._query("pause")
        )

    def forget(self, instance: InstanceId) -> None:
        """Its record has served: nothing of the machine is left to be known by."""
        self._delete("machine", instance)

    def records(self) -> tuple[Record, ...]:
        """What was written down about every machine while it was well."""
        return tuple(_record(item) for item in self._query("machine"))

    def open_case(self, case: Case, *, max_in_flight: int) -> None:
        """Write the case and take a place for it in one transaction. Control planes share one place of their own.

        The places are what really limits the machines in flight: two passes can count the same cases, but only one
        of them can have a place.
        """
        if self._get("case", case.instance):
            return
        taken = {item["sk"]: item["machine"] for item in self._query("flight")}
        ours = [_CONTROL_PLANE] if case.role is Role.CONTROL_PLANE else [str(place) for place in range(max_in_flight)]
        for place in ours:
            if place in taken:
                continue
            if self._write_with_place(case, place) or self._get("case", case.instance):
                return  # written by us, or by another pass in this very moment
        holders = sorted(holder for place, holder in taken.items() if place in ours)
        raise RefusedError(f"all {len(ours)} places for machines in flight are taken: {holders}")

    def _write_with_place(self, case: Case, place: str) -> bool:
        flight = {"pk": "flight", "sk": place, "machine": case.instance}
        item = {
            "pk": "case",
            "sk": case.instance,
            "opened_at": case.opened_at.isoformat(),
            "phase": case.phase.value,
            "place": place,
            "role": case.role.value,
            **({"group": case.group} if case.group else {}),
            **({"node_name": case.node_name} if case.node_name else {}),
        }
        new = "attribute_not_exists(pk)"
        return self._transact(
            {"Put": {"Item": _plain_to_item(flight), "ConditionExpression": new}},
            {"Put": {"Item": _plain_to_item(item), "ConditionExpression": new}},
        )

    def await_replacement(self, instance: InstanceId) -> None:
        """Move the case on and give its place free; a case that is past that, or closed, is success."""
        case = self._get("case", instance)
        if case and "place" in case:
            update = {
                "Key": _plain_to_item({"pk": "case", "sk": instance}),
                "UpdateExpression": "SET phase = :phase REMOVE place",
                "ConditionExpression": "place = :place",
                "ExpressionAttributeValues": _plain_to_item({":phase": Phase.REPLACING.value, ":place": case["place"]}),
            }
            self._change(instance, {"Update": update}, self._free(case))

    def close_case(self, instance: InstanceId) -> None:
        case = self._get("case", instance)
        if case:
            gone = {"Key": _plain_to_item({"pk": "case", "sk": instance})}
            if "place" in case:
                same = {"ConditionExpression": "place = :place"}
                values = {"ExpressionAttributeValues": _plain_to_item({":place": case["place"]})}
                self._change(instance, {"Delete": gone | same | values}, self._free(case))
            else:
                self._change(instance, {"Delete": gone | {"ConditionExpression": "attribute_not_exists(place)"}})

    def _free(self, case: dict[str, Any]) -> dict[str, Any]:
        """The place may be another machine's by now, when another pass has given it free since we read the case."""
        return {
            "Delete": {
                "Key": _plain_to_item({"pk": "flight", "sk": case["place"]}),
                "ConditionExpression": "machine = :machine",
                "ExpressionAttributeValues": _plain_to_item({":machine": case["sk"]}),
            }
        }

    def _change(self, instance: InstanceId, *writes: dict[str, Any]) -> None:
        if not self._transact(*writes):
            raise ConflictError(f"another pass has changed the case of {instance} since it was read")

    def _transact(self, *writes: dict[str, Any]) -> bool:
        """Write all or nothing; return False when a condition kept it from being written."""
        for write in writes:
            for action in write.values():
                action["TableName"] = self._table
        with speaking_to("DynamoDB", "TransactWriteItems"):
            try:
                self._client.transact_write_items(TransactItems=list(writes))
            except ClientError as error:
                reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" in reasons:
                    return False
                raise
        return True

    def remember(self, record: Record) -> None:
        item = {
            "pk": "machine",
            "sk": record.instance,
            "group": record.group,
            "role": record.role.value,
            "node_name": record.node_name,
            "node_uid": record.node_uid,
            "first_seen": record.first_seen.isoformat(),
        }
        self._put(item, unless_there=True)

    def pause(self, pause: Pause) -> None:
        """A later pause of the same subject replaces the one before."""
        expires_at = int((pause.until + _HOUR).timestamp())
        item = {"pk": "pause", "sk": pause.of, "until": pause.until.isoformat(), "reason": pause.reason}
        self._put(item | {"expires_at": expires_at})

    def resume(self, subject: str) -> None:
        self._delete("pause", subject)

    def first_time(self, key: str, *, now: datetime, within: timedelta) -> bool:
        """DynamoDB deletes expired items late, so the condition reads the time as well."""
        item = {"pk": "said", "sk": key, "at": now.isoformat(), "expires_at": int((now + within).timestamp())}
        return self._put(item, condition=("expires_at <= :now", {":now": int(now.timestamp())}))

    def said_since(self, key: str, *, now: datetime) -> datetime | None:
        """When `first_time` was last true for this key; None when it would be true now."""
        item = self._get("said", key)
        return datetime.fromisoformat(item["at"]) if item and item["expires_at"] > now.timestamp() else None

    def unsay(self, key: str) -> None:
        self._delete("said", key)

    def doubts(self, *, now: datetime) -> tuple[Doubt, ...]:
        """DynamoDB deletes expired items late, so the time is read as well."""
        return tuple(_doubt(item) for item in self._query("doubt") if item["expires_at"] > now.timestamp())

    def note_doubt(self, doubt: Doubt, *, at: datetime) -> None:
        item = {
            "pk": "doubt",
            "sk": doubt.instance,
            "group": doubt.group,
            "since": doubt.since.isoformat(),
            "tried": " ".join(f"{one.rung.value}@{one.at.isoformat()}" for one in doubt.tried) or None,
            "calm_since": doubt.calm_since.isoformat() if doubt.calm_since else None,
            "expires_at": int((at + DOUBT_KEPT).timestamp()),
        }
        self._put(_without_none(item))

    def forget_doubt(self, instance: InstanceId) -> None:
        self._delete("doubt", instance)

    def brakes(self, *, now: datetime) -> tuple[Brake, ...]:
        found = (
            Brake(item["sk"], item["reason"], datetime.fromisoformat(item["until"])) for item in self._query("brake")
        )
        return tuple(brake for brake in found if brake.until > now)

    def note_brake(self, brake: Brake) -> None:
        expires_at = int((brake.until + _HOUR).timestamp())
        item = {"pk": "brake", "sk": brake.scope, "reason": brake.reason, "until": brake.until.isoformat()}
        self._put(item | {"expires_at": expires_at})

    def write_history(self, instance: InstanceId, at: datetime, entry: dict[str, object]) -> None:
        self._put(
            {
                "pk": f"history#{instance}",
                "sk": at.isoformat(),
                "entry": json.dumps(entry),
                "expires_at": int((at + HISTORY_KEPT).timestamp()),
            }
        )

    def history(self, instance: InstanceId) -> tuple[dict[str, Any], ...]:
        """What passes did about one machine, oldest first, each with the time `at` of its end."""
        return tuple({"at": item["sk"], **json.loads(item["entry"])} for item in self._query(f"history#{instance}"))

    def _get(self, pk: str, sk: str) -> dict[str, Any] | None:
        with speaking_to("DynamoDB", "GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key=_plain_to_item({"pk": pk, "sk": sk}), ConsistentRead=True
            )
        return _item_to_plain(answer["Item"]) if "Item" in answer else None

    def _query(self, pk: str, beginning: str = "") -> Iterator[dict[str, Any]]:
        """Yield the items of a partition whose sort key begins so."""
        values = {":pk": pk, ":beginning": beginning} if beginning else {":pk": pk}
        with speaking_to("DynamoDB", "Query"):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk" + (" AND begins_with(sk, :beginning)" if beginning else ""),
                ExpressionAttributeValues=_plain_to_item(values),
                ConsistentRead=True,
            )
            for page in pages:
                yield from map(_item_to_plain, page["Items"])

    def _put(
        self,
        item: dict[str, Any],
        *,
        unless_there: bool = False,
        condition: tuple[str, dict[str, Any]] | None = None,
        only_over: dict[str, Any] | None = None,
    ) -> bool:
        """Write an item; return False when a condition kept it from being written.

        `only_over` are the attributes that an item which is there must have, with None for those it must not have;
        empty: no item may be there.
        """
        options: dict[str, Any] = {}
        if only_over:
            names = {f"#{place}": name for place, name in enumerate(only_over)}
            options["ConditionExpression"] = " AND ".join(
                f"attribute_not_exists({place})" if only_over[name] is None else f"{place} = :{place[1:]}"
                for place, name in names.items()
            )
            options["ExpressionAttributeNames"] = names
            options["ExpressionAttributeValues"] = _plain_to_item(
                {f":{place}": value for place, value in enumerate(only_over.values()) if value is not None}
            )
        elif only_over is not None:
            unless_there = True
        if unless_there or condition:
            options["ConditionExpression"] = "attribute_not_exists(pk)"
        if condition:
            options["ConditionExpression"] += f" OR {condition[0]}"
            options["ExpressionAttributeValues"] = _plain_to_item(condition[1])
        with speaking_to("DynamoDB", "PutItem"):
            try:
                self._client.put_item(TableName=self._table, Item=_plain_to_item(item), **options)
            except ClientError as error:
                if code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def _delete(self, pk: str, sk: str, *, only_if: tuple[str, dict[str, Any]] | None = None) -> None:
        """An item that is gone, or is not as `only_if` says any more, is success."""
        options: dict[str, Any] = {}
        if only_if:
            options = {"ConditionExpression": only_if[0], "ExpressionAttributeValues": _plain_to_item(only_if[1])}
        with speaking_to("DynamoDB", "DeleteItem"):
            try:
                self._client.delete_item(TableName=self._table, Key=_plain_to_item({"pk": pk, "sk": sk}), **options)
            except ClientError as error:
                if code(error) != "ConditionalCheckFailedException":
                    raise


def _plain_to_item(plain: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Only strings and whole numbers are kept in the table."""
    return {key: {"N": str(value)} if isinstance(value, int) else {"S": value} for key, value in plain.items()}


def _item_to_plain(item: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {key: int(value["N"]) if "N" in value else value["S"] for key, value in item.items()}


def _case(item: dict[str, Any]) -> Case:
    return Case(
        instance=InstanceId(item["sk"]),
        opened_at=datetime.fromisoformat(item["opened_at"]),
        phase=Phase(item["phase"]),
        group=item.get("group"),
        node_name=item.get("node_name"),
        role=Role(item.get("role", Role.WORKER.value)),
    )


def _doubt(item: dict[str, Any]) -> Doubt:
    tries = (text.partition("@") for text in item.get("tried", "").split())
    return Doubt(
        instance=InstanceId(item["sk"]),
        group=item["group"],
        since=datetime.fromisoformat(item["since"]),
        tried=tuple(Try(Rung(rung), datetime.fromisoformat(at)) for rung, _, at in tries),
        calm_since=_moment(item.get("calm_since")),
    )


def _record(item: dict[str, Any]) -> Record:
    return Record(
        instance=InstanceId(item["sk"]),
        group=item["group"],
        role=Role(item["role"]),
        node_name=item["node_name"],
        node_uid=item["node_uid"],
        first_seen=datetime.fromisoformat(item["first_seen"]),
    )


def _join(item: dict[str, Any]) -> JoinRecord:
    return JoinRecord(
        instance=InstanceId(item["instance"]),
        launched_at=datetime.fromisoformat(item["launched_at"]),
        group=item["group"],
        role=Role(item["role"]),
        node_name=item["node_name"],
        zone=item["zone"],
        image=item["image"],
        token_id=item["token_id"],
        state=JoinState(item["state"]),
        issued_at=datetime.fromisoformat(item["issued_at"]),
        expires_at=datetime.fromisoformat(item["token_expires_at"]),
        busy_until=datetime.fromisoformat(item["busy_until"]),
        secret_uid=item.get("secret_uid"),
        ended_because=item.get("ended_because"),
        keep_until=datetime.fromtimestamp(item["expires_at"], UTC) if "expires_at" in item else None,
        profile=item.get("profile", ""),
        vpc=item.get("vpc", ""),
        subnet=item.get("subnet", ""),
    )


def _join_attributes(record: JoinRecord) -> dict[str, Any]:
    """The item's `expires_at` is the table's, so the token's has another name."""
    return {
        "instance": record.instance,
        "launched_at": record.launched_at.isoformat(),
        "group": record.group,
        "role": record.role.value,
        "node_name": record.node_name,
        "zone": record.zone,
        "image": record.image,
        "token_id": record.token_id,
        "state": record.state.value,
        "issued_at": record.issued_at.isoformat(),
        "token_expires_at": record.expires_at.isoformat(),
        "busy_until": record.busy_until.isoformat(),
        "secret_uid": record.secret_uid,
        "ended_because": record.ended_because,
        "profile": record.profile or None,
        "vpc": record.vpc or None,
        "subnet": record.subnet or None,
    }


def _approval(item: dict[str, Any]) -> Approval:
    return Approval(
        instance=InstanceId(item["instance"]),
        launched_at=datetime.fromisoformat(item["launched_at"]),
        client_uid=item.get("client_uid"),
        client_key_sha256=item.get("client_key_sha256"),
        client_at=_moment(item.get("client_at")),
        serving_uid=item.get("serving_uid"),
        serving_key_sha256=item.get("serving_key_sha256"),
        serving_at=_moment(item.get("serving_at")),
        denied=item.get("denied"),
        earlier_client_keys=tuple(item.get("earlier_client_keys", "").split()),
        certificates=tuple(item.get("certificates", "").split()),
        certified_at=_moment(item.get("certified_at")),
        certified_until=_moment(item.get("certified_until")),
    )


def _approval_attributes(approval: Approval) -> dict[str, Any]:
    return {
        "instance": approval.instance,
        "launched_at": approval.launched_at.isoformat(),
        "client_uid": approval.client_uid,
        "client_key_sha256": approval.client_key_sha256,
        "client_at": approval.client_at.isoformat() if approval.client_at else None,
        "serving_uid": approval.serving_uid,
        "serving_key_sha256": approval.serving_key_sha256,
        "serving_at": approval.serving_at.isoformat() if approval.serving_at else None,
        "denied": approval.denied,
        "earlier_client_keys": " ".join(approval.earlier_client_keys) or None,
        "certificates": " ".join(approval.certificates) or None,
        "certified_at": approval.certified_at.isoformat() if approval.certified_at else None,
        "certified_until": approval.certified_until.isoformat() if approval.certified_until else None,
    }


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _without_none(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
