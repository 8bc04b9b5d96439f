"""Every call to AWS that a function's edges make passes under its role, and the calls of the others' edges do not."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.cluster.doubt import Doubt
from functions.cluster.facts import Abandoned, Absent, Case, Pause, Phase, Record
from functions.cluster.joining import Approval, JoinState
from functions.cluster.machine import Instance, InstanceId, Role, Transition
from functions.cluster.radius import Brake
from functions.edges.alerts import AlertsEdge
from functions.edges.autoscaling import AutoScalingEdge
from functions.edges.bundles import BundlesEdge
from functions.edges.ec2 import Ec2Edge
from functions.edges.load_balancing import LoadBalancingEdge
from functions.edges.parameters import read_credentials, read_initialised_by
from functions.edges.queues import QueuesEdge
from functions.edges.table import TableEdge
from functions.errors import ConfigurationError
from functions.join.delivery import ApiServer, Bundle
from functions.join.token import draw
from functions.messages import Look, Order
from tests.integration.cloud.access.account import CLUSTER, IMAGE, REFUSALS, Account, outcome
from tests.unit.functions.join.mint.launches import join

WORKERS, MASTERS = f"regrow-{CLUSTER}-worker", f"regrow-{CLUSTER}-control-plane"
FUNCTIONS = ("remediate", "sweep", "drill", "mint", "approve")
IDENTITY = {"remediate": "remediate", "sweep": "remediate", "drill": "remediate", "mint": "mint", "approve": "approve"}
API_SERVER = ApiServer("https://api.tried.test:6443", b"-----BEGIN CERTIFICATE-----\n")
NOW = datetime.now(UTC).replace(microsecond=0)
KEPT = NOW + timedelta(days=400)


@pytest.fixture(scope="module", autouse=True)
def _published(account: Account) -> None:
    """What a control plane has published."""
    ssm, some = account.client("ssm"), base64.b64encode(b"some").decode()
    fields = ("ca_data", "client_certificate_data", "client_key_data")
    kubeconfig = json.dumps({"server": API_SERVER.url, **dict.fromkeys(fields, some)})
    for identity in set(IDENTITY.values()):
        ssm.put_parameter(Name=f"/regrow/{CLUSTER}/kubeconfig/{identity}", Value=kubeconfig, Type="SecureString")
    founder = account.members(MASTERS)[0]
    ssm.put_parameter(Name=f"/regrow/{CLUSTER}/initialised-by", Value=founder, Type="String")


@dataclass(frozen=True)
class Edges:
    """The edges as one function has them."""

    account: Account
    function: str

    def client(self, service: str) -> Any:
        return self.account.client(service, self.account.function(self.function))

    @property
    def machine(self) -> InstanceId:
        return InstanceId(self.account.members(WORKERS)[0])

    @property
    def ec2(self) -> Ec2Edge:
        return Ec2Edge(self.client("ec2"))

    @property
    def autoscaling(self) -> AutoScalingEdge:
        return AutoScalingEdge(self.client("autoscaling"))

    @property
    def load_balancing(self) -> LoadBalancingEdge:
        return LoadBalancingEdge(self.client("elbv2"), self.client("elb"))

    @property
    def table(self) -> TableEdge:
        return TableEdge(self.client("dynamodb"), table=self.account.outputs["TableName"])

    @property
    def bundles(self) -> BundlesEdge:
        return BundlesEdge(self.client("ssm"), cluster=CLUSTER, beside_arn=self.account.outputs["TopicArn"])

    @property
    def queues(self) -> QueuesEdge:
        outputs = self.account.outputs
        return QueuesEdge(
            self.client("sqs"), pass_queue_url=outputs["PassQueueUrl"], inbox_queue_url=outputs["InboxQueueUrl"]
        )

    @property
    def alerts(self) -> AlertsEdge:
        return AlertsEdge(self.client("sns"), topic_arn=self.account.outputs["TopicArn"])

    def identity(self, name: str) -> None:
        read_credentials(self.client("ssm"), f"/regrow/{CLUSTER}/kubeconfig/{name}")

    def founder(self) -> InstanceId | None:
        return read_initialised_by(self.client("ssm"), CLUSTER)

    def write_join(self) -> None:
        first = join(JoinState.MINTING, instance=_some_machine())
        issued = replace(first, state=JoinState.ISSUED, secret_uid="uid")
        self.table.write_join(first, instead_of=None, keep_until=None)
        self.table.write_join(issued, instead_of=first, keep_until=KEPT)

    def write_approval(self) -> None:
        approval = Approval(_some_machine(), NOW)
        self.table.write_approval(approval, instead_of=None, keep_until=KEPT)
        self.table.write_approval(replace(approval, client_uid="1"), instead_of=approval, keep_until=KEPT)

    def write_key(self) -> None:
        key = secrets.token_hex(32)
        for _ in range(2):
            self.table.write_key(key, "the launch", keep_until=KEPT)

    def bundle(self) -> None:
        machine = _some_machine()
        self.bundles.put(Bundle(CLUSTER, API_SERVER, draw(machine, Role.WORKER, secrets.choice, now=NOW)))
        assert not self.bundles.holds(machine, "another's")
        assert self.bundles.delete(machine)
        assert not self.bundles.delete(machine)

    def a_case(self) -> None:
        case = Case(_some_machine(), NOW, Phase.CLEANING, WORKERS, None)
        self.table.open_case(case, max_in_flight=3)
        self.table.await_replacement(case.instance)
        self.table.close_case(case.instance)

    def a_pause(self) -> None:
        self.table.pause(Pause(WORKERS, NOW, "a test"))
        self.table.resume(WORKERS)

    def a_word(self) -> None:
        assert self.table.first_time("a test", now=NOW, within=timedelta(days=1))
        self.table.unsay("a test")

    def a_record(self) -> None:
        machine = _some_machine()
        self.table.remember(Record(machine, WORKERS, Role.WORKER, machine, "uid", NOW))


def _some_machine() -> InstanceId:
    return InstanceId(f"i-0{secrets.token_hex(8)}")


Call = Callable[[Edges], object]
CALLS: dict[str, tuple[set[str], Call]] = {
    "see an instance": (set(FUNCTIONS), lambda edges: edges.ec2.instance(edges.machine)),
    "see an instance that is not there": (set(FUNCTIONS), lambda edges: edges.ec2.instance(_some_machine())),
    "see the fleet": (set(FUNCTIONS), lambda edges: edges.ec2.fleet(CLUSTER)),
    "see the groups": (set(FUNCTIONS), lambda edges: edges.autoscaling.groups(CLUSTER)),
    "see what an image is tagged with": ({"mint"}, lambda edges: edges.ec2.image_tags(IMAGE)),
    "read the boot log": ({"remediate"}, lambda edges: edges.ec2.console_output(edges.machine)),
    "order a later look": (
        {"remediate", "drill"},
        lambda edges: edges.queues.look_later(Look(edges.machine, "a test"), now=NOW, after=timedelta(seconds=2)),
    ),
    "order a look now": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.queues.look_now(Order(Look(edges.machine, "a test"), "a test")),
    ),
    "see what EC2 has scheduled for a machine": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.ec2.scheduled_events(edges.machine),
    ),
    "see all that EC2 has scheduled": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.ec2.all_scheduled_events(),
    ),
    "see which Spot machines are to be taken": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.ec2.spot_interruptions(now=NOW),
    ),
    "tell a person": ({"remediate", "sweep"}, lambda edges: edges.alerts.alert("a test", "nothing is wrong")),
    "see which hooks hold a machine": (
        {"remediate"},
        lambda edges: edges.autoscaling.heartbeat(edges.machine, WORKERS, Transition.TERMINATING),
    ),
    "take a machine out of a target group": (
        {"remediate"},
        lambda edges: edges.load_balancing.deregister(edges.machine, edges.account.outputs["ApiTargetGroupArn"]),
    ),
    "put it back into a target group": (
        {"remediate"},
        lambda edges: edges.load_balancing.register(edges.machine, edges.account.outputs["ApiTargetGroupArn"]),
    ),
    "see where it is a target": (
        {"remediate", "drill"},
        lambda edges: edges.load_balancing.targets(edges.machine, (edges.account.outputs["ApiTargetGroupArn"],)),
    ),
    "suspend launches": (
        {"remediate"},
        lambda edges: edges.autoscaling.suspend_launch(MASTERS, "a test", until=NOW),
    ),
    "resume launches": ({"sweep"}, lambda edges: edges.autoscaling.resume_launch(MASTERS)),
    "read all that is known of a machine": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.table.memory(edges.machine, now=NOW),
    ),
    "read its join records": (set(FUNCTIONS), lambda edges: edges.table.joins_of(edges.machine)),
    "read what was written down of machines": (
        {"remediate", "sweep", "drill", "approve"},
        lambda edges: edges.table.records(),
    ),
    "read all join records": (set(FUNCTIONS), lambda edges: edges.table.joins()),
    "read its approvals": (set(FUNCTIONS), lambda edges: edges.table.approvals_of(edges.machine)),
    "read whose a key is": (
        {"remediate", "sweep", "drill", "approve"},
        lambda edges: edges.table.launch_of_key("ab" * 32),
    ),
    "read the cases": ({"remediate", "sweep", "drill"}, lambda edges: edges.table.cases()),
    "read the history": ({"remediate", "sweep", "drill"}, lambda edges: edges.table.history(edges.machine)),
    "read which control plane is admitted": (
        {"remediate", "sweep", "drill", "mint"},
        lambda edges: edges.table.admission(),
    ),
    "write a join record": ({"mint"}, Edges.write_join),
    "write an approval": ({"approve"}, Edges.write_approval),
    "bind a key to a launch": ({"approve"}, Edges.write_key),
    "open and close a case": ({"remediate"}, Edges.a_case),
    "pause and resume": ({"drill"}, Edges.a_pause),
    "say something once": ({"remediate", "sweep"}, Edges.a_word),
    "write down a machine": ({"remediate", "sweep"}, Edges.a_record),
    "forget a machine": ({"remediate"}, lambda edges: edges.table.forget(edges.machine)),
    "write history": ({"remediate"}, lambda edges: edges.table.write_history(edges.machine, NOW, {})),
    "count a launch that was given up": (
        {"remediate"},
        lambda edges: edges.table.note_abandoned(Abandoned(WORKERS, edges.machine), at=NOW),
    ),
    "leave a bundle and delete it": ({"mint"}, Edges.bundle),
    "read which machine founded the cluster": ({"approve"}, Edges.founder),
    "be the remediator": ({"remediate", "sweep", "drill"}, lambda edges: edges.identity("remediate")),
    "be the minter": ({"mint"}, lambda edges: edges.identity("mint")),
    "be the approver": ({"approve"}, lambda edges: edges.identity("approve")),
    "see which status checks fail": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.ec2.impairments((edges.machine,)),
    ),
    "see whether a group is being refreshed": (
        {"remediate", "sweep", "drill"},
        lambda edges: edges.autoscaling.refreshing(WORKERS),
    ),
    "reboot a machine": ({"remediate"}, lambda edges: edges.ec2.reboot(edges.machine)),
    "remember trouble": (
        {"remediate"},
        lambda edges: edges.table.note_doubt(Doubt(edges.machine, WORKERS, NOW), at=NOW),
    ),
    "hold a brake": ({"sweep"}, lambda edges: edges.table.note_brake(Brake("zone us-east-1a", "a test", NOW))),
}


def allowed(call: Call, edges: Edges) -> bool:
    """A refusal is for a person to mend, and so a ConfigurationError; nothing else here may be one."""
    try:
        call(edges)
    except ConfigurationError as error:
        assert any(refusal in str(error) for refusal in REFUSALS), error
        return False
    return True


@pytest.mark.parametrize("what", CALLS)
def test_each_edge_works_for_the_functions_that_use_it_and_for_no_other(account: Account, what: str) -> None:
    functions, call = CALLS[what]
    assert {function for function in FUNCTIONS if allowed(call, Edges(account, function))} == functions


def test_what_the_minter_and_the_approver_read_is_really_there(account: Account) -> None:
    for function in ("mint", "approve"):
        edges = Edges(account, function)
        assert isinstance(edges.ec2.instance(edges.machine), Instance)
        assert edges.ec2.instance(_some_machine()) == Absent()
        assert {group.name for group in edges.autoscaling.groups(CLUSTER)} == {WORKERS, MASTERS}
    assert Edges(account, "approve").founder() == account.members(MASTERS)[0]


JOIN = f"/regrow/{CLUSTER}/join/i-0123456789abcdef0"
TAGS = {
    "regrow:cluster": CLUSTER,
    "InstanceArn": "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"Tags": {}},
        {"Tags": {"regrow:cluster": CLUSTER}},
        {"Tags": {**TAGS, "regrow:cluster": "stranger"}},
        {"Tags": {**TAGS, "InstanceArn": "arn:aws:ec2:us-east-1:999999999999:instance/i-0123456789abcdef0"}},
        {"Tags": {**TAGS, "InstanceArn": "*"}},
        {"Name": f"/regrow/{CLUSTER}/initialised-by"},
        {"Name": f"/regrow/{CLUSTER}/kubeconfig/mint"},
        {"Name": "/regrow/stranger/join/i-0123456789abcdef0"},
        {"Tier": "Advanced"},
    ],
    ids=str,
)
def test_the_minter_leaves_nothing_but_standard_bundles_that_are_bound_to_an_instance(
    account: Account, changes: dict[str, Any]
) -> None:
    whole: dict[str, Any] = {"Name": JOIN, "Value": "v", "Type": "SecureString", "Tags": TAGS} | changes
    whole["Tags"] = [{"Key": key, "Value": value} for key, value in whole["Tags"].items()]
    client = Edges(account, "mint").client("ssm")
    assert outcome(client, "put_parameter", **whole) == "AccessDeniedException"


def test_the_minter_can_neither_read_nor_change_what_it_left(account: Account) -> None:
    edges, machine = Edges(account, "mint"), _some_machine()
    edges.bundles.put(Bundle(CLUSTER, API_SERVER, draw(machine, Role.WORKER, secrets.choice, now=NOW)))
    ssm, name = edges.client("ssm"), f"/regrow/{CLUSTER}/join/{machine}"
    new = {"Value": "v", "Type": "SecureString", "Overwrite": True}
    assert outcome(ssm, "get_parameter", Name=name) == "AccessDeniedException"
    assert outcome(ssm, "get_parameters_by_path", Path=f"/regrow/{CLUSTER}/join") == "AccessDeniedException"
    assert outcome(ssm, "put_parameter", Name=name, **new) == "AccessDeniedException"
    assert edges.bundles.delete(machine)
