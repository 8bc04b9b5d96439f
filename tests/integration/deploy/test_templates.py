"""The CloudFormation templates: AWS's linter takes them, and what they make is what the contracts say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.deploy import CHECKOUT, TEMPLATE
from infra.deployment.stack import ensure_stack, first_failure, remove_stack
from tests.integration.deploy.conftest import Site

TEMPLATES = [CHECKOUT / "infra" / "cluster" / "template.yaml", TEMPLATE]
ROLES = {"IntakeRole", "LaterRole", "RemediateRole", "SweepRole", "DrillRole"}
MANIFESTS = CHECKOUT / "infra" / "kubernetes"


def silent(_: str) -> None:
    """Says nothing."""


class TemplateLoader(yaml.SafeLoader):
    """Reads a template with CloudFormation's short forms: `!Ref X` and its like become the text after the tag."""


def short_form(loader: TemplateLoader, _tag: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


TemplateLoader.add_multi_constructor("!", short_form)


def resources(template: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(template.read_text(), TemplateLoader)["Resources"]  # noqa: S506 - a safe one
    return found


def statements(role: str) -> list[dict[str, Any]]:
    """What a role of the remediator may do: its own policies and those that name it."""
    made = resources(TEMPLATE)
    documents = [policy["PolicyDocument"] for policy in made[role]["Properties"]["Policies"]]
    shared = [entry["Properties"] for entry in made.values() if entry["Type"] == "AWS::IAM::Policy"]
    documents += [policy["PolicyDocument"] for policy in shared if role in policy["Roles"]]
    return [statement for document in documents for statement in document["Statement"]]


def actions(role: str) -> set[str]:
    found: set[str] = set()
    for statement in statements(role):
        given = statement["Action"]
        found |= {given} if isinstance(given, str) else set(given)
    return found


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


def test_only_remediate_changes_the_world_or_the_table() -> None:
    changing = {
        "autoscaling:CompleteLifecycleAction",
        "elasticloadbalancing:DeregisterTargets",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "sns:Publish",
    }
    assert changing <= actions("RemediateRole")
    for role in ROLES - {"RemediateRole"}:
        assert changing.isdisjoint(actions(role))


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


def test_a_worker_may_only_read_how_to_join_its_own_cluster() -> None:
    (policy,) = resources(TEMPLATES[0])["WorkerRole"]["Properties"]["Policies"]
    granted = {s["Action"]: s["Resource"] for s in policy["PolicyDocument"]["Statement"]}
    assert set(granted) == {"ssm:GetParameter", "kms:Decrypt"}
    assert granted["ssm:GetParameter"].endswith(":parameter/regrow/${ClusterName}/join")


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


def test_the_remediators_rights_in_the_cluster_hold_no_secret_and_no_wildcard() -> None:
    documents = [d for path in sorted(MANIFESTS.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]
    rules = [rule for document in documents for rule in document.get("rules", [])]
    assert rules
    for rule in rules:
        assert "secrets" not in rule["resources"]
        assert "*" not in [*rule["resources"], *rule["verbs"], *rule["apiGroups"]]
