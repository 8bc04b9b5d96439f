"""One call of the mint function: what is there afterwards, what it answers, and what nobody ever gets to read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from functions.cluster.facts import Absent
from functions.cluster.joining import Approval, JoinState
from functions.cluster.machine import GROUP_TAG, ROLE_TAG, VERSION_TAG, Group, InstanceState, Role
from functions.errors import ConfigurationError, ConflictError, PermanentError, RetryableError
from functions.join.token import draw
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO, WORKERS, group, member, node
from tests.unit.functions.join.mint.launches import API_SERVER, DEADLINE, IMAGE, admission, denied, join, launched
from tests.unit.functions.join.mint.mint_world import Call, MintWorld

OURS = "system:bootstrappers:regrow:worker"
KUBEADMS = "system:bootstrappers:kubeadm:default-node-token"


def a_minted_world(**changes: Any) -> MintWorld:
    world = MintWorld()
    assert world.did() == "minted"
    world.now += timedelta(seconds=30)
    for name, value in changes.items():
        setattr(world, name, value)
    return world


def assert_nothing_is_left(world: MintWorld) -> None:
    assert (world.secrets, world.bundles) == ({}, {})


def assert_one_token_and_its_bundle(world: MintWorld) -> None:
    """All three say the same: the record, the Secret and the bundle."""
    ((uid, token),) = world.secrets.values()
    record = world.record
    assert record is not None
    assert record.state is JoinState.ISSUED
    assert (record.token_id, record.secret_uid, record.expires_at) == (token.id, uid, token.expires_at)
    assert world.bundles[ONE].token == token


def at(method: str, nth: int, do: Callable[[], object]) -> Callable[[Call], None]:
    def interfere(call: Call) -> None:
        if call == Call(method, nth):
            do()

    return interfere


def failing(error: Exception) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def test_a_machine_that_may_join_has_a_record_a_token_and_a_bundle_that_agree() -> None:
    world = MintWorld()
    assert world.mint() == {"did": "minted", "machine": ONE, "reason": f"{WORKERS}: it has been launched"}
    assert_one_token_and_its_bundle(world)
    assert world.violations == []


def test_the_record_binds_the_token_to_one_launch_of_one_machine() -> None:
    world = MintWorld(now=NOW + timedelta(seconds=5))
    world.mint()
    (token_id,) = world.secrets
    assert world.record == join(
        token_id=token_id,
        secret_uid=f"uid-of-{token_id}",
        issued_at=world.now,
        expires_at=world.now + timedelta(minutes=15),
        busy_until=world.now + timedelta(seconds=25),
    )
    assert world.kept_until == {world.record.launch: None}


def test_the_token_is_the_machines_own_and_in_no_group_but_ours() -> None:
    world = MintWorld()
    world.mint()
    ((_, token),) = world.secrets.values()
    assert re.fullmatch("[a-z0-9]{6}", token.id)
    assert re.fullmatch("[a-z0-9]{16}", token.secret)
    assert (token.machine, token.group) == (ONE, "system:bootstrappers:regrow:worker")
    assert world.bundles[ONE].api_server == API_SERVER
    assert world.bundles[ONE].cluster == CLUSTER


def test_a_call_that_died_with_only_its_record_left_to_write_is_finished_under_the_same_token() -> None:
    """The machine may be joining with that token by now."""
    world = a_minted_world()
    whole, secrets, bundles = world.record, dict(world.secrets), dict(world.bundles)
    assert whole
    world.joins[whole.launch] = replace(whole, state=JoinState.MINTING, secret_uid=None)
    world.now = whole.busy_until
    assert world.did() == "minted"
    assert world.record == replace(whole, secret_uid=None)
    assert (world.secrets, world.bundles) == (secrets, bundles)


def test_a_token_that_has_run_out_is_not_kept_though_its_bundle_is_there() -> None:
    world = a_minted_world()
    whole, secrets = world.record, dict(world.secrets)
    assert whole
    world.joins[whole.launch] = replace(whole, state=JoinState.MINTING, expires_at=whole.busy_until)
    world.now = whole.busy_until
    assert world.settle() == "minted"
    assert world.secrets.keys().isdisjoint(secrets)
    assert_one_token_and_its_bundle(world)


def test_a_call_that_died_before_its_bundle_starts_over_with_another_token() -> None:
    world = a_minted_world()
    whole, secrets = world.record, dict(world.secrets)
    assert whole
    world.joins[whole.launch] = replace(whole, state=JoinState.MINTING, secret_uid=None)
    world.bundles.clear()
    world.now = whole.busy_until
    assert world.did() == "minted"
    assert world.secrets.keys().isdisjoint(secrets)
    assert_one_token_and_its_bundle(world)


def test_a_second_call_finds_it_all_there() -> None:
    world = a_minted_world()
    before = (dict(world.secrets), dict(world.bundles), world.record)
    assert world.did() == "is_minted"
    assert (world.secrets, world.bundles, world.record) == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": node(ONE)}, "its Node has registered"),
        ({"approvals": (denied(),)}, "the approver has proof against it: it asked for the name of another machine"),
        ({"now": NOW + DEADLINE}, "its time to join is over: 480 s from 12:00:00Z"),
        ({"instance": launched(state=InstanceState.SHUTTING_DOWN)}, "EC2: shutting-down"),
        ({"groups": (group(member(ONE, "Terminating:Wait")),)}, "Auto Scaling: Terminating:Wait"),
        (
            {"instance": launched(tags={}), "groups": (group(member(TWO)),)},
            f"no group of the cluster lists it any more, {WORKERS} did",
        ),
    ],
)
def test_at_the_end_of_its_launch_a_machine_loses_both_and_gets_neither_again(
    changes: dict[str, Any], reason: str
) -> None:
    world = a_minted_world(**changes)
    assert world.mint() == {"did": "revoked", "machine": ONE, "reason": reason}
    assert_nothing_is_left(world)
    assert world.record is not None
    assert (world.record.state, world.record.ended_because) == (JoinState.ENDED, reason)
    world.node, world.approvals, world.instance = Absent(), (), launched()
    world.groups = MintWorld().groups
    assert world.did() == "nothing"
    assert_nothing_is_left(world)


@pytest.mark.parametrize("groups", [(group(member(TWO)),), ()], ids=["without it", "without its group"])
def test_a_listing_that_lacks_a_running_machine_ends_nothing(groups: tuple[Group, ...]) -> None:
    world = a_minted_world(groups=groups)
    assert world.did() == "held"
    assert_one_token_and_its_bundle(world)
    world.groups = MintWorld().groups
    assert world.did() == "is_minted"


def test_a_machine_that_no_group_lists_keeps_its_token_no_longer_than_it_may_join() -> None:
    world = a_minted_world(groups=(group(member(TWO)),), now=NOW + DEADLINE)
    assert world.did() == "revoked"
    assert_nothing_is_left(world)


def test_a_machine_that_is_gone_is_revoked_without_asking_the_cluster_anything_but_the_deletion() -> None:
    world = a_minted_world()
    world.end_launch()
    world.calls.clear()
    assert world.did() == "revoked"
    assert set(world.calls) == {
        *("instance", "groups", "joins_of", "approvals_of", "write_join", "delete_bundle", "delete_token"),
    }


def test_the_record_of_a_machine_that_is_gone_is_kept_for_thirty_days_and_no_sooner_forgotten() -> None:
    world = a_minted_world(node=node(ONE))
    assert world.did() == "revoked"
    assert world.record is not None
    assert world.kept_until == {world.record.launch: None}
    world.end_launch()
    assert world.did() == "nothing"
    assert world.kept_until == {world.record.launch: world.now + timedelta(days=30)}


def test_a_token_that_runs_out_is_renewed_under_a_new_id_and_the_old_one_is_deleted() -> None:
    world = a_minted_world()
    (old,) = world.secrets
    assert world.record is not None
    short = replace(world.record, expires_at=world.now + timedelta(seconds=60))
    world.joins = {short.launch: short}
    held = world.mint()
    assert (held["did"], world.secrets) == ("held", {})
    assert "its old bundle was just deleted" in held["reason"]
    assert world.settle() == "minted"
    assert old not in world.secrets
    assert_one_token_and_its_bundle(world)
    assert world.violations == []


def test_an_instance_that_was_launched_again_loses_the_old_launchs_token_and_gets_its_own() -> None:
    world = a_minted_world()
    (old,) = world.secrets
    world.instance = launched(launched_at=world.now)
    assert world.did() == "revoked"
    assert_nothing_is_left(world)
    world.now += timedelta(seconds=30)
    assert world.did() == "minted"
    assert old not in world.secrets
    assert len(world.joins) == 2
    assert_one_token_and_its_bundle(world)


@pytest.mark.parametrize(
    "changes",
    [
        {"instance": Absent(), "groups": (group(member(TWO)),)},
        {"instance": launched(state=InstanceState.TERMINATED)},
        {"groups": (group(member(ONE, "Warmed:Pending:Wait")),)},
        {"node": node(ONE)},
        {"now": NOW + DEADLINE},
        {"image_tags": {}},
        {"image_tags": {VERSION_TAG: "v1.35.0"}},
        {"version": "v1.37.0"},
        {"signing": ("abcdef",)},
        {"approved_unseen": frozenset({OURS})},
        {"approved_unseen": frozenset({KUBEADMS})},
        {"approvals": (denied(),)},
    ],
)
def test_a_machine_that_may_not_join_leaves_no_trace(changes: dict[str, Any]) -> None:
    world = MintWorld(**changes)
    assert world.did() in {"nothing", "refused"}
    assert_nothing_is_left(world)
    assert world.joins == {}


READS = [
    *("instance", "groups", "joins_of", "approvals_of"),
    *("node", "version", "signing_tokens", "approves_unseen", "api_server", "image_tags"),
]


@pytest.mark.parametrize("error", [RetryableError("no answer"), ConfigurationError("not allowed")])
@pytest.mark.parametrize("read", READS)
def test_what_cannot_be_read_is_held_and_nothing_is_minted(read: str, error: Exception) -> None:
    world = MintWorld()
    world.before = at(read, 1, failing(error))
    assert world.mint() == {"did": "held", "machine": ONE, "reason": f"unknown: {error}"}
    assert_nothing_is_left(world)
    assert world.joins == {}


@pytest.mark.parametrize("read", ["instance", "groups", "joins_of", "approvals_of", "node"])
def test_what_cannot_be_read_is_held_and_nothing_is_revoked(read: str) -> None:
    world = a_minted_world()
    world.before = at(read, world.calls[read] + 1, failing(RetryableError("no answer")))
    assert world.did() == "held"
    assert_one_token_and_its_bundle(world)


@pytest.mark.parametrize(
    ("approved", "no_answer_about", "did"),
    [(OURS, KUBEADMS, "refused"), (KUBEADMS, OURS, "refused"), ("", KUBEADMS, "held"), ("", OURS, "held")],
)
def test_one_group_that_is_approved_unseen_is_enough_and_one_unknown_is_too_much(
    approved: str, no_answer_about: str, did: str
) -> None:
    world = MintWorld(approved_unseen=frozenset({approved}), no_answer_about=frozenset({no_answer_about}))
    assert world.did() == did
    assert world.joins == {}


def test_a_record_that_changes_under_us_is_held() -> None:
    world = MintWorld()

    def somebody_else_writes() -> None:
        record = join(JoinState.MINTING, token_id="theirs")
        world.joins[record.launch] = record

    world.before = at("write_join", 1, somebody_else_writes)
    assert world.mint() == {
        "did": "held",
        "machine": ONE,
        "reason": "the join record is another one by now",
    }
    assert_nothing_is_left(world)


def test_an_id_that_is_taken_is_drawn_again_and_its_owner_is_left_alone() -> None:
    world = MintWorld()
    foreseen = MintWorld()
    foreseen.mint()
    (taken,) = foreseen.secrets
    somebodys = replace(foreseen.secrets[taken][1], machine=TWO)
    world.secrets[taken] = ("somebody's", somebodys)
    assert world.did() == "minted"
    assert world.secrets.pop(taken) == ("somebody's", somebodys)
    assert_one_token_and_its_bundle(world)
    assert world.violations == []


def test_ids_that_are_taken_again_and_again_are_held_and_their_owners_are_left_alone() -> None:
    foreseen, world = MintWorld(), MintWorld()
    theirs = {
        token.id: ("theirs", replace(token, machine=TWO))
        for token in (draw(ONE, Role.WORKER, foreseen.choose, now=NOW) for _ in range(3))
    }
    world.secrets = dict(theirs)
    assert world.mint()["reason"] == "3 token ids in a row were taken"
    assert (world.secrets, world.bundles) == (theirs, {})
    assert world.settle() == "minted"
    assert theirs.items() <= world.secrets.items()
    world.secrets = {token_id: kept for token_id, kept in world.secrets.items() if token_id not in theirs}
    assert_one_token_and_its_bundle(world)


def test_a_bundle_that_lies_where_none_should_is_replaced() -> None:
    world, other = MintWorld(), MintWorld(choose=lambda alphabet: alphabet[0])
    other.mint()
    world.bundles = dict(other.bundles)
    assert world.did() == "held"
    assert world.settle() == "minted"
    assert_one_token_and_its_bundle(world)
    assert world.violations == []


@pytest.mark.parametrize(
    "request_",
    [
        None,
        "i-00000000000000001",
        [],
        {},
        {"machine": None},
        {"machine": 7},
        {"machine": [ONE]},
        {"machine": "i-1"},
        {"machine": f"{ONE}\n"},
        {"machine": f" {ONE}"},
        {"machine": ONE.upper()},
        {"machine": f"{ONE}/../other"},
        {"machine": 'i-00000000000000001", "role": "control-plane'},
        {"machine": "drill-worker"},
        {"machine": ONE, "role": "control-plane"},
        {"machine": ONE, "group": WORKERS},
        {"instance": ONE},
    ],
)
def test_a_request_that_names_anything_but_an_instance_is_refused_before_anything_is_asked(request_: Any) -> None:
    world = MintWorld()
    with pytest.raises(PermanentError):
        world.mint(request_)
    assert world.calls == {}


SECRETIVE = [
    ("create_token", lambda secret: RetryableError(f"422 data: Invalid value {secret}")),
    ("put_bundle", lambda secret: RetryableError(f'ValidationException: Value \'{{"token": "{secret}"}}\' at value')),
    ("put_bundle", lambda secret: ConflictError(f"already exists: {secret}")),
]


@pytest.mark.parametrize(("method", "error"), SECRETIVE)
def test_an_error_that_quotes_the_token_is_passed_on_without_its_secret(
    method: str, error: Callable[[str], Exception]
) -> None:
    foreseen = MintWorld()
    foreseen.mint()
    ((_, token),) = foreseen.secrets.values()
    world = MintWorld()
    world.before = at(method, 1, failing(error(token.whole)))
    said = json.dumps(world.mint())
    assert token.secret not in said


def test_no_answer_record_or_repr_ever_shows_the_secret() -> None:
    world = MintWorld()
    answered = world.mint()
    ((_, token),) = world.secrets.values()
    everything = [answered, world.joins, world.bundles[ONE], token, world.outside]
    assert not any(token.secret in repr(one) for one in everything)


def test_what_the_group_and_the_image_are_called_comes_from_aws_alone() -> None:
    world = MintWorld()
    world.mint()
    assert world.record is not None
    assert (world.record.group, world.record.image, world.record.zone) == (WORKERS, IMAGE, "us-east-1a")


def test_the_approval_of_an_earlier_launch_is_no_proof_against_this_one() -> None:
    world = MintWorld(approvals=(Approval(ONE, NOW - timedelta(days=1), denied="it asked for too much"),))
    assert world.did() == "minted"


# --- control planes

MASTERS = (group(member(ONE, "Pending:Wait"), role=Role.CONTROL_PLANE),)


def a_control_plane(**changes: Any) -> MintWorld:
    whole: dict[str, Any] = {"groups": MASTERS, "admission": admission()}
    return MintWorld(**(whole | changes))


def test_a_control_plane_that_is_admitted_has_a_token_of_its_own_group_and_a_record_that_says_so() -> None:
    world = a_control_plane()
    assert world.did() == "minted"
    ((_, token),) = world.secrets.values()
    assert token.group == "system:bootstrappers:regrow:control-plane"
    assert world.record
    assert world.record.role is Role.CONTROL_PLANE
    assert_one_token_and_its_bundle(world)
    assert world.violations == []


@pytest.mark.parametrize(
    ("admitted", "reason"),
    [
        (Absent(), "no control plane is admitted"),
        (admission(instance=TWO), f"{TWO} is admitted as a control plane, not this machine"),
        (admission(until=NOW), "its admission is over, or almost: it ends at 12:00:00Z"),
    ],
)
def test_a_control_plane_that_is_not_admitted_waits_and_leaves_no_trace(admitted: Any, reason: str) -> None:
    world = a_control_plane(admission=admitted)
    assert world.mint() == {"did": "held", "machine": ONE, "reason": reason}
    assert_nothing_is_left(world)
    assert world.joins == {}
    world.admission = admission()
    assert world.did() == "minted"


@pytest.mark.parametrize("state", [JoinState.MINTING, JoinState.ISSUED])
def test_a_control_plane_waits_for_another_one_that_is_joining_and_gets_its_token_after_it(state: JoinState) -> None:
    others = join(state, instance=TWO, role=Role.CONTROL_PLANE)
    world = a_control_plane(joins={others.launch: others})
    assert world.mint()["reason"] == f"{TWO} is joining as a control plane"
    assert world.joins == {others.launch: others}
    world.joins = {others.launch: replace(others, state=JoinState.ENDED)}
    assert world.did() == "minted"
    assert_one_token_and_its_bundle(world)


def test_a_control_plane_whose_admission_is_over_keeps_the_token_that_it_joins_with_and_gets_no_other() -> None:
    world = a_control_plane()
    assert world.did() == "minted"
    world.admission = Absent()
    assert world.did() == "is_minted"
    assert world.record
    short = replace(world.record, expires_at=world.now)
    world.joins = {short.launch: short}
    before = (dict(world.secrets), dict(world.bundles))
    assert world.did() == "held"
    assert (world.secrets, world.bundles) == before


def test_a_control_plane_that_has_joined_loses_its_token_whoever_is_admitted() -> None:
    world = a_control_plane()
    assert world.did() == "minted"
    world.node, world.admission = node(ONE), admission(instance=TWO)
    assert world.did() == "revoked"
    assert_nothing_is_left(world)


@pytest.mark.parametrize("read", ["admission", "joins"])
def test_whose_turn_it_is_cannot_be_read_and_nothing_is_minted(read: str) -> None:
    world = a_control_plane()
    world.before = at(read, 1, failing(RetryableError("no answer")))
    assert world.mint() == {"did": "held", "machine": ONE, "reason": "unknown: no answer"}
    assert world.joins == {}


def test_nobody_asks_whose_turn_it_is_for_a_worker() -> None:
    world = MintWorld()
    world.before = at("admission", 1, failing(RetryableError("no answer")))
    assert world.did() == "minted"
    assert {"admission", "joins"}.isdisjoint(world.calls)


@pytest.mark.parametrize(("role", "tagged"), [(Role.WORKER, Role.CONTROL_PLANE), (Role.CONTROL_PLANE, Role.WORKER)])
def test_a_token_never_comes_to_stand_for_another_role_than_it_was_made_for(role: Role, tagged: Role) -> None:
    world = a_control_plane(groups=(group(member(ONE, "Pending:Wait"), role=role),))
    assert world.did() == "minted"
    before = (dict(world.secrets), world.record)
    world.groups = (group(member(ONE, "Pending:Wait"), role=tagged),)
    assert world.did() == "refused"
    assert (world.secrets, world.record) == before
    world.now = NOW + DEADLINE
    assert world.did() == "revoked"
    assert_nothing_is_left(world)


def test_e10_a_machine_of_a_group_of_workers_that_is_tagged_and_admitted_as_a_control_plane_joins_as_a_worker() -> None:
    tagged = launched(tags={GROUP_TAG: WORKERS, ROLE_TAG: "control-plane"})
    world = MintWorld(instance=tagged, admission=admission())
    assert world.did() == "minted"
    ((_, token),) = world.secrets.values()
    assert token.group == OURS
    assert world.record
    assert world.record.role is Role.WORKER
