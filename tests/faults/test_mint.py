"""Whatever dies, fails or meets another call on the way, minting comes to the same end, and loses no secret on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cluster.joining import JoinState
from functions.cluster.machine import Group, Role
from functions.errors import ConfigurationError, RetryableError
from tests.unit.functions.builders import ONE, TWO, group, member, node
from tests.unit.functions.fake_world import Crash
from tests.unit.functions.join.mint.launches import admission, denied, launched
from tests.unit.functions.join.mint.mint_world import Call, MintWorld

FAULTS = {
    "killed": Crash(),
    "no answer": RetryableError("no answer"),
    "not allowed": ConfigurationError("AccessDenied"),
}


def a_launch() -> MintWorld:
    return MintWorld()


def a_renewal() -> MintWorld:
    world = MintWorld()
    assert world.did() == "minted"
    world.now += timedelta(minutes=4)
    assert world.record
    short = replace(world.record, expires_at=world.now)
    world.joins = {short.launch: short}
    return world


def a_mint_that_was_killed() -> MintWorld:
    """It had made the token and the bundle, and had not yet said so."""
    world = MintWorld()
    interfere(world, "before", Call("write_join", 2), Crash())
    with pytest.raises(Crash):
        world.mint()
    world.now += timedelta(seconds=26)
    return at_rest(world)


def a_joined_machine() -> MintWorld:
    world = MintWorld()
    assert world.did() == "minted"
    world.node = node(ONE)
    return at_rest(world)


def a_dead_machine() -> MintWorld:
    world = MintWorld()
    assert world.did() == "minted"
    world.end_launch()
    return at_rest(world)


def a_denied_machine() -> MintWorld:
    world = MintWorld()
    assert world.did() == "minted"
    world.approvals = (denied(),)
    return at_rest(world)


def a_second_launch() -> MintWorld:
    world = MintWorld()
    assert world.did() == "minted"
    world.now += timedelta(minutes=1)
    world.instance = launched(launched_at=world.now)
    return at_rest(world)


def a_control_planes_launch() -> MintWorld:
    masters = (group(member(ONE, "Pending:Wait"), role=Role.CONTROL_PLANE),)
    return MintWorld(groups=masters, admission=admission())


MAY_JOIN = [a_launch, a_control_planes_launch, a_renewal, a_mint_that_was_killed, a_second_launch]
MAY_NOT = [a_joined_machine, a_dead_machine, a_denied_machine]
SCENES = [*MAY_JOIN, *MAY_NOT]
CHANGES = {"write_join", "create_token", "delete_token", "put_bundle", "delete_bundle"}
Scene = Callable[[], MintWorld]


def at_rest(world: MintWorld) -> MintWorld:
    world.before = world.after = MintWorld().before
    return world


def interfere(world: MintWorld, when: str, at: Call, what: BaseException | Callable[[], object]) -> None:
    """Let something happen at one call, once."""

    def happen(call: Call) -> None:
        if call == at:
            if isinstance(what, BaseException):
                raise what
            what()

    setattr(world, when, happen)


def run(world: MintWorld) -> str:
    """One call, which may be killed; after which no token may be without a record that names it."""
    try:
        did = world.did()
    except Crash:
        did = "killed"
    assert_nothing_is_lost(world)
    return did


def come_to_rest(world: MintWorld) -> None:
    """Call as passes do until three answers in a row are the end of it."""
    end = world.now + timedelta(minutes=4)
    settled = 0
    while settled < 3:
        assert world.now < end, f"not at rest: {world.mint()}"
        settled = settled + 1 if run(world) in {"is_minted", "nothing"} else 0
        world.now += timedelta(seconds=2)


def assert_nothing_is_lost(world: MintWorld) -> None:
    """Every token and bundle can be found again by what the table says, and no launch has two."""
    named = {record.token_id for record in world.joins.values() if record.open}
    assert set(world.secrets) <= named
    assert not world.bundles or named
    assert len(world.live_tokens()) <= 1
    assert world.violations == []


def assert_right_end(world: MintWorld, scene: Scene) -> None:
    if scene in MAY_JOIN:
        assert_one_token_and_its_bundle(world)
    else:
        assert (world.secrets, world.bundles) == ({}, {})
        assert world.record
        assert world.record.state is JoinState.ENDED


def assert_one_token_and_its_bundle(world: MintWorld) -> None:
    ((uid, token),) = world.secrets.values()
    assert world.record
    assert (world.record.state, world.record.token_id) == (JoinState.ISSUED, token.id)
    assert world.record.secret_uid in (uid, None)  # none is known of a token whose call died before it could say
    assert world.bundles[ONE].token == token


@dataclass(frozen=True)
class Point:
    scene: Scene
    call: Call

    def __str__(self) -> str:
        return f"{self.scene.__name__}-{self.call.method}-{self.call.nth}"


def points() -> list[Point]:
    """Every call that a scene makes to the outside until it is at rest."""
    found = []
    for scene in SCENES:
        world = scene()
        done = world.calls.copy()
        while world.did() not in {"is_minted", "nothing"}:
            world.now += timedelta(seconds=2)
        found += [
            Point(scene, Call(method, nth))
            for method, count in sorted(world.calls.items())
            for nth in range(done[method] + 1, count + 1)
            if method in CHANGES or nth == done[method] + 1  # waiting only repeats the reads
        ]
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_comes_to_its_end_when_nothing_goes_wrong(scene: Scene) -> None:
    world = scene()
    come_to_rest(world)
    assert_right_end(world, scene)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", points(), ids=str)
def test_one_fault_anywhere_changes_when_and_never_what(point: Point, when: str, fault: str) -> None:
    world = point.scene()
    interfere(world, when, point.call, FAULTS[fault])
    come_to_rest(world)
    assert_right_end(world, point.scene)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", points(), ids=str)
def test_a_machine_that_ends_while_its_minter_is_killed_leaves_nothing_behind(point: Point, when: str) -> None:
    world = point.scene()
    interfere(world, when, point.call, Crash())
    while run(world) not in {"killed", "is_minted", "nothing"}:
        world.now += timedelta(seconds=2)
    world.end_launch()
    come_to_rest(world)
    assert (world.secrets, world.bundles) == ({}, {})
    assert all(not record.open for record in world.joins.values())


@pytest.mark.parametrize("listed", [(), (group(member(TWO)),)], ids=["no group", "a group without it"])
@pytest.mark.parametrize("point", [point for point in points() if point.call.method == "groups"], ids=str)
def test_one_listing_that_lacks_the_machine_changes_when_and_never_what(
    point: Point, listed: tuple[Group, ...]
) -> None:
    world = point.scene()
    truth = world.groups

    def show(groups: tuple[Group, ...]) -> Callable[[Call], None]:
        def happen(call: Call) -> None:
            if call == point.call:
                world.groups = groups

        return happen

    world.before, world.after = show(listed), show(truth)
    come_to_rest(world)
    assert_right_end(world, point.scene)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", points(), ids=str)
def test_two_calls_at_once_do_it_once(point: Point, when: str) -> None:
    """The second one runs from its beginning to its end at one point of the first."""
    world = point.scene()
    others: list[str] = []

    def another_call() -> None:
        others.append(world.did())

    interfere(world, when, point.call, another_call)
    mine = run(world)
    changing = {"minted", "revoked"}
    assert len([did for did in (mine, *others) if did in changing]) <= 1 or point.scene is a_second_launch
    come_to_rest(world)
    assert_right_end(world, point.scene)


def test_of_two_calls_at_once_one_mints_and_the_other_holds() -> None:
    for first_writes, expected in ((True, ("minted", "held")), (False, ("held", "minted"))):
        world = a_launch()
        others: list[str] = []

        def another_call(world: MintWorld = world, others: list[str] = others) -> None:
            others.append(world.did())

        interfere(world, "after" if first_writes else "before", Call("write_join", 1), another_call)
        assert (world.did(), *others) == expected
        assert_one_token_and_its_bundle(world)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SCENES),
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["before", "after"]), st.sampled_from(sorted(FAULTS)))),
)
def test_any_number_of_faults_only_delays_the_end(scene: Scene, faults: list[tuple[int, str, str]]) -> None:
    """Each fault strikes at a call of that number, counted over all methods from the scene's beginning."""
    world = scene()
    begun = world.calls.total()

    def strike(when: str) -> Callable[[Call], None]:
        due = {number: FAULTS[fault] for number, moment, fault in faults if moment == when}

        def happen(_: Call) -> None:
            if what := due.pop(world.calls.total() - begun, None):
                raise what

        return happen

    world.before, world.after = strike("before"), strike("after")
    for _ in range(10):
        run(world)
        world.now += timedelta(seconds=7)
    at_rest(world)
    come_to_rest(world)
    assert_right_end(world, scene)
