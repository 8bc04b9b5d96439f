"""A machine has credentials from the proof of its launch to its end, and every answer says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions.cluster.facts import Absent, Unknown
from functions.cluster.joining import JoinState
from functions.cluster.machine import CLUSTER_TAG, GROUP_TAG, ROLE_TAG, VERSION_TAG, InstanceState, Role
from functions.join.admit import (
    Arriving,
    Decision,
    Hold,
    Keep,
    Mint,
    Nothing,
    Refuse,
    Revoke,
    decide,
    decide_without_cluster,
)
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO, WORKERS, group, instance, member, node
from tests.unit.functions.join.mint.launches import DEADLINE, IMAGE, LATER, admission, denied, join, launch, launched

UNKNOWN = Unknown("the service did not answer")
MASTERS = (group(member(ONE, "Pending:Wait"), role=Role.CONTROL_PLANE),)
NO_GROUP = (group(member(TWO)),)
PAST_DEADLINE = NOW + DEADLINE
EARLIER = NOW - timedelta(days=1)


def decided(at: datetime = LATER, **changes: Any) -> Decision:
    return decide(launch(**changes), at, DEADLINE)


def listed_as(lifecycle_state: str) -> Any:
    return (group(member(ONE, lifecycle_state), member(TWO)),)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"instance": launched(state=InstanceState.PENDING)},
        {"groups": listed_as("Pending")},
        {"groups": listed_as("Pending:Proceed")},
        {"groups": listed_as("InService")},
        {"groups": (group(member(TWO)), group(member(ONE, "Pending:Wait"), name="large"))}
        | {"instance": launched(tags={GROUP_TAG: "large"}, zone="us-east-1b", subnet="subnet-2")},
        {"instance": launched(ipv6_addresses=("2600:1f18::7",), address=None)},
        {"instance": launched(tags={GROUP_TAG: WORKERS, ROLE_TAG: "control-plane"})},
        {"joins": (join(JoinState.ENDED, launched_at=EARLIER),)},
        {"approvals": (denied(launched_at=EARLIER),)},
        {"version": "v1.36.0"},
        {"version": "v1.36.3-eks-1234"},
        {"image_tags": {VERSION_TAG: "v1.36.0"}},
    ],
)
def test_a_machine_that_its_group_has_launched_is_given_a_token(changes: dict[str, Any]) -> None:
    decision = decided(**changes)
    assert isinstance(decision, Mint), decision
    assert decision.arriving.record is None
    assert decision.arriving.role is Role.WORKER


@pytest.mark.parametrize(
    ("old", "at"),
    [
        (join(JoinState.MINTING), NOW + timedelta(seconds=25)),
        (join(JoinState.MINTING, secret_uid="uid"), LATER),
        (join(expires_at=LATER), LATER),
        (join(expires_at=LATER + timedelta(seconds=60)), LATER),
        (join(expires_at=LATER - timedelta(hours=1)), LATER),
    ],
)
def test_a_token_that_was_not_delivered_or_runs_out_is_replaced(old: Any, at: datetime) -> None:
    decision = decided(at, joins=(old,))
    assert isinstance(decision, Mint), decision
    assert decision.arriving.record == old


@pytest.mark.parametrize("expires_in_s", [61, 900])
def test_a_token_that_is_good_is_kept(expires_in_s: int) -> None:
    decision = decided(joins=(join(expires_at=LATER + timedelta(seconds=expires_in_s)),))
    assert isinstance(decision, Keep)


def test_a_token_is_kept_without_asking_what_only_a_new_one_needs() -> None:
    assert isinstance(decided(joins=(join(),), version=UNKNOWN, image_tags=UNKNOWN, signing=("zzzzzz",)), Keep)


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "registered": ({"node": node(ONE)}, "its Node has registered"),
    "deadline": ({"at": PAST_DEADLINE}, "its time to join is over: 480 s from 12:00:00Z"),
    "denied": (
        {"approvals": (denied(),)},
        "the approver has proof against it: it asked for the name of another machine",
    ),
    "shutting down": ({"instance": launched(state=InstanceState.SHUTTING_DOWN)}, "EC2: shutting-down"),
    "stopping": ({"instance": launched(state=InstanceState.STOPPING)}, "EC2: stopping"),
    "stopped": ({"instance": launched(state=InstanceState.STOPPED)}, "EC2: stopped"),
    "terminated": ({"instance": launched(state=InstanceState.TERMINATED)}, "EC2: terminated"),
    "launched again": (
        {"instance": launched(launched_at=LATER - timedelta(seconds=30))},
        "it has been launched again, at 2026-11-21 12:01:30Z",
    ),
    "detached": (
        {"instance": launched(tags={CLUSTER_TAG: CLUSTER}), "groups": NO_GROUP},
        f"no group of the cluster lists it any more, {WORKERS} did",
    ),
    "in a group that is not ours": (
        {"instance": launched(tags={GROUP_TAG: "theirs"}), "groups": NO_GROUP},
        f"no group of the cluster lists it any more, {WORKERS} did",
    ),
    "an earlier launch that has ended": (
        {
            "instance": launched(launched_at=EARLIER, state=InstanceState.TERMINATED),
            "groups": NO_GROUP,
        },
        f"no group of the cluster lists it any more, {WORKERS} did",
    ),
    "unknown to EC2 and in no group": (
        {"instance": Absent(), "groups": NO_GROUP},
        f"no group of the cluster lists it any more, {WORKERS} did",
    ),
    "in another group": (
        {"groups": (group(member(ONE), name="other"),)},
        f"it is in other by now, not in {WORKERS}",
    ),
    "terminating": ({"groups": listed_as("Terminating:Wait")}, "Auto Scaling: Terminating:Wait"),
    "standby": ({"groups": listed_as("Standby")}, "Auto Scaling: Standby"),
    "detaching": ({"groups": listed_as("Detaching")}, "Auto Scaling: Detaching"),
    "to a warm pool": ({"groups": listed_as("Warmed:Pending:Wait")}, "Auto Scaling: Warmed:Pending:Wait"),
}


@pytest.mark.parametrize("state", [JoinState.MINTING, JoinState.ISSUED])
@pytest.mark.parametrize("end", ENDS)
def test_every_end_of_a_launch_takes_its_token_away(end: str, state: JoinState) -> None:
    changes, reason = ENDS[end]
    decision = decided(joins=(join(state),), **changes)
    assert isinstance(decision, Revoke), decision
    assert (decision.record, decision.reason) == (join(state), reason)


LISTINGS_WITHOUT_IT: dict[str, tuple[dict[str, Any], str]] = {
    "EC2 says that it runs": (
        {"groups": NO_GROUP},
        f"no group of the cluster lists it now, but by its tag it is of {WORKERS}",
    ),
    "EC2 says that it is about to": (
        {"instance": launched(state=InstanceState.PENDING), "groups": NO_GROUP},
        f"no group of the cluster lists it now, but by its tag it is of {WORKERS}",
    ),
    "its group is not listed either": (
        {"groups": ()},
        f"no group of the cluster lists it now, but by its tag it is of {WORKERS}",
    ),
    "by its tag it is of another group of ours": (
        {
            "instance": launched(tags={GROUP_TAG: "other"}),
            "groups": (group(member(TWO)), group(name="other")),
        },
        "no group of the cluster lists it now, but by its tag it is of other",
    ),
    "EC2 says nothing": (
        {"instance": UNKNOWN, "groups": NO_GROUP},
        "unknown: the service did not answer",
    ),
}


@pytest.mark.parametrize("state", [JoinState.MINTING, JoinState.ISSUED])
@pytest.mark.parametrize("case", LISTINGS_WITHOUT_IT)
def test_a_listing_without_the_machine_alone_takes_nothing_away(case: str, state: JoinState) -> None:
    """The next listing may have it again, and an ended record is final: the machine could never join."""
    changes, reason = LISTINGS_WITHOUT_IT[case]
    assert decided(joins=(join(state),), **changes) == Hold(reason)


@pytest.mark.parametrize("end", ENDS)
def test_what_a_call_may_still_be_making_is_not_taken_away_beside_it(end: str) -> None:
    changes, _ = ENDS[end]
    at = changes.get("at", LATER)
    busy = join(JoinState.MINTING, busy_until=at + timedelta(seconds=1))
    assert isinstance(decided(joins=(busy,), **changes), Hold)


@pytest.mark.parametrize("end", sorted(ENDS.keys() - {"registered"}))
def test_no_end_but_joining_needs_the_cluster_to_answer(end: str) -> None:
    changes, reason = ENDS[end]
    at = changes.get("at", LATER)
    facts = launch(joins=(join(),), **{name: fact for name, fact in changes.items() if name != "at"})
    first = decide_without_cluster(facts, at, DEADLINE)
    assert isinstance(first, Revoke)
    assert first.reason == reason


@pytest.mark.parametrize("end", ["deadline", "terminated", "launched again"])
def test_one_proof_of_the_end_is_enough_whatever_else_is_unknown(end: str) -> None:
    changes, reason = ENDS[end]
    unknown: dict[str, Any] = dict.fromkeys(("instance", "groups", "approvals", "node"), UNKNOWN)
    decision = decided(joins=(join(),), **(unknown | changes))
    assert isinstance(decision, Revoke)
    assert decision.reason == reason


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"instance": launched(state=InstanceState.TERMINATED)}, True),
        ({"instance": launched(state=InstanceState.STOPPED)}, False),
        ({"instance": Absent(), "groups": NO_GROUP}, True),
        ({"instance": Absent(), "at": PAST_DEADLINE}, False),
        ({"instance": Absent(), "groups": UNKNOWN, "at": PAST_DEADLINE}, False),
        ({"instance": launched(tags={}), "groups": NO_GROUP}, False),
        ({"node": node(ONE)}, False),
    ],
)
def test_a_record_may_be_forgotten_only_once_its_machine_can_never_come_back(
    changes: dict[str, Any], gone: bool
) -> None:
    decision = decided(joins=(join(),), **changes)
    assert isinstance(decision, Revoke)
    assert decision.gone is gone


def test_ended_records_of_a_machine_that_is_gone_may_be_forgotten() -> None:
    ended = (join(JoinState.ENDED, launched_at=EARLIER), join(JoinState.ENDED))
    decision = decided(instance=launched(state=InstanceState.TERMINATED), joins=ended)
    assert decision == Nothing("EC2: terminated", forget=ended)


@pytest.mark.parametrize("name", ["instance", "groups", "joins", "approvals"])
@pytest.mark.parametrize("joins", [(), (join(),), (join(JoinState.MINTING),)])
def test_what_aws_and_the_table_do_not_say_is_held(name: str, joins: Any) -> None:
    assert decided(**({"joins": joins} | {name: UNKNOWN})) == Hold("unknown: the service did not answer")


@pytest.mark.parametrize("name", ["node", "version", "signing", "approved_unseen", "api_server", "image_tags"])
def test_what_the_cluster_does_not_say_is_held(name: str) -> None:
    unknown: dict[str, Any] = {name: UNKNOWN}
    assert decided(**unknown) == Hold("unknown: the service did not answer")


def test_a_cluster_that_was_not_asked_is_no_cluster_that_says_yes() -> None:
    assert isinstance(decided(cluster_facts=None), Hold)


def test_whether_it_has_joined_is_not_guessed() -> None:
    assert isinstance(decided(joins=(join(),), node=UNKNOWN), Hold)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instance": Absent()}, "Auto Scaling lists it, EC2 does not know it"),
        ({"groups": NO_GROUP}, f"{WORKERS} has launched it by its tag, but does not list it yet"),
        (
            {"instance": launched(tags={CLUSTER_TAG: CLUSTER})},
            "Auto Scaling has not tagged it with its group's name yet",
        ),
        (
            {"joins": (join(launched_at=NOW + timedelta(seconds=9)),)},
            "EC2 shows an earlier launch than the one on record",
        ),
        (
            {"joins": (join(JoinState.ENDED, launched_at=EARLIER, busy_until=LATER + timedelta(seconds=1)),)},
            "the bundle of its earlier launch was just deleted, the new one has to wait",
        ),
        ({"version": "next"}, "unknown: the API server says 'next' for its version"),
    ],
)
def test_what_may_yet_become_true_is_held(changes: dict[str, Any], reason: str) -> None:
    assert decided(**changes) == Hold(reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instance": Absent(), "groups": NO_GROUP}, "EC2 does not know it"),
        ({"instance": launched(state=InstanceState.STOPPED)}, "EC2: stopped"),
        ({"instance": instance(ONE, tags={}), "groups": NO_GROUP}, "no group of the cluster lists it"),
        ({"groups": NO_GROUP, "at": PAST_DEADLINE}, "no group of the cluster lists it"),
        ({"groups": listed_as("Terminating:Wait")}, "Auto Scaling: Terminating:Wait"),
        ({"groups": listed_as("Warmed:Pending:Wait")}, "Auto Scaling: Warmed:Pending:Wait"),
        ({"at": PAST_DEADLINE}, "it was launched more than 480 s ago"),
        ({"node": node(ONE)}, "it has its Node"),
        ({"joins": (join(JoinState.ENDED),)}, "this launch had its token, and it has ended: it has joined"),
    ],
)
def test_a_machine_that_has_nothing_to_join_for_gets_nothing(changes: dict[str, Any], reason: str) -> None:
    assert decided(**changes) == Nothing(reason)


MEND_METADATA = (
    "set MetadataOptions in the group's launch template, and for this machine: "
    "aws ec2 modify-instance-metadata-options "
    f"--instance-id {ONE} --http-tokens required --http-put-response-hop-limit 1"
)
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "another machine's Node": (
        {"node": node(ONE, provider_id=f"aws:///us-east-1a/{TWO}")},
        f"there is a Node {ONE} that says it is aws:///us-east-1a/{TWO}; find out what it is, then: "
        f"kubectl delete node {ONE}",
    ),
    "a Node that says nothing": (
        {"node": node(ONE, provider_id="")},
        f"there is a Node {ONE} that has no providerID; find out what it is, then: kubectl delete node {ONE}",
    ),
    "a group without a role": (
        {"groups": (group(member(ONE), role=None),)},
        f"its group {WORKERS} has no regrow:role that we know; only machines of a group with "
        "regrow:role=worker or regrow:role=control-plane are let in",
    ),
    "a worker's token in a group of control planes": (
        {"groups": MASTERS, "joins": (join(),)},
        f"its token is a worker's, and its group {WORKERS} is tagged regrow:role=control-plane by now; tag the group "
        "as it was, or terminate the machine",
    ),
    "a control plane's token in a group of workers": (
        {"joins": (join(role=Role.CONTROL_PLANE),)},
        f"its token is a control-plane's, and its group {WORKERS} is tagged regrow:role=worker by now; tag the group "
        "as it was, or terminate the machine",
    ),
    "another group's": (
        {"instance": launched(tags={GROUP_TAG: "other"})},
        f"by its tag other has launched it, but {WORKERS} lists it; detach it from there",
    ),
    "denied before": (
        {"approvals": (denied(),)},
        "the approver has proof against it: it asked for the name of another machine",
    ),
    "an image without a version": (
        {"image_tags": {"Name": "worker"}},
        f"its image {IMAGE} is not tagged {VERSION_TAG}; say which kubelet it has: aws ec2 create-tags "
        f"--resources {IMAGE} --tags Key={VERSION_TAG},Value=vX.Y.Z",
    ),
    "an image that is gone": (
        {"image_tags": Absent()},
        f"EC2 no longer has its image {IMAGE}, so what it runs cannot be known; renew the launch template",
    ),
    "an older image": (
        {"image_tags": {VERSION_TAG: "v1.35.9"}},
        f"its image {IMAGE} has Kubernetes v1.35.9, the API server v1.36.3; the group needs an image of v1.36",
    ),
    "a newer image": (
        {"image_tags": {VERSION_TAG: "v1.37.0"}},
        f"its image {IMAGE} has Kubernetes v1.37.0, the API server v1.36.3; the group needs an image of v1.36",
    ),
    "approval of anything": (
        {"approved_unseen": ("system:bootstrappers:regrow:worker",)},
        "the cluster approves the requests of system:bootstrappers:regrow:worker unseen, under any name; delete every "
        "ClusterRoleBinding of theirs to system:certificates.k8s.io:certificatesigningrequests:nodeclient; "
        "kubeadm's own: kubectl delete clusterrolebinding kubeadm:node-autoapprove-bootstrap",
    ),
    "j03 credentials for whoever asks": (
        {"instance": launched(metadata_tokens="optional")},
        f"its metadata service answers without a session token (HttpTokens is optional); {MEND_METADATA}",
    ),
    "j03 credentials for pods": (
        {"instance": launched(metadata_hops=2)},
        f"its metadata service answers over 2 hops, which reaches pods; {MEND_METADATA}",
    ),
    "j03 both": (
        {"instance": launched(metadata_tokens="optional", metadata_hops=64)},
        "its metadata service answers without a session token (HttpTokens is optional) and answers over 64 hops, which "
        f"reaches pods; {MEND_METADATA}",
    ),
    "tokens in public": (
        {"signing": ("abcdef", "fedcba")},
        "tokens sign kube-public/cluster-info, where anybody can attack them: abcdef, fedcba; "
        "kubeadm token delete abcdef fedcba",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_a_person_has_to_mend_is_refused_with_the_way_to_mend_it(case: str) -> None:
    changes, reason = REFUSALS[case]
    assert decided(**changes) == Refuse(reason)


@pytest.mark.parametrize(
    "tag", ["1.36.3", "v1.36", "v1.36.3 ", " v1.36.3", "v1.36.3\n", "v1.36.x", "latest", "v1.36.3-rc.1"]
)
def test_a_version_tag_that_is_garbled_is_quoted_and_not_guessed_at(tag: str) -> None:
    decision = decided(image_tags={VERSION_TAG: tag})
    assert isinstance(decision, Refuse)
    assert f"is tagged {VERSION_TAG}={tag!r}, which is no version" in decision.reason
    assert f"aws ec2 create-tags --resources {IMAGE}" in decision.reason


def test_all_that_has_to_be_mended_is_said_at_once_and_before_what_is_unknown() -> None:
    decision = decided(image_tags={}, signing=("abcdef",), approved_unseen=UNKNOWN, version=UNKNOWN)
    assert isinstance(decision, Refuse)
    assert "create-tags" in decision.reason
    assert "kubeadm token delete abcdef" in decision.reason


def test_the_cluster_is_asked_only_about_a_launch_that_aws_and_the_table_prove() -> None:
    first = decide_without_cluster(launch(cluster_facts=None), LATER, DEADLINE)
    assert isinstance(first, Arriving)
    assert (first.instance, first.group.name, first.record) == (launched(), WORKERS, None)


# --- control planes: by the group's word as workers are, and one at a time, when the remediator has admitted it

OTHERS: dict[str, tuple[Any, str | None]] = {
    "nobody": ((), None),
    "another control plane": ((join(instance=TWO, role=Role.CONTROL_PLANE),), f"{TWO} is joining as a control plane"),
    "another one whose token is being made": (
        (join(JoinState.MINTING, instance=TWO, role=Role.CONTROL_PLANE),),
        f"{TWO} is joining as a control plane",
    ),
    "one that has ended": ((join(JoinState.ENDED, instance=TWO, role=Role.CONTROL_PLANE),), None),
    "a worker": ((join(instance=TWO),), None),
    "the machine itself": ((join(role=Role.CONTROL_PLANE, expires_at=NOW),), None),
    "nobody knows": (UNKNOWN, "unknown: the service did not answer"),
    "nobody asked": (None, "unknown: the table was not asked whose turn it is"),
}
ADMISSIONS: dict[str, tuple[Any, str | None]] = {
    "its own": (admission(), None),
    "its own, for just long enough": (admission(until=LATER + timedelta(seconds=25)), None),
    "its own, written in the moment of its launch": (admission(written_at=NOW), None),
    "none": (Absent(), "no control plane is admitted"),
    "another's": (admission(instance=TWO), f"{TWO} is admitted as a control plane, not this machine"),
    "over": (admission(until=LATER), "its admission is over, or almost: it ends at 12:02:00Z"),
    "almost over": (
        admission(until=LATER + timedelta(seconds=24)),
        "its admission is over, or almost: it ends at 12:02:24Z",
    ),
    "over since yesterday": (admission(until=EARLIER), "its admission is over, or almost: it ends at 12:00:00Z"),
    "of an earlier launch": (
        admission(written_at=NOW - timedelta(seconds=1)),
        "its admission is of an earlier launch",
    ),
    "nobody knows": (UNKNOWN, "unknown: the service did not answer"),
    "nobody asked": (None, "unknown: the table was not asked whose turn it is"),
}


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("admitted", ADMISSIONS)
@pytest.mark.parametrize("own", [(), (join(role=Role.CONTROL_PLANE, expires_at=NOW),)], ids=["new", "again"])
def test_a_control_plane_gets_a_token_only_when_it_alone_is_admitted_and_nobody_else_is_joining(
    own: Any, admitted: str, others: str
) -> None:
    (admission_, not_admitted), (all_joins, somebody) = ADMISSIONS[admitted], OTHERS[others]
    decision = decided(groups=MASTERS, joins=own, admission=admission_, all_joins=all_joins)
    if not_admitted or somebody:
        assert isinstance(decision, Hold), decision
        assert decision.reason in (not_admitted, somebody)
    else:
        assert isinstance(decision, Mint), decision
        assert decision.arriving.role is Role.CONTROL_PLANE
        assert decision.arriving.record == (own[0] if own else None)


@pytest.mark.parametrize(
    ("kubeadm", "older"), [("v1.34.8", True), ("v1.35.0", True), ("v1.35.99", True), ("v1.36.0", False)]
)
def test_a_control_plane_whose_kubeadm_is_older_than_the_api_server_is_refused_though_it_is_its_turn(
    kubeadm: str, older: bool
) -> None:
    """Its kubeadm would write the static pods of an older release beside newer ones."""
    image = {VERSION_TAG: kubeadm}
    decision = decided(groups=MASTERS, admission=admission(), all_joins=(), image_tags=image, version="v1.36.3")
    if older:
        reason = (
            f"its image {IMAGE} has Kubernetes {kubeadm}, the API server v1.36.3; the group needs an image of v1.36"
        )
        assert decision == Refuse(reason)
    else:
        assert isinstance(decision, Mint)


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("admitted", ADMISSIONS)
@pytest.mark.parametrize("tag", ["worker", "control-plane", "neither"])
def test_e10_no_admission_and_no_tag_of_its_own_makes_a_worker_a_control_plane(
    tag: str, admitted: str, others: str
) -> None:
    machine = launched(tags={GROUP_TAG: WORKERS, ROLE_TAG: tag})
    decision = decided(instance=machine, admission=ADMISSIONS[admitted][0], all_joins=OTHERS[others][0])
    assert isinstance(decision, Mint)
    assert decision.arriving.role is Role.WORKER


@pytest.mark.parametrize("tag", ["worker", "control-plane", "neither"])
def test_e10_a_control_planes_group_is_enough_whatever_the_machine_is_tagged(tag: str) -> None:
    machine = launched(tags={GROUP_TAG: WORKERS, ROLE_TAG: tag})
    facts: dict[str, Any] = {"instance": machine, "groups": MASTERS, "all_joins": ()}
    assert isinstance(decided(**facts, admission=Absent()), Hold)
    decision = decided(**facts, admission=admission())
    assert isinstance(decision, Mint)
    assert decision.arriving.role is Role.CONTROL_PLANE


@pytest.mark.parametrize("admitted", ADMISSIONS)
def test_a_control_planes_token_is_not_taken_away_in_the_middle_of_its_join(admitted: str) -> None:
    """It may be a voter already: without its certificate it would be one without a Node."""
    own = (join(role=Role.CONTROL_PLANE),)
    assert isinstance(decided(groups=MASTERS, joins=own, admission=ADMISSIONS[admitted][0], all_joins=own), Keep)


@pytest.mark.parametrize("end", sorted(ENDS.keys() - {"in another group"}))
def test_every_end_of_a_launch_takes_a_control_planes_token_away(end: str) -> None:
    changes, reason = ENDS[end]
    groups = changes.get("groups", (group(member(ONE, "Pending:Wait")),))
    masters = tuple(replace(one, role=Role.CONTROL_PLANE) for one in groups)
    own = join(role=Role.CONTROL_PLANE)
    decision = decided(**(changes | {"groups": masters, "joins": (own,)}))
    assert isinstance(decision, Revoke), decision
    assert (decision.record, decision.reason) == (own, reason)


@pytest.mark.parametrize(
    "case", [case for case, (changes, _) in REFUSALS.items() if not {"groups", "joins"} & changes.keys()]
)
def test_what_a_person_has_to_mend_is_refused_of_a_control_plane_too(case: str) -> None:
    changes, reason = REFUSALS[case]
    assert decided(**changes, groups=MASTERS, admission=admission(), all_joins=()) == Refuse(reason)
