"""DynamoDB: what the world cannot tell. One table, items found by (`pk`, `sk`):

    case      INSTANCE    an open case; deleted when it is closed
    flight    PLACE       one of the places for machines whose remains are being removed, held by one machine
    machine   INSTANCE    what we wrote down about a machine while it was well
    pause     SUBJECT     a person's word to leave a cluster, a group or a machine alone
    said      KEY         what a person has been told already
    history#INSTANCE  TIME    what passes did and why

Items that end by themselves carry `expires_at`, the table's time-to-live attribute, in seconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from functions.cluster.facts import Case, Memory, Pause, Phase, Record
from functions.cluster.machine import InstanceId, Role
from functions.edges.aws import code, speaking_to
from functions.errors import ConflictError, RefusedError

HISTORY_KEPT = timedelta(days=30)
_HOUR = timedelta(hours=1)


class TableEdge:
    """`client` is a boto3 DynamoDB client. Reads are consistent: a pass must see what the pass before it wrote."""

    def __init__(self, client: Any, *, table: str) -> None:
        self._client = client
        self._table = table

    def memory(self, instance: InstanceId, *, now: datetime) -> Memory:
        cases = {case.instance: case for case in self.cases()}
        record = self._get("machine", instance)
        return Memory(
            case=cases.get(instance),
            record=_record(record) if record else None,
            pauses=tuple(pause for pause in self.pauses() if pause.until > now),
            in_flight=frozenset(case.instance for case in cases.values() if case.phase is Phase.CLEANING),
        )

    def cases(self) -> tuple[Case, ...]:
        return tuple(_case(item) for item in self._query("case"))

    def pauses(self) -> tuple[Pause, ...]:
        return tuple(
            Pause(item["sk"], datetime.fromisoformat(item["until"]), item["reason"]) for item in self._query("pause")
        )

    def recorded(self) -> frozenset[InstanceId]:
        return frozenset(InstanceId(item["sk"]) for item in self._query("machine"))

    def open_case(self, case: Case, *, max_in_flight: int) -> None:
        """Write the case and take a place for it in one transaction.

        The places are what really limits the machines in flight: two passes can count the same cases, but only one
        of them can have a place.
        """
        if self._get("case", case.instance):
            return
        taken = {item["sk"]: item["machine"] for item in self._query("flight")}
        for place in map(str, range(max_in_flight)):
            if place in taken:
                continue
            if self._write_with_place(case, place) or self._get("case", case.instance):
                return  # written by us, or by another pass in this very moment
        raise RefusedError(f"all {max_in_flight} places for machines in flight are taken: {sorted(taken.values())}")

    def _write_with_place(self, case: Case, place: str) -> bool:
        flight = {"pk": "flight", "sk": place, "machine": case.instance}
        item = {
            "pk": "case",
            "sk": case.instance,
            "opened_at": case.opened_at.isoformat(),
            "phase": case.phase.value,
            "place": place,
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
        item = {"pk": "said", "sk": key, "expires_at": int((now + within).timestamp())}
        return self._put(item, condition=("expires_at <= :now", {":now": int(now.timestamp())}))

    def unsay(self, key: str) -> None:
        self._delete("said", key)

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

    def _query(self, pk: str) -> Iterator[dict[str, Any]]:
        with speaking_to("DynamoDB", "Query"):
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues=_plain_to_item({":pk": pk}),
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
    ) -> bool:
        """Write an item; return False when a condition kept it from being written."""
        options: dict[str, Any] = {}
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

    def _delete(self, pk: str, sk: str) -> None:
        with speaking_to("DynamoDB", "DeleteItem"):
            self._client.delete_item(TableName=self._table, Key=_plain_to_item({"pk": pk, "sk": sk}))


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
