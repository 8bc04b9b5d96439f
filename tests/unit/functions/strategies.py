"""Any facts that one pass can come to hold, for properties that no table of cases can cover."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from functions.cluster.facts import Abandoned, Absent, Facts, Fleet, Memory, Phase, Unknown
from functions.cluster.joining import JoinState
from functions.cluster.machine import (
    CLUSTER_TAG,
    DRAINING_ANNOTATION,
    GROUP_TAG,
    NOTICE_ANNOTATION,
    PAUSE_ANNOTATION,
    PAUSE_TAG,
    ROLE_TAG,
    InstanceState,
    Role,
    Target,
)
from functions.cluster.notice import SPOT_WARNS, Cause, Notice, ScheduledEvent
from tests.unit.functions.builders import (
    CLUSTER,
    NOW,
    ONE,
    OUT_OF_SERVICE,
    TARGET_GROUP,
    THREE,
    TWO,
    WORKERS,
    approval,
    case,
    control_plane_node,
    group,
    instance,
    join,
    member,
    node,
    pause,
    pod,
    record,
)

OLD = (NOW - timedelta(hours=2)).isoformat()
OPT_OUTS = st.sampled_from([f"{(NOW + timedelta(days=days)).isoformat()} it is looked at" for days in (-1, 1, 30)])
UNKNOWN = st.just(Unknown("the service did not answer"))
ABSENT = st.just(Absent())
TAGS = st.fixed_dictionaries(
    {},
    optional={
        CLUSTER_TAG: st.sampled_from([CLUSTER, "other"]),
        ROLE_TAG: st.sampled_from(["worker", "control-plane", "gardener"]),
        GROUP_TAG: st.sampled_from([WORKERS, "gone"]),
        PAUSE_TAG: OPT_OUTS,
    },
)
INSTANCES = st.builds(
    instance,
    st.just(ONE),
    st.sampled_from(InstanceState),
    tags=TAGS | st.just(instance().tags),
    launched_at=st.sampled_from([NOW - timedelta(seconds=30), NOW - timedelta(minutes=9), NOW - timedelta(days=1)]),
    spot=st.booleans(),
)
LIFECYCLE_STATES = (
    "InService", "Terminating", "Terminating:Wait", "Pending", "Pending:Wait", "Pending:Proceed", "Warmed:Pending:Wait",
    "Standby",
)  # fmt: skip
MEMBERS = st.builds(member, st.just(ONE), st.sampled_from(LIFECYCLE_STATES))
GROUPS = st.builds(
    lambda ours, role, targets: group(*ours, member(TWO), role=role, target_groups=targets),
    st.lists(MEMBERS, max_size=1),
    st.sampled_from([Role.WORKER, Role.WORKER, Role.CONTROL_PLANE, None]),
    st.sampled_from([(), ("arn:aws:elasticloadbalancing:web",)]),
)
FLEETS = st.builds(Fleet, st.lists(GROUPS, max_size=1).map(tuple), st.booleans())
NODES = st.builds(
    node,
    st.just(ONE),
    provider_id=st.sampled_from(["", f"aws:///us-east-1a/{ONE}", f"aws:///us-east-1a/{TWO}", "kind://x"]),
    ready=st.booleans(),
    unschedulable=st.booleans(),
    taints=st.sampled_from([(), (OUT_OF_SERVICE,)]),
    addresses=st.sampled_from([(), ("10.77.1.1",), ("10.77.1.2",)]),
    annotations=st.sampled_from(
        [
            {},
            *({DRAINING_ANNOTATION: since} for since in ("soon", NOW.isoformat(), OLD)),
            {NOTICE_ANNOTATION: Notice(Cause.SPOT, "stop", NOW, NOW + SPOT_WARNS).to_json()},
            {
                NOTICE_ANNOTATION: Notice(Cause.MAINTENANCE, "instance-reboot", NOW, NOW).to_json(),
                DRAINING_ANNOTATION: OLD,
            },
            {NOTICE_ANNOTATION: "what?"},
            {PAUSE_ANNOTATION: f"{(NOW + timedelta(days=1)).isoformat()} it is looked at"},
            {PAUSE_ANNOTATION: "2099-01-01T00:00:00Z", DRAINING_ANNOTATION: OLD},
        ]
    ),
) | st.just(control_plane_node())
CASES = st.builds(case, st.just(ONE), st.sampled_from(Phase), group=st.sampled_from([WORKERS, None]))
RECORDS = st.builds(
    record,
    st.just(ONE),
    st.sampled_from([timedelta(minutes=1), timedelta(days=1)]),
    role=st.sampled_from([Role.WORKER, Role.WORKER, Role.CONTROL_PLANE]),
)
JOINS = st.builds(
    join,
    st.just(ONE),
    st.sampled_from(JoinState),
    launched_at=st.sampled_from([NOW - timedelta(seconds=30), NOW - timedelta(days=1)]),
    expires_at=st.sampled_from([NOW, NOW + timedelta(minutes=10)]),
)
APPROVALS = st.builds(
    approval,
    st.just(ONE),
    client_at=st.sampled_from([None, NOW]),
    serving_at=st.sampled_from([None, NOW]),
    denied=st.sampled_from([None, None, "it asked to be another"]),
)
MEMORIES = st.builds(
    Memory,
    st.none() | CASES,
    st.none() | RECORDS,
    st.sampled_from([(), (pause(),), (pause(TWO),)]),
    st.frozensets(st.sampled_from([ONE, TWO])),
    st.lists(JOINS, max_size=1).map(tuple),
    st.lists(APPROVALS, max_size=1).map(tuple),
    st.sampled_from([(), (Abandoned(WORKERS, TWO),), (Abandoned(WORKERS, TWO), Abandoned(WORKERS, THREE))]),
)
POD = st.builds(replace, st.sampled_from([pod(), pod("db-0"), pod("job", finished=True)]), **dict.fromkeys(
    ("ending", "mirror", "daemon"), st.booleans()
))  # fmt: skip
PODS = st.lists(POD, max_size=3).map(tuple)
NOTICES = st.builds(
    lambda cause, minutes: Notice(cause, "terminate", NOW, NOW + timedelta(minutes=minutes)),
    st.sampled_from(Cause),
    st.sampled_from([-20, -3, 0, 1, 2, 45, 3 * 60]),
)
EVENTS = st.builds(
    lambda minutes, said: ScheduledEvent("instance-reboot", NOW + timedelta(minutes=minutes), said),
    st.sampled_from([-5, 30, 7 * 24 * 60]),
    st.sampled_from(["", "[Completed] done", "[Canceled] not needed"]),
)
TARGETS = st.lists(st.builds(Target, st.sampled_from([TARGET_GROUP, "classic"]), st.booleans()), max_size=2).map(tuple)
FACTS = st.builds(
    Facts,
    st.just(CLUSTER),
    st.just(ONE),
    st.just(NOW),
    INSTANCES | ABSENT | UNKNOWN,
    FLEETS | UNKNOWN,
    MEMORIES | UNKNOWN,
    NODES | ABSENT | UNKNOWN,
    PODS | UNKNOWN,
    st.sampled_from([(), ("csi-1",)]) | UNKNOWN,
    targets=TARGETS | UNKNOWN,
    told=st.none() | NOTICES,
    scheduled=st.lists(EVENTS, max_size=2).map(tuple) | UNKNOWN,
    nodes_ready=st.sampled_from([{}, {TWO: True}, {TWO: False}, {ONE: True, TWO: True}]) | UNKNOWN,
)
