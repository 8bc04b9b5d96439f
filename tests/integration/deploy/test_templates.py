"""The CloudFormation templates: AWS's linter takes them, and what they make is what the contracts say."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from operator import ge, gt
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.cluster.joining import TOKEN_GROUPS
from functions.cluster.machine import Role
from functions.edges.journal import JournalEdge
from functions.join.approve import DENIED_METRIC
from functions.join.issued import LONGEST_LIFE
from infra.deploy import CHECKOUT, TEMPLATE
from infra.deployment.project import FUNCTIONS
from infra.deployment.stack import ensure_stack, first_failure, remove_stack
from infra.node.actions import ACTIONS
from infra.node.initialise import FUNCTION_GROUPS, JOINING_GROUPS, MINTING_POLICY
from infra.node.restarting import IN_ORDER_S, ONCE_ENDED_S, UNITS
from tests.integration.deploy.conftest import Site
from tests.templates import resources

TEMPLATES = [CHECKOUT / "infra" / "cluster" / "template.yaml", TEMPLATE]
ROLES = {"IntakeRole", "RemediateRole", "SweepRole", "DrillRole", "MintRole", "ApproveRole"}
MANIFESTS = CHECKOUT / "infra" / "kubernetes"


def silent(_: str) -> None:
    """Says nothing."""


def statements(role: str) -> list[dict[str, Any]]:
    """What a role of the remediator may do: its own policies and those that name it."""
    made = resources(TEMPLATE)
    documents = [policy["PolicyDocument"] for policy in made[role]["Properties"]["Policies"]]
    shared = [entry["Properties"] for entry in made.values() if entry["Type"] == "AWS::IAM::Policy"]
    documents += [policy["PolicyDocument"] for policy in shared if role in policy["Roles"]]
    return [statement for document in documents for statement in document["Statement"]]


def named(statement: dict[str, Any], field: str) -> set[str]:
    """What a statement says in a field that may hold one or several."""
    given = statement[field]
    return {given} if isinstance(given, str) else set(given)


def actions(role: str) -> set[str]:
    """What a role is granted."""
    granted = (statement for statement in statements(role) if statement["Effect"] == "Allow")
    return {action for statement in granted for action in named(statement, "Action")}


@pytest.fixture
def stack(site: Site) -> dict[str, str]:
    formation = site.client("cloudformation")
    parameters = {"ClusterName": "tried", "AlarmEmail": ""}
    return ensure_stack(formation, "regrow-tried-remediator", TEMPLATE.read_text(), parameters, silent)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.parent.name)
def test_awss_linter_finds_nothing(template: Path) -> None:
    linter = Path(sys.executable).parent / "cfn-lint"
    done = subprocess.run([str(linter), str(template)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_stack_that_fits_is_left_alone(site: Site, stack: dict[str, str]) -> None:
    said: list[str] = []
    formation = site.client("cloudformation")
    parameters = {"ClusterName": "tried", "AlarmEmail": ""}
    again = ensure_stack(formation, "regrow-tried-remediator", TEMPLATE.read_text(), parameters, said.append)
    assert again == stack
    assert said == ["stack regrow-tried-remediator fits"]


def test_passes_wait_in_order_and_end_among_the_dead_after_five_tries(site: Site, stack: dict[str, str]) -> None:
    sqs = site.client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=stack["PassQueueUrl"], AttributeNames=["All"])["Attributes"]
    assert found["FifoQueue"] == "true"
    assert found["ContentBasedDeduplication"] == "false"
    assert found["VisibilityTimeout"] == "40"
    redrive = json.loads(found["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"].endswith(":regrow-tried-pass-dead.fifo")
    assert int(redrive["maxReceiveCount"]) == 5


def test_the_inbox_takes_what_auto_scaling_sends_and_keeps_what_fails(site: Site, stack: dict[str, str]) -> None:
    sqs = site.client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=stack["InboxQueueUrl"], AttributeNames=["All"])["Attributes"]
    assert found["QueueArn"] == stack["InboxQueueArn"]
    assert found.get("FifoQueue", "false") == "false"  # Auto Scaling sends to no FIFO queue
    assert int(found["VisibilityTimeout"]) > next(one.timeout_s for one in FUNCTIONS if one.name == "intake")
    assert json.loads(found["RedrivePolicy"])["deadLetterTargetArn"].endswith(":regrow-tried-inbox-dead")


def test_topics_and_rules_of_this_account_may_send_to_the_inbox() -> None:
    policy = resources(TEMPLATE)["InboxPolicy"]["Properties"]
    assert policy["Queues"] == ["InboxQueue"]
    (allowed,) = policy["PolicyDocument"]["Statement"]
    assert (allowed["Effect"], allowed["Action"]) == ("Allow", "sqs:SendMessage")
    assert allowed["Resource"] == "InboxQueue.Arn"
    assert allowed["Principal"] == {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}
    here = "${AWS::Region}:${AWS::AccountId}"
    senders = [f"arn:${{AWS::Partition}}:sns:{here}:*", f"arn:${{AWS::Partition}}:events:{here}:rule/*"]
    assert allowed["Condition"] == {"ArnLike": {"aws:SourceArn": senders}}


def test_auto_scaling_may_send_to_the_inbox_and_do_nothing_else() -> None:
    role = resources(TEMPLATE)["InboxSenderRole"]["Properties"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "autoscaling.amazonaws.com"}
    (granted,) = [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
    assert set(granted["Action"]) == {"sqs:SendMessage", "sqs:GetQueueUrl"}
    assert granted["Resource"] == "InboxQueue.Arn"


def test_the_table_has_the_keys_that_records_use(site: Site, stack: dict[str, str]) -> None:
    keys = site.client("dynamodb").describe_table(TableName=stack["TableName"])["Table"]["KeySchema"]
    assert [(key["AttributeName"], key["KeyType"]) for key in keys] == [("pk", "HASH"), ("sk", "RANGE")]


def test_every_role_of_the_template_is_in_the_account_with_its_shared_policies(
    site: Site, stack: dict[str, str]
) -> None:
    iam = site.client("iam")
    for role in ROLES:
        name = stack[f"{role}Arn"].rpartition("/")[2]
        shared = {
            entry["Properties"]["PolicyName"]
            for entry in resources(TEMPLATE).values()
            if entry["Type"] == "AWS::IAM::Policy" and role in entry["Properties"]["Roles"]
        }
        assert shared <= set(iam.list_role_policies(RoleName=name)["PolicyNames"])


def test_only_the_drill_may_terminate_and_only_workers_of_its_cluster() -> None:
    for role in ROLES - {"DrillRole"}:
        assert "ec2:TerminateInstances" not in actions(role)
    granted = [s for s in statements("DrillRole") if s["Action"] == "ec2:TerminateInstances"]
    assert [s["Condition"] for s in granted] == [
        {"StringEquals": {"ec2:ResourceTag/regrow:cluster": "ClusterName", "ec2:ResourceTag/regrow:role": "worker"}}
    ]


def who_may(action: str) -> set[str]:
    return {role for role in ROLES if action in actions(role)}


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        ("autoscaling:CompleteLifecycleAction", {"RemediateRole"}),
        ("autoscaling:RecordLifecycleActionHeartbeat", {"RemediateRole"}),
        ("autoscaling:SuspendProcesses", {"RemediateRole"}),
        ("autoscaling:ResumeProcesses", {"SweepRole"}),
        ("autoscaling:CreateOrUpdateTags", {"RemediateRole"}),
        ("autoscaling:TerminateInstanceInAutoScalingGroup", {"RemediateRole"}),
        ("ec2:RebootInstances", {"RemediateRole"}),
        ("ssm:SendCommand", {"RemediateRole", "DrillRole"}),
        ("autoscaling:DeleteTags", {"SweepRole"}),
        ("elasticloadbalancing:DeregisterTargets", {"RemediateRole"}),
        ("ec2:GetConsoleOutput", {"RemediateRole"}),
        ("ec2:DescribeImages", {"MintRole"}),
        ("ssm:PutParameter", {"MintRole"}),
        ("ssm:DeleteParameter", {"MintRole"}),
        ("kms:Encrypt", {"MintRole"}),
        ("sns:Publish", {"RemediateRole", "SweepRole"}),
        ("lambda:InvokeFunction", {"RemediateRole", "SweepRole"}),
    ],
)
def test_what_changes_the_world_is_in_the_hands_of_few(action: str, roles: set[str]) -> None:
    assert who_may(action) == roles


def partitions(role: str, *, writing: bool) -> set[str]:
    """The partitions of the table that a role may write, or may read; `*` where nothing limits it."""
    changes = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
    found: set[str] = set()
    for statement in statements(role):
        wanted = changes if writing else {"dynamodb:GetItem", "dynamodb:Query"}
        if statement["Effect"] == "Allow" and named(statement, "Action") & wanted:
            conditions = statement.get("Condition", {}).values()
            found |= {key for condition in conditions for key in condition["dynamodb:LeadingKeys"]} or {"*"}
    return found


@pytest.mark.parametrize(
    ("role", "may_write", "may_read"),
    [
        ("IntakeRole", set(), set()),
        (
            "RemediateRole",
            {"case", "flight", "machine", "said", "abandoned", "control-plane", "doubt", "history#*"},
            {"*"},
        ),
        ("SweepRole", {"machine", "said", "abandoned", "brake", "history#cluster"}, {"*"}),
        ("DrillRole", {"pause"}, {"*"}),
        ("MintRole", {"join"}, {"join", "approval", "control-plane"}),
        ("ApproveRole", {"approval", "key"}, {"join", "approval", "key", "machine"}),
    ],
)
def test_nobody_but_the_minter_writes_who_may_join_and_nobody_but_the_approver_what_was_approved(
    role: str, may_write: set[str], may_read: set[str]
) -> None:
    assert partitions(role, writing=True) == may_write
    assert partitions(role, writing=False) == may_read


def resources_of(role: str, action: str) -> list[str]:
    """On what a role may do it."""
    found: list[str] = []
    for statement in statements(role):
        given, on = statement["Action"], statement["Resource"]
        if action == given or action in given:
            found += [on] if isinstance(on, str) else on
    return found


@pytest.mark.parametrize(
    ("role", "parameters"),
    [
        ("RemediateRole", ["kubeconfig/remediate"]),
        ("SweepRole", ["kubeconfig/remediate"]),
        ("DrillRole", ["kubeconfig/remediate"]),
        ("MintRole", ["kubeconfig/mint"]),
        ("ApproveRole", ["initialised-by", "kubeconfig/approve"]),
    ],
)
def test_each_function_reads_its_own_identity_and_no_bundle(role: str, parameters: list[str]) -> None:
    begin = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/regrow/${ClusterName}/"
    assert resources_of(role, "ssm:GetParameter") == [begin + parameter for parameter in parameters]


def test_who_only_explains_may_have_etcd_looked_at_and_nothing_done_to_it() -> None:
    begin = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:document/regrow-${ClusterName}-"
    machines = "arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*"
    assert resources_of("DrillRole", "ssm:SendCommand") == [f"{begin}etcd-members", machines]
    assert resources_of("RemediateRole", "ssm:SendCommand") == [
        f"{begin}control-plane", f"{begin}etcd-members", f"{begin}machine", machines,
    ]  # fmt: skip


def test_who_puts_dead_letters_back_takes_from_no_other_queue() -> None:
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"):
        assert resources_of("DrillRole", action) == ["PassDeadQueue.Arn", "InboxDeadQueue.Arn"]
    assert resources_of("DrillRole", "sqs:SendMessage") == ["PassQueue.Arn", "InboxQueue.Arn"]


def test_passes_call_the_minter_and_the_approver_and_the_sweep_the_approver_alone() -> None:
    begin = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:regrow-${ClusterName}-"
    assert resources_of("RemediateRole", "lambda:InvokeFunction") == [f"{begin}mint", f"{begin}approve"]
    assert resources_of("SweepRole", "lambda:InvokeFunction") == [f"{begin}approve"]


def test_the_minter_leaves_a_bundle_only_with_the_tags_that_bind_it_to_an_instance() -> None:
    (granted,) = [s for s in statements("MintRole") if "ssm:PutParameter" in s["Action"]]
    assert "ssm:AddTagsToResource" in granted["Action"]
    assert granted["Resource"].endswith(":parameter/regrow/${ClusterName}/join/*")
    assert granted["Condition"]["StringEquals"] == {"aws:RequestTag/regrow:cluster": "ClusterName"}
    assert granted["Condition"]["StringLike"]["aws:RequestTag/InstanceArn"].endswith(":instance/i-*")


@pytest.mark.parametrize("action", ["autoscaling:CreateOrUpdateTags", "autoscaling:DeleteTags"])
def test_only_the_tags_of_a_suspension_change_and_only_on_the_clusters_groups(action: str) -> None:
    for role in who_may(action):
        (granted,) = [s for s in statements(role) if s["Action"] == action]
        assert granted["Condition"] == {
            "StringEquals": {"autoscaling:ResourceTag/regrow:cluster": "ClusterName"},
            "ForAllValues:StringEquals": {
                "aws:TagKeys": ["regrow:launch-suspended-until", "regrow:launch-suspended-because"]
            },
        }


CALLS: dict[str, set[str]] = {
    "IntakeRole": {"sqs:SendMessage"},
    "RemediateRole": {
        *("ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:GetConsoleOutput"),
        *("autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances"),
        *("autoscaling:DescribeWarmPool", "elasticloadbalancing:DescribeTargetHealth"),
        *("elasticloadbalancing:DescribeInstanceHealth", "elasticloadbalancing:DeregisterInstancesFromLoadBalancer"),
        *("elasticloadbalancing:RegisterTargets", "elasticloadbalancing:RegisterInstancesWithLoadBalancer"),
        *("autoscaling:DescribeLifecycleHooks", "autoscaling:CompleteLifecycleAction"),
        *("autoscaling:RecordLifecycleActionHeartbeat", "autoscaling:CreateOrUpdateTags"),
        *("autoscaling:SuspendProcesses", "elasticloadbalancing:DeregisterTargets"),
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
        *("ssm:GetParameter", "kms:Decrypt", "lambda:InvokeFunction", "sqs:SendMessage", "sns:Publish"),
        *("ssm:SendCommand", "ssm:GetCommandInvocation", "ec2:DescribeSpotInstanceRequests"),
        *("autoscaling:DescribeInstanceRefreshes", "ec2:RebootInstances"),
        "autoscaling:TerminateInstanceInAutoScalingGroup",
    },
    "SweepRole": {
        *("ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:DescribeSpotInstanceRequests"),
        *("autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeWarmPool"),
        *("autoscaling:ResumeProcesses", "autoscaling:DeleteTags", "autoscaling:DescribeInstanceRefreshes"),
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"),
        *("ssm:GetParameter", "kms:Decrypt", "lambda:InvokeFunction", "sqs:SendMessage", "sns:Publish"),
    },
    "DrillRole": {
        *("ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:TerminateInstances"),
        *("autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeWarmPool"),
        "autoscaling:DescribeInstanceRefreshes",
        *("elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeInstanceHealth"),
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"),
        *("ssm:GetParameter", "kms:Decrypt"),
        *("ssm:SendCommand", "ssm:GetCommandInvocation", "ec2:DescribeSpotInstanceRequests"),
        *("sqs:SendMessage", "sqs:ChangeMessageVisibility"),
    },
    "MintRole": {
        *("ec2:DescribeInstances", "ec2:DescribeImages"),
        *("autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeWarmPool"),
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "ssm:GetParameter", "kms:Decrypt"),
        *("ssm:PutParameter", "ssm:AddTagsToResource", "ssm:DeleteParameter", "ssm:ListTagsForResource", "kms:Encrypt"),
    },
    "ApproveRole": {
        *("ec2:DescribeInstances", "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeWarmPool"),
        *("dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "ssm:GetParameter", "kms:Decrypt"),
    },
}
"""What the edges of each function call, with what AWS asks for beside it."""
OF_LAMBDA = {
    *("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
    *("ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
    *("ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"),
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_is_no_wider_than_the_calls_of_its_function(role: str) -> None:
    assert actions(role) - OF_LAMBDA == CALLS[role]


@pytest.mark.parametrize("role", sorted(ROLES - {"IntakeRole"}))
def test_what_lambda_needs_to_stand_in_the_vpc_is_not_for_the_functions_code(role: str) -> None:
    (refused,) = [statement for statement in statements(role) if statement["Effect"] == "Deny"]
    assert refused["Resource"] == "*"
    interfaces = {action for action in actions(role) & OF_LAMBDA if action.startswith("ec2:")}
    assert interfaces
    assert [one for one in interfaces if not any(fnmatchcase(one, ruled) for ruled in refused["Action"])] == []
    ((operator, condition),) = refused["Condition"].items()
    assert operator == "ArnEquals"
    (function,) = [one for one in condition["lambda:SourceFunctionArn"] if one.endswith(role_to_function(role))]
    begin = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:regrow-${ClusterName}-"
    assert function == begin + role_to_function(role)


def role_to_function(role: str) -> str:
    return role.removesuffix("Role").lower()


@pytest.mark.parametrize("role", sorted(ROLES))
def test_no_function_has_a_wildcard_action(role: str) -> None:
    assert not [action for action in actions(role) if "*" in action]


@pytest.mark.parametrize("template", ["ControlPlaneTemplate", "WorkerTemplate"])
def test_a_machine_keeps_its_metadata_from_pods_and_its_disk_encrypted(template: str) -> None:
    data = resources(TEMPLATES[0])[template]["Properties"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
    }
    assert all(disk["Ebs"]["Encrypted"] is True for disk in data["BlockDeviceMappings"])


def test_the_control_planes_group_is_protected_and_registers_nowhere_by_itself() -> None:
    group = resources(TEMPLATES[0])["ControlPlaneGroup"]["Properties"]
    assert group["NewInstancesProtectedFromScaleIn"] is True
    assert "TargetGroupARNs" not in group


def test_a_worker_is_held_from_its_first_moment_and_is_no_worker_unless_it_is_let_go_on() -> None:
    (hook,) = resources(TEMPLATES[0])["WorkerGroup"]["Properties"]["LifecycleHookSpecificationList"]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    assert hook["DefaultResult"] == "ABANDON"


def cluster_statements(role: str) -> list[dict[str, Any]]:
    made = resources(TEMPLATES[0])
    shared = [entry["Properties"] for entry in made.values() if entry["Type"] == "AWS::IAM::Policy"]
    policies = [*made[role]["Properties"]["Policies"], *(policy for policy in shared if role in policy["Roles"])]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


def of_agents() -> set[str]:
    """What a machine's SSM Agent may do."""
    (statement,) = resources(TEMPLATES[0])["RunCommand"]["Properties"]["PolicyDocument"]["Statement"]
    return named(statement, "Action")


def named_places(statement: dict[str, Any]) -> list[str]:
    given = statement["Resource"]
    return [given] if isinstance(given, str) else given


def test_a_worker_may_read_its_own_bundle_and_nothing_else() -> None:
    allowed = [s for s in cluster_statements("WorkerRole") if s["Effect"] == "Allow"]
    allowed = [s for s in allowed if named(s, "Action") != of_agents()]
    granted = {tuple(s["Action"]) if isinstance(s["Action"], list) else s["Action"]: s for s in allowed}
    assert set(granted) == {("ssm:GetParameter", "ssm:DeleteParameter"), "kms:Decrypt"}
    own = granted["ssm:GetParameter", "ssm:DeleteParameter"]
    assert own["Resource"].endswith(":parameter/regrow/${ClusterName}/join/*")
    assert own["Condition"] == {"StringEquals": {"aws:ResourceTag/InstanceArn": "${ec2:SourceInstanceARN}"}}


def test_no_other_policy_on_a_worker_lets_it_read_anothers_bundle() -> None:
    (denied,) = [s for s in cluster_statements("WorkerRole") if s["Action"] == "ssm:GetParameter*"]
    assert denied["Effect"] == "Deny"
    assert denied["Resource"].endswith(":parameter/regrow/${ClusterName}/join/*")
    unless = {"aws:ResourceTag/InstanceArn": "${ec2:SourceInstanceARN,'none'}"}
    assert denied["Condition"] == {"StringNotEquals": unless}


@pytest.mark.parametrize(
    ("action", "below"),
    [
        ("ssm:*", ["kubeconfig/*", "certificate-key/*"]),
        ("ssm:AddTagsToResource", ["join/*"]),
        ("ssm:PutParameter", ["join/*"]),
    ],
)
def test_no_other_policy_on_a_worker_opens_what_is_not_for_it(action: str, below: list[str]) -> None:
    refused = [s for s in cluster_statements("WorkerRole") if s["Effect"] == "Deny" and action in s["Action"]]
    assert [[place.rpartition("${ClusterName}/")[2] for place in named_places(s)] for s in refused] == [below]
    assert "Condition" not in refused[0]


@pytest.mark.parametrize("role", ["WorkerRole", "ControlPlaneRole"])
def test_no_machine_reads_what_is_below_a_path(role: str) -> None:
    (refused,) = [s for s in cluster_statements(role) if s["Action"] == "ssm:GetParametersByPath"]
    assert refused["Effect"] == "Deny"
    assert [resource.rpartition(":")[2] for resource in refused["Resource"]] == ["parameter/", "parameter/regrow*"]


@pytest.mark.parametrize("role", ["WorkerRole", "ControlPlaneRole"])
def test_a_machines_credentials_are_good_only_from_version_2_of_its_metadata(role: str) -> None:
    denied = [s for s in cluster_statements(role) if s["Effect"] == "Deny" and s["Action"] == "*"]
    assert [s["Condition"] for s in denied] == [{"NumericLessThan": {"ec2:RoleDelivery": "2.0"}}]


@pytest.mark.parametrize("role", ["WorkerRole", "ControlPlaneRole"])
def test_j11_nobody_but_ec2_can_give_out_a_machines_role(role: str) -> None:
    """Whoever else may assume it names the session as he likes, after another machine too."""
    (trusted,) = resources(TEMPLATES[0])[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trusted == {
        "Effect": "Allow",
        "Principal": {"Service": "ec2.${AWS::URLSuffix}"},
        "Action": "sts:AssumeRole",
    }


@pytest.mark.parametrize("role", sorted(ROLES))
def test_j11_nobody_but_lambda_can_give_out_a_functions_role(role: str) -> None:
    (trusted,) = resources(TEMPLATE)[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trusted == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


PARAMETERS = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/regrow/${ClusterName}/"


def of_control_planes(policy: str) -> list[dict[str, Any]]:
    policies = resources(TEMPLATES[0])["ControlPlaneRole"]["Properties"]["Policies"]
    (found,) = [entry["PolicyDocument"]["Statement"] for entry in policies if entry["PolicyName"] == policy]
    return list(found)


def test_a_control_plane_publishes_what_it_must() -> None:
    granted = of_control_planes("publish")[0]
    published = ["kubeconfig/remediate", "kubeconfig/mint", "kubeconfig/approve", "initialised-by", "founder"]
    assert granted["Resource"] == [PARAMETERS + parameter for parameter in published]
    assert set(granted["Action"]) == {"ssm:GetParameter", "ssm:PutParameter"}


def test_a_control_plane_reads_what_was_left_for_it_alone() -> None:
    own, unless_own, unchanged, _ = of_control_planes("join")
    assert own["Resource"] == unless_own["Resource"] == [f"{PARAMETERS}join/*", f"{PARAMETERS}certificate-key/*"]
    assert own["Condition"] == {"StringEquals": {"aws:ResourceTag/InstanceArn": "${ec2:SourceInstanceARN}"}}
    assert (unless_own["Effect"], unless_own["Action"]) == ("Deny", "ssm:GetParameter*")
    unless = {"aws:ResourceTag/InstanceArn": "${ec2:SourceInstanceARN,'none'}"}
    assert unless_own["Condition"] == {"StringNotEquals": unless}
    assert (unchanged["Effect"], unchanged["Resource"]) == ("Deny", f"{PARAMETERS}join/*")
    assert {"ssm:AddTagsToResource", "ssm:PutParameter"} <= set(unchanged["Action"])
    allowed = [s for s in cluster_statements("ControlPlaneRole") if s["Effect"] == "Allow"]
    readers = [s for s in allowed if "ssm:GetParameter" in named(s, "Action")]
    assert readers == [of_control_planes("publish")[0], own]


def test_nobody_makes_anothers_certificate_key_its_own() -> None:
    refused = [s for s in of_control_planes("certificate-key") if s["Effect"] == "Deny"]
    (refused_where_one_is,) = refused
    assert refused_where_one_is["Resource"] == f"{PARAMETERS}certificate-key/*"
    assert {"ssm:AddTagsToResource", "ssm:PutParameter"} <= set(refused_where_one_is["Action"])
    assert refused_where_one_is["Condition"] == {"Null": {"aws:ResourceTag/InstanceArn": "false"}}


def test_a_control_plane_writes_snapshots_and_reads_none() -> None:
    (granted,) = [s for s in cluster_statements("ControlPlaneRole") if "s3:" in str(s["Action"])]
    assert (granted["Action"], granted["Resource"]) == ("s3:PutObject", "${SnapshotBucket.Arn}/etcd/*")


def test_a_founder_completes_launches_of_its_own_group_alone() -> None:
    (granted,) = of_control_planes("group")
    assert granted["Action"] == "autoscaling:CompleteLifecycleAction"
    assert granted["Resource"].endswith(":autoScalingGroupName/regrow-${ClusterName}-control-plane")


def test_the_number_of_voters_changes_by_the_template_alone() -> None:
    group = resources(TEMPLATES[0])["ControlPlaneGroup"]["Properties"]
    assert group["MinSize"] == group["MaxSize"] == group["DesiredCapacity"] == "ControlPlaneCount"
    assert group["NewInstancesProtectedFromScaleIn"] is True
    assert "TargetGroupARNs" not in group


def test_a_control_plane_waits_for_regrow_on_its_way_in_and_out() -> None:
    made = resources(TEMPLATES[0])
    group, leaving = made["ControlPlaneGroup"]["Properties"], made["ControlPlaneHook"]["Properties"]
    (launching,) = group["LifecycleHookSpecificationList"]
    assert (launching["LifecycleHookName"], launching["DefaultResult"]) == ("regrow-launch", "ABANDON")
    assert (leaving["LifecycleHookName"], leaving["DefaultResult"]) == ("regrow-terminate", "ABANDON")
    assert group["InstanceLifecyclePolicy"] == {"RetentionTriggers": {"TerminateHookAbandon": "retain"}}


def test_a_command_on_a_control_plane_is_one_of_the_programs_actions_and_nothing_for_a_shell() -> None:
    content = resources(TEMPLATES[0])["ControlPlaneDocument"]["Properties"]["Content"]
    assert set(content["parameters"]["action"]["allowedValues"]) == set(ACTIONS) - {"members"}
    for name in ("first", "second"):
        form = content["parameters"][name]["allowedPattern"]
        assert re.fullmatch(form, "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0")
        assert not [sign for sign in " '\"`$;|&<>()\\\n{}*?!~#=%@," if re.fullmatch(form, f"a{sign}a")]
    (step,) = content["mainSteps"]
    (command,) = step["inputs"]["runCommand"]
    assert command.endswith("/etcd.py '{{ action }}' '{{ first }}' '{{ second }}'")


@pytest.mark.parametrize("role", ["WorkerRole", "ControlPlaneRole"])
def test_a_machines_agent_takes_commands_and_reads_no_parameter(role: str) -> None:
    (granted,) = [s for s in cluster_statements(role) if named(s, "Action") == of_agents()]
    assert granted["Effect"] == "Allow"
    assert not [action for action in of_agents() if "Parameter" in action or "*" in action or "SendCommand" in action]
    group = resources(TEMPLATES[0])[role.replace("Role", "Group")]
    assert "RunCommand" in group["DependsOn"]  # an agent that is refused at first asks again much later


def test_a_command_on_any_machine_starts_one_of_two_services_again_and_takes_no_argument() -> None:
    content = resources(TEMPLATES[0])["MachineDocument"]["Properties"]["Content"]
    assert set(content["parameters"]) == {"action"}
    assert set(content["parameters"]["action"]["allowedValues"]) == set(UNITS)
    (step,) = content["mainSteps"]
    (command,) = step["inputs"]["runCommand"]
    assert command.endswith("/services.py '{{ action }}'")
    assert float(step["inputs"]["timeoutSeconds"]) > 2 * IN_ORDER_S + ONCE_ENDED_S


def test_a_doubtful_machine_is_touched_only_where_it_is_the_clusters() -> None:
    (rebooted,) = [s for s in statements("RemediateRole") if "ec2:RebootInstances" in named(s, "Action")]
    assert rebooted["Condition"] == {"StringEquals": {"ec2:ResourceTag/regrow:cluster": "ClusterName"}}
    ended = "autoscaling:TerminateInstanceInAutoScalingGroup"
    (replaced,) = [s for s in statements("RemediateRole") if ended in named(s, "Action")]
    assert replaced["Condition"] == {"StringEquals": {"autoscaling:ResourceTag/regrow:cluster": "ClusterName"}}
    documents, machines = [s for s in statements("RemediateRole") if "ssm:SendCommand" in named(s, "Action")]
    begin = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:document/regrow-${ClusterName}-"
    assert documents["Resource"] == [f"{begin}control-plane", f"{begin}etcd-members", f"{begin}machine"]
    assert machines["Condition"] == {"StringEquals": {"ssm:resourceTag/regrow:cluster": "ClusterName"}}


def test_of_leases_only_those_of_nodes_are_readable() -> None:
    (role,) = [d for d in manifests() if any("leases" in rule["resources"] for rule in d.get("rules", []))]
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "kube-node-lease")


def test_the_command_that_only_looks_takes_no_word_from_anybody() -> None:
    content = resources(TEMPLATES[0])["EtcdMembersDocument"]["Properties"]["Content"]
    (step,) = content["mainSteps"]
    assert step["inputs"]["runCommand"] == ["exec python3 /opt/regrow/node/etcd.py members"]
    assert "parameters" not in content


def test_snapshots_are_encrypted_kept_for_a_month_and_never_public() -> None:
    made = resources(TEMPLATES[0])
    bucket = made["SnapshotBucket"]["Properties"]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert [rule["ExpirationInDays"] for rule in bucket["LifecycleConfiguration"]["Rules"]] == [30]
    (refused,) = made["SnapshotBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (refused["Effect"], refused["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def alarms() -> dict[str, dict[str, Any]]:
    found = [entry["Properties"] for entry in resources(TEMPLATE).values() if entry["Type"] == "AWS::CloudWatch::Alarm"]
    return {alarm["AlarmName"].removeprefix("regrow-${ClusterName}-"): alarm for alarm in found}


def test_a_denied_certificate_request_is_told_by_the_very_metric_that_the_approver_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    journal = JournalEdge(cluster="drill", function="approve")
    journal.count(DENIED_METRIC)
    journal.flush()
    line = json.loads(capsys.readouterr().out)
    (emitted,) = line["_aws"]["CloudWatchMetrics"]
    alarm = alarms()["requests-denied"]
    assert (alarm["Namespace"], [{"Name": alarm["MetricName"]}]) == (
        emitted["Namespace"],
        [{"Name": metric["Name"]} for metric in emitted["Metrics"]],
    )
    (dimensions,) = emitted["Dimensions"]
    emitted_under = {name: line[name] for name in dimensions}
    assert emitted_under["cluster"] == "drill"
    assert {one["Name"]: one["Value"] for one in alarm["Dimensions"]} == emitted_under | {"cluster": "ClusterName"}
    assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "GreaterThanThreshold", 0)


def breaches(alarm: dict[str, Any], errors_of_each_minute: list[int]) -> bool:
    """Whether the last of the alarm's periods would ring it (CloudWatch user guide, "Evaluating an alarm")."""
    minutes = alarm["Period"] // 60
    count = alarm["EvaluationPeriods"]
    sums = [sum(errors_of_each_minute[at : at + minutes]) for at in range(0, len(errors_of_each_minute), minutes)]
    compare = {"GreaterThanThreshold": gt, "GreaterThanOrEqualToThreshold": ge}[alarm["ComparisonOperator"]]
    breaching = [total for total in sums[-count:] if compare(total, alarm["Threshold"])]
    needed: int = alarm.get("DatapointsToAlarm", count)
    return len(breaching) >= needed


@pytest.mark.parametrize("function", ["remediate", "mint", "approve", "sweep"])
def test_a_function_that_fails_each_time_is_told_and_one_error_is_not(function: str) -> None:
    alarm = alarms()[f"{function}-errors"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("AWS/Lambda", "Errors", "Sum")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": f"regrow-${{ClusterName}}-{function}"}]
    assert breaches(alarm, [1, 1, 1, 1, 1])
    assert breaches(alarm, [1, 0, 1, 0, 1])
    assert not breaches(alarm, [0, 1, 0, 0, 0])
    assert not breaches(alarm, [0, 0, 1, 1, 0])


@pytest.mark.parametrize("name", sorted(alarms()))
def test_every_alarm_tells_people_what_to_look_at_and_when_it_is_over(name: str) -> None:
    alarm = alarms()[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == ["Topic"]
    assert alarm["TreatMissingData"] == "notBreaching"
    assert re.search(r"the log of the \w+ function|Is the \w+ function", alarm["AlarmDescription"])


def test_a_removed_stack_leaves_no_queue_table_or_role(site: Site, stack: dict[str, str]) -> None:
    remove_stack(site.client("cloudformation"), "regrow-tried-remediator", silent)
    assert stack["TableName"] not in site.client("dynamodb").list_tables()["TableNames"]
    roles = {role["RoleName"] for role in site.client("iam").list_roles()["Roles"]}
    assert "regrow-tried-remediate" not in roles
    assert not site.client("sqs").list_queues(QueueNamePrefix="regrow-tried-").get("QueueUrls")


def test_the_failure_that_is_reported_is_the_one_that_began_it() -> None:
    class Account:
        """An account whose stack failed: newest event first, as CloudFormation lists them."""

        def describe_stack_events(self, **_: str) -> dict[str, Any]:
            cancelled = {"ResourceStatusReason": "Resource creation cancelled", "ResourceStatus": "CREATE_FAILED"}
            cause = {"ResourceStatusReason": "Queue name is taken", "ResourceStatus": "CREATE_FAILED"}
            return {
                "StackEvents": [
                    {"LogicalResourceId": "Table", "ResourceType": "AWS::DynamoDB::Table", **cancelled},
                    {"LogicalResourceId": "PassQueue", "ResourceType": "AWS::SQS::Queue", **cause},
                ]
            }

    assert first_failure(Account(), "any") == "PassQueue (AWS::SQS::Queue): Queue name is taken"


def manifests() -> list[dict[str, Any]]:
    return [d for path in sorted(MANIFESTS.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]


def test_no_right_in_the_cluster_reads_a_secret_but_encrypted_authorities_or_holds_a_wildcard() -> None:
    rules = [rule for document in manifests() for rule in document.get("rules", [])]
    assert rules
    for rule in rules:
        assert "*" not in [*rule["resources"], *rule["verbs"], *rule["apiGroups"]]
        if "secrets" in rule["resources"]:
            of_control_planes = rule["verbs"] == ["get"] and rule["resourceNames"] == ["kubeadm-certs"]
            assert of_control_planes or rule["verbs"] == ["create", "delete"]


def rights(role: str) -> dict[str, set[str]]:
    """What a ClusterRole, and the Roles of its name, let do with each resource."""
    found: dict[str, set[str]] = {}
    for document in manifests():
        if document["metadata"]["name"].startswith(role):
            for rule in document.get("rules", []):
                for resource in rule["resources"]:
                    found.setdefault(resource, set()).update(rule["verbs"])
    return found


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (
            "regrow:remediate",
            {
                "nodes": {"get", "list", "patch", "delete"},
                "pods": {"list", "delete"},
                "pods/eviction": {"create"},
                "volumeattachments": {"list"},
                "poddisruptionbudgets": {"list"},
                "leases": {"get", "list"},
            },
        ),
        (
            "regrow:mint",
            {
                "nodes": {"get"},
                "subjectaccessreviews": {"create"},
                "secrets": {"create", "delete"},
                "configmaps": {"get"},
            },
        ),
        (
            "regrow:approve",
            {
                "certificatesigningrequests": {"list"},
                "certificatesigningrequests/approval": {"update"},
                "signers": {"approve"},
                "nodes": {"get"},
            },
        ),
    ],
)
def test_an_identity_has_no_more_rights_in_the_cluster_than_its_edge_has_calls(
    role: str, expected: dict[str, set[str]]
) -> None:
    assert rights(role) == expected


def test_no_joining_machine_is_approved_unseen() -> None:
    unseen = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
    assert unseen not in [document["roleRef"]["name"] for document in manifests() if "roleRef" in document]


def test_every_identity_that_is_published_has_rights_and_no_two_share_them() -> None:
    bound: dict[str, set[str]] = {}
    for document in manifests():
        for subject in document.get("subjects", []):
            bound.setdefault(subject["name"], set()).add(document["roleRef"]["name"])
    groups = [bound[group] for group in FUNCTION_GROUPS.values()]
    assert all(groups)
    assert not set.intersection(*groups)


def policies() -> dict[str, dict[str, Any]]:
    found = {d["metadata"]["name"]: d for d in manifests() if d["kind"] == "ValidatingAdmissionPolicy"}
    bound = {d["spec"]["policyName"] for d in manifests() if d["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert bound == set(found)
    return found


@pytest.mark.parametrize(("policy", "identity"), [("regrow-mint", "mint"), ("regrow-approve", "approve")])
def test_a_policy_holds_its_identity_by_name_and_by_group_and_refuses_when_it_cannot_tell(
    policy: str, identity: str
) -> None:
    spec = policies()[policy]["spec"]
    assert spec["failurePolicy"] == "Fail"
    held = spec["matchConditions"][0]["expression"]
    assert f"'regrow:{identity}'" in held
    assert f"'{FUNCTION_GROUPS[identity]}'" in held


def variable(policy: str, name: str) -> str:
    """Its expression; each line break of it is a space by YAML."""
    (found,) = [one for one in policies()[policy]["spec"]["variables"] if one["name"] == name]
    return str(found["expression"])


def test_the_approvers_policy_knows_the_groups_and_the_longest_life_that_the_function_knows() -> None:
    said = " ".join(one["expression"] for one in policies()["regrow-approve"]["spec"]["validations"])
    assert variable("regrow-approve", "ours") == str(list(TOKEN_GROUPS.values()))
    assert "variables.groups.exists_one(group, group in variables.ours)" in said
    assert f"<= {LONGEST_LIFE.total_seconds():.0f}" in said


def test_what_the_policy_compares_encoded_are_the_groups_of_joining_machines() -> None:
    """CEL has no base64, so the policy holds the groups' names as a Secret's data show them."""
    encoded = [base64.b64encode(group.encode()).decode() for group in TOKEN_GROUPS.values()]
    assert variable("regrow-mint", "groups") == str(encoded)
    assert set(TOKEN_GROUPS) == set(Role)
    assert set(TOKEN_GROUPS.values()) < set(JOINING_GROUPS)
    assert "regrow-mint" in MINTING_POLICY


def test_what_a_control_plane_may_do_with_its_token_and_a_worker_may_not_is_to_read_one_secret() -> None:
    roles = {(one["kind"], one["metadata"]["name"]): one.get("rules") for one in manifests() if "rules" in one}
    bound: dict[str, list[Any]] = {}
    for binding in manifests():
        for subject in binding.get("subjects", []):
            reference = binding["roleRef"]
            found = (reference["kind"], binding["metadata"].get("namespace"), reference["name"])
            bound.setdefault(subject["name"], []).append(found)
    more = [one for one in bound[TOKEN_GROUPS[Role.CONTROL_PLANE]] if one not in bound[TOKEN_GROUPS[Role.WORKER]]]
    assert more == [("Role", "kube-system", "regrow:join-control-plane")]
    assert set(bound[TOKEN_GROUPS[Role.WORKER]]) < set(bound[TOKEN_GROUPS[Role.CONTROL_PLANE]])
    assert roles["Role", "regrow:join-control-plane"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["kubeadm-certs"], "verbs": ["get"]}
    ]
