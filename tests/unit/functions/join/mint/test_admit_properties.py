"""What holds of every decision, whatever a call comes to see."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cluster.facts import Absent, Unknown
from functions.cluster.joining import Admission, JoinState
from functions.cluster.machine import GROUP_TAG, VERSION_TAG, Instance, InstanceState, Role
from functions.join.admit import ClusterFacts, JoinFacts, Keep, Mint, Nothing, Revoke, decide, decide_without_cluster
from tests.unit.functions.builders import NOW, ONE, TWO, WORKERS, group, member, node
from tests.unit.functions.join.mint.launches import API_SERVER, DEADLINE, admission, denied, join, launched

UNKNOWN = Unknown("the service did not answer")
LAUNCHES = [NOW - timedelta(days=1), NOW, NOW + timedelta(minutes=3)]
TIMES = st.sampled_from([NOW + timedelta(seconds=s) for s in (0, 24, 25, 200, 479, 480, 700, 840, 900, 9000)])
JOINS = st.builds(
    lambda at, state, busy_s, expires_s, role: join(
        state,
        role=role,
        launched_at=at,
        issued_at=at,
        busy_until=at + timedelta(seconds=busy_s),
        expires_at=at + timedelta(seconds=expires_s),
    ),
    st.sampled_from(LAUNCHES),
    st.sampled_from(JoinState),
    st.sampled_from([25, 300]),
    st.sampled_from([60, 900]),
    st.sampled_from([Role.WORKER, Role.WORKER, Role.CONTROL_PLANE]),
)
HISTORIES = st.lists(JOINS, max_size=3, unique_by=lambda record: record.launched_at).map(
    lambda found: tuple(sorted(found, key=lambda record: record.launch))
)
INSTANCES = st.builds(
    lambda state, at, tags: launched(state=state, launched_at=at, tags=tags),
    st.sampled_from([*InstanceState, InstanceState.RUNNING, InstanceState.RUNNING, InstanceState.RUNNING]),
    st.sampled_from([NOW, NOW, *LAUNCHES]),
    st.sampled_from([{GROUP_TAG: WORKERS}, {GROUP_TAG: WORKERS}, {GROUP_TAG: "other"}, {}]),
)
GROUPS = st.builds(
    lambda state, role, name: (group(member(ONE, state), member(TWO), role=role, name=name),),
    st.sampled_from(["Pending:Wait", "Pending", "InService", "Terminating:Wait", "Warmed:Pending:Wait", "Standby"]),
    st.sampled_from([Role.WORKER, Role.WORKER, Role.CONTROL_PLANE, Role.CONTROL_PLANE, None]),
    st.sampled_from([WORKERS, WORKERS, WORKERS, "other"]),
)
NODES = st.sampled_from([Absent(), Absent(), node(ONE), node(ONE, provider_id=""), node(ONE, provider_id="kind://x")])
ADMISSIONS = st.builds(
    lambda whose, ends_s: admission(instance=whose, until=NOW + timedelta(seconds=ends_s)),
    st.sampled_from([ONE, ONE, ONE, TWO]),
    st.sampled_from([60, 600, 9600]),
)
OTHERS = [join(JoinState.ISSUED, instance=TWO, role=Role.CONTROL_PLANE), join(JoinState.ENDED, instance=TWO)]
CLUSTERS = st.builds(
    ClusterFacts,
    node=NODES,
    version=st.sampled_from(["v1.36.3", "v1.36.3", "v1.35.0", "?"]),
    signing=st.sampled_from([(), (), ("abcdef",)]),
    approved_unseen=st.sampled_from([(), (), ("system:bootstrappers:regrow:worker",)]),
    api_server=st.just(API_SERVER),
    image_tags=st.sampled_from([{VERSION_TAG: "v1.36.1"}, {VERSION_TAG: "v1.36.1"}, {VERSION_TAG: "x"}, {}, Absent()]),
    admission=ADMISSIONS | ADMISSIONS | st.just(Absent()),
    all_joins=st.lists(st.sampled_from(OTHERS), max_size=2).map(tuple),
)
FACTS = st.builds(
    JoinFacts,
    id=st.just(ONE),
    instance=INSTANCES | INSTANCES | st.just(Absent()),
    groups=GROUPS | GROUPS | st.sampled_from([(), (group(member(TWO)),)]),
    joins=HISTORIES,
    approvals=st.sampled_from([(), (), (), (denied(),)]),
    cluster_facts=CLUSTERS,
)
OWN = ("instance", "groups", "joins", "approvals")
OF_CONTROL_PLANES = ("admission", "all_joins")
OF_CLUSTER = tuple(field.name for field in fields(ClusterFacts))


def without(facts: JoinFacts, names: set[str]) -> JoinFacts:
    """The same, with some of it unknown."""
    assert facts.cluster_facts
    own: dict[str, Any] = {name: UNKNOWN for name in OWN if name in names}
    of_cluster: dict[str, Any] = {name: UNKNOWN for name in OF_CLUSTER if name in names}
    return replace(facts, cluster_facts=replace(facts.cluster_facts, **of_cluster), **own)


@settings(max_examples=2000)
@given(FACTS, TIMES)
def test_a_token_is_made_only_for_a_launch_of_which_everything_is_proved(facts: JoinFacts, now: datetime) -> None:
    decision = decide(facts, now, DEADLINE)
    if not isinstance(decision, Mint):
        return
    instance, ((seen,), cluster) = facts.instance, (facts.groups, facts.cluster_facts)  # type: ignore[misc]
    assert isinstance(instance, Instance)
    assert cluster is not None
    assert isinstance(facts.joins, tuple)
    entry = seen.member(ONE)
    assert instance.state in (InstanceState.PENDING, InstanceState.RUNNING)
    assert entry is not None
    assert entry.lifecycle_state in ("Pending", "Pending:Wait", "InService")
    assert (seen.role, instance.group) == (decision.arriving.role, seen.name)
    if seen.role is Role.CONTROL_PLANE:
        assert isinstance(cluster.admission, Admission)
        assert (cluster.admission.instance, cluster.admission.until > now) == (ONE, True)
        assert isinstance(cluster.all_joins, tuple)
        assert OTHERS[0] not in cluster.all_joins
    else:
        assert seen.role is Role.WORKER
    assert now < instance.launched_at + DEADLINE
    assert facts.approvals == () or instance.launched_at != NOW
    assert (cluster.node, cluster.version) == (Absent(), "v1.36.3")
    assert cluster.image_tags == {VERSION_TAG: "v1.36.1"}
    assert (cluster.signing, cluster.approved_unseen) == ((), ())
    assert decision.arriving.record is None or decision.arriving.record.role is seen.role
    open_records = [record for record in facts.joins if record.open]
    assert open_records in ([], [decision.arriving.record])
    assert all(record.busy_until <= now or record.state is JoinState.ISSUED for record in open_records)
    assert not any(record.launched_at == instance.launched_at and not record.open for record in facts.joins)


@settings(max_examples=1000)
@given(FACTS, TIMES, st.sets(st.sampled_from([*OWN, *OF_CLUSTER]), min_size=1))
def test_knowing_less_never_gives_and_never_takes(facts: JoinFacts, now: datetime, names: set[str]) -> None:
    whole, less = decide(facts, now, DEADLINE), decide(without(facts, names), now, DEADLINE)
    of_a_worker = isinstance(whole, Mint) and whole.arriving.role is Role.WORKER
    assert not isinstance(less, Mint) or (of_a_worker and names <= set(OF_CONTROL_PLANES))
    if isinstance(less, Revoke):
        assert isinstance(whole, Revoke)
        assert less.record == whole.record
        assert whole.gone or not less.gone
    if isinstance(less, Keep):
        assert isinstance(whole, Keep)
    if isinstance(less, Nothing):
        assert isinstance(whole, Nothing | Revoke)


@settings(max_examples=1000)
@given(FACTS, TIMES)
def test_only_what_is_open_and_at_rest_is_taken_away_and_never_what_may_stay(facts: JoinFacts, now: datetime) -> None:
    decision = decide(facts, now, DEADLINE)
    if not isinstance(decision, Revoke):
        return
    record = decision.record
    assert record.open
    assert record.state is JoinState.ISSUED or record.busy_until <= now
    same_launch = isinstance(facts.instance, Instance) and facts.instance.launched_at == record.launched_at
    running = same_launch and facts.instance.state is InstanceState.RUNNING  # type: ignore[union-attr]
    listed = facts.groups == (group(member(ONE, "InService"), member(TWO)),)
    waits = facts.cluster_facts is not None and facts.cluster_facts.node != node(ONE)
    in_time = now < record.launched_at + DEADLINE
    assert not (running and listed and waits and in_time and facts.approvals == ())


@settings(max_examples=500)
@given(FACTS, TIMES, CLUSTERS)
def test_what_is_decided_without_the_cluster_the_cluster_cannot_change(
    facts: JoinFacts, now: datetime, other: ClusterFacts
) -> None:
    alone = decide_without_cluster(facts, now, DEADLINE)
    decision = decide(facts, now, DEADLINE)
    assert decision.reason
    if alone == decision:
        assert decide(replace(facts, cluster_facts=other), now, DEADLINE) == decision
