"""The table keeps what the world cannot tell, and its conditions hold against passes that run at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.etcd import SnapshotBegun
from functions.cluster.facts import Abandoned, Absent, Case, Phase
from functions.cluster.joining import Admission, JoinState
from functions.cluster.machine import InstanceId
from functions.edges.table import TableEdge
from functions.errors import ConflictError, RefusedError, RegrowError
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import a_table
from tests.unit.functions.builders import (
    CLUSTER,
    NOW,
    ONE,
    THREE,
    TWO,
    WORKERS,
    approval,
    case,
    join,
    machine,
    pause,
    record,
)


@pytest.fixture
def table(clients: Clients) -> TableEdge:
    return TableEdge(clients("dynamodb"), table=a_table(clients))


def open_case(table: TableEdge, of: InstanceId, *, max_in_flight: int = 2) -> None:
    table.open_case(case(of), max_in_flight=max_in_flight)


def test_an_empty_table_remembers_nothing(table: TableEdge) -> None:
    memory = table.memory(ONE, now=NOW)
    assert (memory.case, memory.record, memory.pauses, memory.in_flight) == (None, None, (), frozenset())


@pytest.mark.parametrize("opened", [case(), case(group=None, node_name=None)])
def test_a_case_comes_back_as_it_was_opened(table: TableEdge, opened: Case) -> None:
    table.open_case(opened, max_in_flight=2)
    memory = table.memory(ONE, now=NOW)
    assert memory.case == opened
    assert memory.in_flight == {ONE}
    assert table.memory(TWO, now=NOW).case is None


def test_a_case_that_is_open_stays_as_it_is(table: TableEdge) -> None:
    open_case(table, ONE)
    table.open_case(case(opened_at=NOW + timedelta(hours=1)), max_in_flight=2)
    assert table.cases() == (case(),)


def test_a_place_is_free_again_when_nothing_is_left_of_a_machine(table: TableEdge) -> None:
    open_case(table, ONE)
    open_case(table, TWO)
    with pytest.raises(RefusedError, match="all 2 places for machines in flight are taken"):
        open_case(table, THREE)
    table.await_replacement(ONE)
    open_case(table, THREE)
    assert table.memory(ONE, now=NOW).in_flight == {TWO, THREE}
    assert {one.instance: one.phase for one in table.cases()}[ONE] is Phase.REPLACING


def test_a_closed_case_gives_its_place_free(table: TableEdge) -> None:
    for of in (ONE, TWO, THREE):
        open_case(table, of, max_in_flight=1)
        table.close_case(of)
    assert table.cases() == ()


def test_moving_on_and_closing_may_be_done_again(table: TableEdge) -> None:
    open_case(table, ONE)
    for _ in range(2):
        table.await_replacement(ONE)
    for _ in range(2):
        table.close_case(ONE)
    table.await_replacement(ONE)
    assert table.cases() == ()
    open_case(table, TWO, max_in_flight=1)


class Meanwhile:
    """A DynamoDB client that lets something happen right before the first write through it."""

    def __init__(self, client: Any, happens: Any) -> None:
        self._client = client
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **request: Any) -> Any:
        happens, self._happens = self._happens, lambda: None
        happens()
        return self._client.transact_write_items(**request)


@pytest.mark.parametrize("late", ["await_replacement", "close_case"])
def test_a_late_pass_never_frees_the_place_of_another_machine(clients: Clients, table: TableEdge, late: str) -> None:
    open_case(table, ONE, max_in_flight=1)

    def other_pass_is_faster() -> None:
        table.await_replacement(ONE)
        open_case(table, TWO, max_in_flight=1)

    slow = TableEdge(Meanwhile(clients("dynamodb"), other_pass_is_faster), table="regrow-drill")
    with pytest.raises(ConflictError, match=f"another pass has changed the case of {ONE}"):
        getattr(slow, late)(ONE)
    assert table.memory(ONE, now=NOW).in_flight == {TWO}
    with pytest.raises(RefusedError):
        open_case(table, THREE, max_in_flight=1)


def test_two_passes_that_open_the_same_case_at_once_open_one(clients: Clients, table: TableEdge) -> None:
    faster = TableEdge(clients("dynamodb"), table="regrow-drill")
    slow = TableEdge(Meanwhile(clients("dynamodb"), lambda: open_case(faster, ONE)), table="regrow-drill")
    open_case(slow, ONE)
    assert table.cases() == (case(),)
    open_case(table, TWO)
    assert table.memory(ONE, now=NOW).in_flight == {ONE, TWO}


def test_in_parallel_no_more_cases_are_opened_than_there_are_places(clients: Clients, table: TableEdge) -> None:
    def attempt(number: int) -> str:
        try:
            open_case(TableEdge(clients("dynamodb"), table="regrow-drill"), machine(number))
        except RegrowError as error:
            return type(error).__name__
        return "opened"

    with ThreadPoolExecutor(2) as together:
        outcomes = list(together.map(attempt, range(1, 9)))
    assert outcomes.count("opened") == len(table.cases()) == 2
    assert set(outcomes) <= {"opened", "RefusedError", "RetryableError"}


def test_the_first_record_of_a_machine_stands(table: TableEdge) -> None:
    table.remember(record())
    table.remember(replace(record(), node_uid="another", first_seen=NOW))
    assert table.memory(ONE, now=NOW).record == record()
    assert {record.instance for record in table.records()} == {ONE}


def test_all_pages_of_records_are_read(table: TableEdge) -> None:
    long = "g" * 10_000  # a page of an answer ends at 1 MB
    for number in range(1, 111):
        table.remember(record(machine(number), group=long))
    assert len(table.records()) == 110


def test_a_pause_holds_until_its_end_and_can_be_replaced_and_taken_back(table: TableEdge) -> None:
    table.pause(pause(minutes=10))
    table.pause(pause(minutes=20))
    table.pause(pause(ONE))
    assert set(table.memory(ONE, now=NOW).pauses) == {pause(minutes=20), pause(ONE)}
    assert table.memory(ONE, now=NOW + timedelta(minutes=20)).pauses == (pause(ONE),)
    table.resume(CLUSTER)
    table.resume(ONE)
    table.resume(ONE)
    assert table.pauses() == ()


def test_a_thing_is_said_for_the_first_time_once_within_its_time(table: TableEdge) -> None:
    hour = timedelta(hours=1)
    times = [timedelta(0), timedelta(minutes=59), hour, timedelta(minutes=61)]
    said = [table.first_time("refused#i", now=NOW + after, within=hour) for after in times]
    assert said == [True, False, True, False]
    assert table.first_time("refused#other", now=NOW, within=hour)


def test_since_when_a_thing_is_said_is_known_until_it_may_be_said_again(table: TableEdge) -> None:
    hour = timedelta(hours=1)
    assert table.said_since("holds#i", now=NOW) is None
    for after in (timedelta(0), timedelta(minutes=20)):
        table.first_time("holds#i", now=NOW + after, within=hour)
    assert table.said_since("holds#i", now=NOW + timedelta(minutes=59)) == NOW
    assert table.said_since("holds#i", now=NOW + hour) is None


def test_of_many_at_once_one_says_it_first(table: TableEdge) -> None:
    with ThreadPoolExecutor(4) as together:
        said = list(together.map(lambda _: table.first_time("x", now=NOW, within=timedelta(hours=1)), range(8)))
    assert said.count(True) == 1


def test_history_is_told_oldest_first_and_of_one_machine_alone(table: TableEdge) -> None:
    for after_s in (2.5, 0, 1, 2):
        table.write_history(ONE, NOW + timedelta(seconds=after_s), {"after_s": after_s, "steps": []})
    table.write_history(TWO, NOW, {"after_s": -1})
    assert [entry["after_s"] for entry in table.history(ONE)] == [0, 1, 2, 2.5]
    assert table.history(ONE)[0] == {"at": "2026-11-21T12:00:00+00:00", "after_s": 0, "steps": []}


def test_what_ends_by_itself_carries_its_time_to_live(clients: Clients, table: TableEdge) -> None:
    table.write_history(ONE, NOW, {})
    table.first_time("x", now=NOW, within=timedelta(hours=1))
    table.pause(pause())
    items = clients("dynamodb").scan(TableName="regrow-drill")["Items"]
    assert {item["pk"]["S"]: int(item["expires_at"]["N"]) - int(NOW.timestamp()) for item in items} == {
        f"history#{ONE}": 30 * 86_400,
        "said": 3600,
        "pause": 7200,
    }


LATER_LAUNCH = join(launched_at=NOW, token_id="zzz999")


def test_a_join_record_comes_back_as_it_was_written_with_that_of_each_launch(table: TableEdge) -> None:
    ended = join(state=JoinState.ENDED, secret_uid="uid", ended_because="it has joined")
    table.write_join(ended, instead_of=None, keep_until=None)
    table.write_join(LATER_LAUNCH, instead_of=None, keep_until=None)
    table.write_join(join(TWO), instead_of=None, keep_until=None)
    assert table.joins_of(ONE) == (ended, LATER_LAUNCH)
    assert table.memory(ONE, now=NOW).joins == (ended, LATER_LAUNCH)
    assert set(table.joins()) == {ended, LATER_LAUNCH, join(TWO)}


def test_a_launch_has_one_record_however_many_write_it(table: TableEdge) -> None:
    def write(number: int) -> bool:
        try:
            table.write_join(join(token_id=f"abc{number:03}"), instead_of=None, keep_until=None)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as together:
        written = list(together.map(write, range(16)))
    assert sum(written) == 1
    assert [record.token_id for record in table.joins()] == [f"abc{written.index(True):03}"]


def test_a_record_is_replaced_only_as_it_was_read(table: TableEdge) -> None:
    first, second = join(), join(token_id="def456")
    table.write_join(first, instead_of=None, keep_until=None)
    table.write_join(second, instead_of=first, keep_until=None)
    with pytest.raises(ConflictError, match="another one by now"):
        table.write_join(join(state=JoinState.ENDED), instead_of=first, keep_until=None)
    assert table.joins() == (second,)


def test_a_record_that_may_be_forgotten_says_when(table: TableEdge, clients: Clients) -> None:
    table.write_join(join(), instead_of=None, keep_until=NOW + timedelta(days=30))
    (item,) = clients("dynamodb").scan(TableName="regrow-drill")["Items"]
    assert item["expires_at"] == {"N": str(int((NOW + timedelta(days=30)).timestamp()))}
    assert table.joins() == (join(keep_until=NOW + timedelta(days=30)),)


def test_which_control_plane_is_admitted_is_read_as_it_was_written(table: TableEdge, clients: Clients) -> None:
    assert table.admission() == Absent()
    until, written_at = NOW + timedelta(minutes=10), NOW
    said = {"instance": ONE, "until": until.isoformat(), "written_at": written_at.isoformat()}
    item = {"pk": "control-plane", "sk": "admission", **said}
    clients("dynamodb").put_item(TableName="regrow-drill", Item={key: {"S": value} for key, value in item.items()})
    assert table.admission() == Admission(ONE, until, written_at)


def test_of_snapshots_one_is_begun_at_a_time_until_it_ends_or_its_time_is_over(table: TableEdge) -> None:
    later, until = NOW + timedelta(minutes=1), NOW + timedelta(minutes=3)
    first, second = SnapshotBegun(ONE, "etcd/1.db", NOW), SnapshotBegun(TWO, "etcd/2.db", later)
    assert table.snapshot_begun() == Absent()
    assert table.begin_snapshot(first, now=NOW, until=until)
    assert not table.begin_snapshot(first, now=NOW, until=until), "two passes of the same second"
    assert not table.begin_snapshot(second, now=later, until=until)
    assert table.snapshot_begun() == first
    told = replace(first, command="0f6e1c52")
    assert table.begin_snapshot(told, now=NOW, until=until)
    table.end_snapshot(second)
    assert table.snapshot_begun() == told
    assert table.begin_snapshot(second, now=until, until=until + timedelta(minutes=3))
    assert not table.begin_snapshot(told, now=until, until=until)
    table.end_snapshot(second)
    assert table.snapshot_begun() == Absent()


def test_an_approval_comes_back_as_it_was_written_and_changes_only_as_it_was_read(table: TableEdge) -> None:
    nothing, client = approval(), approval(client_uid="uid", client_key_sha256="ab" * 32, client_at=NOW)
    both = replace(client, serving_uid="other", serving_key_sha256="cd" * 32, serving_at=NOW, denied="it lied")
    table.write_approval(nothing, instead_of=None, keep_until=NOW + timedelta(days=400))
    table.write_approval(client, instead_of=nothing, keep_until=NOW + timedelta(days=400))
    with pytest.raises(ConflictError):
        table.write_approval(nothing, instead_of=both, keep_until=NOW + timedelta(days=400))
    table.write_approval(both, instead_of=client, keep_until=NOW + timedelta(days=400))
    assert table.approvals_of(ONE) == (both,)
    assert table.memory(ONE, now=NOW).approvals == ()  # of a machine that has no join record nothing was approved
    table.write_join(join(ONE), instead_of=None, keep_until=None)
    assert table.memory(ONE, now=NOW).approvals == (both,)


def test_launches_given_up_are_counted_for_their_group_until_they_are_forgotten(table: TableEdge) -> None:
    ours, other = Abandoned(WORKERS, ONE), Abandoned("other-worker", TWO)
    for one in (ours, ours, other):
        table.note_abandoned(one, at=NOW)
    assert set(table.abandoned(now=NOW)) == {ours, other}
    assert set(table.memory(THREE, now=NOW).abandoned) == {ours, other}
    assert table.abandoned(now=NOW + timedelta(days=2)) == ()
    table.forget_abandoned(WORKERS)
    assert table.abandoned(now=NOW) == (other,)
