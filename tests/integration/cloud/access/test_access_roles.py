"""Functions and machines may do over HTTP what the deployed roles say, and nothing else."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.integration.cloud.access.account import (
    ACCOUNT,
    ADMINISTRATOR,
    CLUSTER,
    IMAGE,
    REFUSALS,
    REGION,
    Account,
    outcome,
)
from tests.integration.cloud.machines.rig import eventually

KUBECONFIG = f"/regrow/{CLUSTER}/kubeconfig/remediate"
JOIN = f"/regrow/{CLUSTER}/join"
WORKERS = f"regrow-{CLUSTER}-worker"
MASTERS = f"regrow-{CLUSTER}-control-plane"
KEY = {"pk": {"S": "case"}, "sk": {"S": "i-0123456789abcdef0"}}
STRANGER = "stranger"


@pytest.fixture(scope="module", autouse=True)
def _surroundings(account: Account) -> None:
    """What a control plane has published, and another cluster's things beside ours."""
    for name in (KUBECONFIG, f"/regrow/{STRANGER}/kubeconfig/remediate"):
        account.client("ssm").put_parameter(Name=name, Value="secret", Type="SecureString")
    account.client("sqs").create_queue(QueueName=f"regrow-{STRANGER}-later")
    account.client("sns").create_topic(Name=f"regrow-{STRANGER}-alarms")
    account.client("dynamodb").create_table(
        TableName=f"regrow-{STRANGER}",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    data = {"ImageId": IMAGE, "InstanceType": "t3.medium"}
    account.client("ec2").create_launch_template(LaunchTemplateName=STRANGER, LaunchTemplateData=data)
    account.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=STRANGER,
        MinSize=0,
        MaxSize=1,
        LaunchTemplate={"LaunchTemplateName": STRANGER},
        VPCZoneIdentifier=account.subnet,
        Tags=[{"Key": "regrow:cluster", "Value": STRANGER, "PropagateAtLaunch": True}],
    )


def arguments(account: Account, given: dict[str, Any]) -> dict[str, Any]:
    """`$Output` stands for an output of the stacks."""
    return {
        name: account.outputs[value[1:]] if isinstance(value, str) and value.startswith("$") else value
        for name, value in given.items()
    }


def assumed(account: Account, role: str) -> dict[str, str]:
    """The keys of a session that neither an instance nor a function has begun."""
    given = account.client("sts").assume_role(RoleArn=role, RoleSessionName="person")["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


READ_ITEM = {"TableName": "$TableName", "Key": KEY}
SEND = {"QueueUrl": "$PassQueueUrl", "MessageBody": "{}", "MessageGroupId": "i", "MessageDeduplicationId": "1"}
SEND_LATER = {"QueueUrl": "$InboxQueueUrl", "MessageBody": "{}", "DelaySeconds": 2}
QUERY = {
    "TableName": "$TableName",
    "KeyConditionExpression": "pk = :pk",
    "ExpressionAttributeValues": {":pk": {"S": "case"}},
}
LOOK = {"DocumentName": f"regrow-{CLUSTER}-etcd-members", "InstanceIds": ["i-0123456789abcdef0"]}
TOUCH = {"DocumentName": MASTERS, "InstanceIds": LOOK["InstanceIds"], "Parameters": {"action": ["remove"]}}
HOOKS = {"AutoScalingGroupName": WORKERS}
OBSERVING: list[tuple[str, str, dict[str, Any]]] = [
    ("ec2", "describe_instances", {}),
    ("ec2", "describe_instance_status", {"Filters": [{"Name": "event.code", "Values": ["instance-stop"]}]}),
    ("autoscaling", "describe_auto_scaling_groups", {}),
    ("ssm", "get_parameter", {"Name": KUBECONFIG, "WithDecryption": True}),
    ("dynamodb", "get_item", READ_ITEM),
    ("dynamodb", "query", QUERY),
    ("autoscaling", "describe_instance_refreshes", HOOKS),
    ("sts", "get_caller_identity", {}),
]
ALLOWED = [
    ("intake", "sqs", "send_message", SEND),
    ("intake", "sqs", "receive_message", {"QueueUrl": "$InboxQueueUrl"}),
    ("sweep", "sqs", "send_message", SEND),
    ("sweep", "ec2", "describe_spot_instance_requests", {}),
    ("drill", "ec2", "describe_spot_instance_requests", {}),
    ("drill", "sqs", "receive_message", {"QueueUrl": "$PassDeadQueueUrl"}),
    ("drill", "sqs", "receive_message", {"QueueUrl": "$InboxDeadQueueUrl"}),
    ("drill", "sqs", "send_message", SEND),
    ("drill", "sqs", "send_message", SEND_LATER),
    ("remediate", "sqs", "send_message", SEND_LATER),
    ("remediate", "sqs", "send_message", SEND),
    ("remediate", "autoscaling", "describe_auto_scaling_instances", {}),
    ("remediate", "autoscaling", "describe_lifecycle_hooks", HOOKS),
    ("intake", "sts", "get_caller_identity", {}),
    *[(name, *call) for name in ("remediate", "sweep", "drill") for call in OBSERVING],
    ("remediate", "sns", "publish", {"TopicArn": "$TopicArn", "Message": "help"}),
    ("remediate", "dynamodb", "put_item", {"TableName": "$TableName", "Item": KEY}),
    ("remediate", "dynamodb", "delete_item", READ_ITEM),
]


@pytest.mark.parametrize(("function", "service", "operation", "given"), ALLOWED)
def test_a_functions_own_calls_pass_under_its_role(
    account: Account, function: str, service: str, operation: str, given: dict[str, Any]
) -> None:
    client = account.client(service, account.function(function))
    assert outcome(client, operation, **arguments(account, given)) == "ok"


ALIEN_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:regrow-{STRANGER}-alarms"
ALIEN_PARAMETER = {"Name": f"/regrow/{STRANGER}/kubeconfig/remediate", "WithDecryption": True}
LIFECYCLE = {
    "AutoScalingGroupName": STRANGER,
    "LifecycleHookName": "h",
    "LifecycleActionResult": "CONTINUE",
    "InstanceId": "i-1",
}
DENIED = [
    ("intake", "ec2", "describe_instances", {}, "UnauthorizedOperation"),
    ("intake", "autoscaling", "describe_auto_scaling_groups", {}, "AccessDenied"),
    ("intake", "dynamodb", "get_item", READ_ITEM, "AccessDeniedException"),
    ("intake", "ssm", "get_parameter", {"Name": KUBECONFIG}, "AccessDeniedException"),
    ("intake", "sqs", "send_message", SEND_LATER, "AccessDenied"),
    ("intake", "sqs", "receive_message", {"QueueUrl": "$PassQueueUrl"}, "AccessDenied"),
    ("intake", "sns", "publish", {"TopicArn": "$TopicArn", "Message": "help"}, "AuthorizationError"),
    ("intake", "lambda", "invoke", {"FunctionName": "regrow"}, "AccessDeniedException"),
    ("intake", "logs", "create_log_stream", {"logGroupName": "g", "logStreamName": "s"}, "AccessDeniedException"),
    ("intake", "events", "disable_rule", {"Name": "r"}, "AccessDeniedException"),
    ("intake", "elbv2", "describe_load_balancers", {}, "AccessDenied"),
    ("remediate", "sqs", "receive_message", {"QueueUrl": "$InboxQueueUrl"}, "AccessDenied"),
    ("sweep", "dynamodb", "delete_item", READ_ITEM, "AccessDeniedException"),
    ("sweep", "autoscaling", "describe_lifecycle_hooks", HOOKS, "AccessDenied"),
    ("drill", "autoscaling", "describe_auto_scaling_instances", {}, "AccessDenied"),
    ("intake", "ec2", "describe_spot_instance_requests", {}, "UnauthorizedOperation"),
    ("drill", "sqs", "receive_message", {"QueueUrl": "$PassQueueUrl"}, "AccessDenied"),
    ("drill", "sqs", "receive_message", {"QueueUrl": "$InboxQueueUrl"}, "AccessDenied"),
    ("remediate", "sqs", "receive_message", {"QueueUrl": "$PassDeadQueueUrl"}, "AccessDenied"),
    ("drill", "ssm", "send_command", TOUCH, "AccessDeniedException"),
    ("sweep", "ssm", "send_command", LOOK, "AccessDeniedException"),
    ("intake", "ec2", "describe_instance_status", {}, "UnauthorizedOperation"),
    ("remediate", "elbv2", "describe_target_groups", {}, "AccessDenied"),
    ("remediate", "elbv2", "describe_load_balancers", {}, "AccessDenied"),
    ("remediate", "ssm", "get_parameter", ALIEN_PARAMETER, "AccessDeniedException"),
    ("remediate", "sns", "publish", {"TopicArn": ALIEN_ARN, "Message": "m"}, "AuthorizationError"),
    ("remediate", "dynamodb", "query", {**QUERY, "TableName": f"regrow-{STRANGER}"}, "AccessDeniedException"),
    ("remediate", "dynamodb", "scan", {"TableName": "$TableName"}, "AccessDeniedException"),
    ("remediate", "dynamodb", "get_item", {**READ_ITEM, "TableName": "missing"}, "AccessDeniedException"),
    ("remediate", "autoscaling", "complete_lifecycle_action", LIFECYCLE, "AccessDenied"),
    ("remediate", "autoscaling", "update_auto_scaling_group", {"AutoScalingGroupName": WORKERS}, "AccessDenied"),
    ("remediate", "autoscaling", "start_instance_refresh", HOOKS, "AccessDenied"),
    ("intake", "autoscaling", "describe_instance_refreshes", HOOKS, "AccessDenied"),
]


@pytest.mark.parametrize(("function", "service", "operation", "given", "code"), DENIED)
def test_what_a_role_does_not_say_is_denied(
    account: Account, function: str, service: str, operation: str, given: dict[str, Any], code: str
) -> None:
    client = account.client(service, account.function(function))
    assert outcome(client, operation, **arguments(account, given)) == code


def test_the_drill_may_terminate_a_worker_and_no_control_plane(account: Account) -> None:
    ec2 = account.client("ec2", account.function("drill"))
    worker, master = account.members(WORKERS)[0], account.members(MASTERS)[0]
    assert outcome(ec2, "terminate_instances", InstanceIds=[worker], DryRun=True) == "DryRunOperation"
    assert outcome(ec2, "terminate_instances", InstanceIds=[master], DryRun=True) == "UnauthorizedOperation"
    assert outcome(ec2, "terminate_instances", InstanceIds=[worker, master]) == "UnauthorizedOperation"
    intake = account.client("ec2", account.function("intake"))
    assert outcome(intake, "terminate_instances", InstanceIds=[worker], DryRun=True) == "UnauthorizedOperation"


def test_remediate_reboots_and_replaces_machines_of_its_own_cluster_alone(account: Account) -> None:
    worker, alien = account.members(WORKERS)[0], account.run(WORKERS)  # without tags, and in no group
    keep = {"ShouldDecrementDesiredCapacity": False}
    ec2, groups = (account.client(service, account.function("remediate")) for service in ("ec2", "autoscaling"))
    assert outcome(ec2, "reboot_instances", InstanceIds=[worker], DryRun=True) == "DryRunOperation"
    assert outcome(ec2, "reboot_instances", InstanceIds=[alien], DryRun=True) == "UnauthorizedOperation"
    assert outcome(ec2, "terminate_instances", InstanceIds=[worker], DryRun=True) == "UnauthorizedOperation"
    for other in ("sweep", "drill", "mint", "approve"):
        denied = account.client("autoscaling", account.function(other))
        assert outcome(denied, "terminate_instance_in_auto_scaling_group", InstanceId=worker, **keep) == "AccessDenied"
    assert outcome(groups, "terminate_instance_in_auto_scaling_group", InstanceId=alien, **keep) == "AccessDenied"

    def replaced() -> bool:
        """Launches are given up in seconds here, so a member may be none any more."""
        (group,) = groups.describe_auto_scaling_groups(AutoScalingGroupNames=[WORKERS])["AutoScalingGroups"]
        return "ok" in [
            outcome(groups, "terminate_instance_in_auto_scaling_group", InstanceId=member["InstanceId"], **keep)
            for member in group["Instances"]
        ]

    eventually(replaced)


@pytest.mark.parametrize("role", [WORKERS, MASTERS])
def test_remediate_sends_its_two_documents_to_machines_of_its_own_cluster_alone(account: Account, role: str) -> None:
    machine, alien = account.members(role)[0], account.run(role)
    ssm = account.client("ssm", account.function("remediate"))
    asked = {"DocumentName": f"regrow-{CLUSTER}-machine", "Parameters": {"action": ["restart-kubelet"]}}
    # No agent has registered here, and who is refused would not hear of that.
    assert outcome(ssm, "send_command", InstanceIds=[machine], **asked) == "InvalidInstanceId"
    assert outcome(ssm, "send_command", InstanceIds=[alien], **asked) == "AccessDeniedException"
    shell = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["reboot"]}}
    assert outcome(ssm, "send_command", InstanceIds=[machine], **shell) == "AccessDeniedException"


def test_remediate_completes_hooks_and_leaves_target_groups_of_its_own_cluster(account: Account) -> None:
    groups = account.client("autoscaling", account.function("remediate"))
    given = {**LIFECYCLE, "AutoScalingGroupName": WORKERS}
    assert outcome(groups, "complete_lifecycle_action", **given) not in {"ok", "AccessDenied", "InternalFailure"}
    balancing = account.client("elbv2", account.function("remediate"))
    own, administrator = account.outputs["ApiTargetGroupArn"], account.client("elbv2")
    vpc = administrator.describe_target_groups()["TargetGroups"][0]["VpcId"]
    other = administrator.create_target_group(Name=STRANGER, Protocol="TCP", Port=80, VpcId=vpc)
    alien = other["TargetGroups"][0]["TargetGroupArn"]
    targets = [{"Id": account.members(MASTERS)[0]}]
    assert outcome(balancing, "deregister_targets", TargetGroupArn=own, Targets=targets) == "ok"
    assert outcome(balancing, "deregister_targets", TargetGroupArn=alien, Targets=targets) == "AccessDenied"


@pytest.mark.parametrize("function", ["remediate", "sweep", "drill", "mint", "approve"])
def test_lambda_may_make_and_unmake_network_interfaces_and_the_functions_code_may_not(
    account: Account, function: str
) -> None:
    """Lambda itself comes with the function's role, and without the key that the function's own calls carry."""
    # An address of its own: one that moto draws may be a machine's.
    made = account.client("ec2").create_network_interface(SubnetId=account.subnet, PrivateIpAddress="127.79.1.240")
    interface = {"NetworkInterfaceId": made["NetworkInterface"]["NetworkInterfaceId"]}
    code = account.client("ec2", account.function(function))
    itself = account.client("ec2", assumed(account, account.outputs[f"{function.capitalize()}RoleArn"]))
    address = {**interface, "PrivateIpAddresses": ["127.79.1.250"]}
    for operation, arguments in (
        ("describe_network_interfaces", {}),
        ("describe_subnets", {}),
        ("assign_private_ip_addresses", address),
        ("unassign_private_ip_addresses", address),
        ("delete_network_interface", interface),
    ):
        assert outcome(code, operation, **arguments) == "UnauthorizedOperation"
        assert outcome(itself, operation, **arguments) == "ok"


def test_each_item_of_a_transaction_is_decided_about_by_itself(account: Account) -> None:
    table = account.outputs["TableName"]
    put, delete = {"Put": {"TableName": table, "Item": KEY}}, {"Delete": {"TableName": table, "Key": KEY}}
    alien = {"Delete": {"TableName": f"regrow-{STRANGER}", "Key": {"pk": KEY["pk"]}}}
    remediate = account.client("dynamodb", account.function("remediate"))
    assert outcome(remediate, "transact_write_items", TransactItems=[put]) == "ok"
    assert outcome(remediate, "transact_write_items", TransactItems=[delete]) == "ok"
    assert outcome(remediate, "transact_write_items", TransactItems=[put, alien]) == "AccessDeniedException"
    sweep = account.client("dynamodb", account.function("sweep"))
    assert outcome(sweep, "transact_write_items", TransactItems=[delete]) == "AccessDeniedException"


def test_a_control_plane_publishes_its_cluster_and_no_other(account: Account) -> None:
    keys = account.machine(account.run(MASTERS))
    ssm = account.client("ssm", keys)
    secret = {"Value": "v", "Type": "SecureString"}
    assert outcome(ssm, "put_parameter", Name=KUBECONFIG, Overwrite=True, **secret) == "ok"
    assert outcome(ssm, "get_parameter", Name=KUBECONFIG, WithDecryption=True) == "ok"
    for other in (f"/regrow/{STRANGER}/kubeconfig/remediate", f"/regrow/{CLUSTER}/anything"):
        assert outcome(ssm, "put_parameter", Name=other, Overwrite=True, **secret) == "AccessDeniedException"
    balancing = account.client("elbv2", keys)
    targets = {"TargetGroupArn": account.outputs["ApiTargetGroupArn"], "Targets": [{"Id": "i-0123456789abcdef0"}]}
    assert outcome(balancing, "deregister_targets", **targets) == "AccessDenied"


def test_a_worker_may_not_change_anything(account: Account) -> None:
    keys = account.machine(account.run(WORKERS))
    assert outcome(account.client("ssm", keys), "get_parameter", Name=KUBECONFIG) == "AccessDeniedException"
    assert outcome(account.client("ssm", keys), "put_parameter", Name=JOIN, Value="v", Type="String") in REFUSALS
    assert outcome(account.client("ec2", keys), "describe_instances") == "UnauthorizedOperation"
    given = {"AutoScalingGroupName": WORKERS, "DesiredCapacity": 9}
    assert outcome(account.client("autoscaling", keys), "set_desired_capacity", **given) == "AccessDenied"


def test_every_other_key_is_the_administrators(account: Account) -> None:
    assert outcome(account.client("iam"), "list_roles") == "ok"
    assert (
        outcome(account.client("ec2", {**ADMINISTRATOR, "aws_access_key_id": "AKIAEXAMPLE"}), "describe_vpcs") == "ok"
    )


def test_a_role_that_the_administrator_assumed_is_held_to_its_policies(account: Account) -> None:
    keys = assumed(account, account.outputs["IntakeRoleArn"])
    assert outcome(account.client("ec2", keys), "describe_instances") == "UnauthorizedOperation"


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("ec2", "describe_instances", "AuthFailure"),
        ("ssm", "describe_parameters", "UnrecognizedClientException"),
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("sqs", "list_queues", "InvalidClientTokenId"),
    ],
)
def test_a_temporary_key_that_nobody_gave_out_opens_nothing(
    account: Account, service: str, operation: str, code: str
) -> None:
    stolen = {**account.function("remediate"), "aws_access_key_id": "ASIAAAAAAAAAAAAAAAAA"}
    assert outcome(account.client(service, stolen), operation) == code
    tokenless = {**account.function("remediate"), "aws_session_token": "another"}
    assert outcome(account.client(service, tokenless), operation) == code


@pytest.mark.parametrize(("service", "operation"), [("ec2", "describe_vpcs"), ("ssm", "describe_parameters")])
def test_a_request_without_a_signature_is_nobodys(account: Account, service: str, operation: str) -> None:
    unsigned = Config(signature_version=UNSIGNED)
    client = boto3.client(service, region_name=REGION, endpoint_url=account.cloud.endpoint, config=unsigned)
    assert outcome(client, operation).startswith("MissingAuthenticationToken")


def test_a_presigned_request_of_a_role_is_never_let_through(account: Account) -> None:
    url = account.client("sts", account.function("remediate")).generate_presigned_url("get_caller_identity")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url)  # noqa: S310 - our own server
    assert "presigned request to sts" in refused.value.read().decode()


def signed_request(account: Account, function: str, service: str, path: str, body: bytes) -> str:
    """The answer to a request that no SDK would make."""
    keys = account.function(function)
    given = Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["aws_session_token"])
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", account.cloud.endpoint + path, headers=form, data=body)
    SigV4Auth(given, service, REGION).add_auth(request)
    prepared = request.prepare()
    made = urllib.request.Request(prepared.url, prepared.body, dict(prepared.headers))  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(made) as answer:  # noqa: S310
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def test_an_allowed_operation_does_not_cover_for_another(account: Account) -> None:
    body = b"Action=DescribeVpcs&Version=2016-11-15"
    answer = signed_request(account, "remediate", "ec2", "/?Action=DescribeInstances&Version=2016-11-15", body)
    assert "an operation in the query and one in the body" in answer
    assert "not authorized to perform: ec2:DescribeVpcs" in signed_request(account, "remediate", "ec2", "/", body)


def test_a_service_that_does_not_exist_is_named(account: Account) -> None:
    assert "nosuch: POST / is no operation" in signed_request(account, "remediate", "nosuch", "/", b"Action=A")


def test_a_call_about_which_nothing_is_known_fails_and_is_named(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    for service, operation, named in [("iam", "list_roles", "iam:ListRoles"), ("sqs", "create_queue", "CreateQueue")]:
        client = account.client(service, account.function("remediate"))
        with caplog.at_level(logging.ERROR), pytest.raises(ClientError, match=named) as failed:
            getattr(client, operation)(**({"QueueName": "q"} if service == "sqs" else {}))
        assert failed.value.response["Error"]["Code"] == "InternalFailure"
        assert named in caplog.text


NOBODYS = "/somebody/elses"


def test_a_denial_is_in_the_worlds_log_with_all_that_decided(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    machine = account.run(WORKERS)
    client = account.client("ssm", account.machine(machine))
    with caplog.at_level(logging.WARNING), pytest.raises(ClientError) as denied:
        client.get_parameter(Name=NOBODYS)
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{WORKERS}/{machine}"
    resource = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{NOBODYS}"
    assert denied.value.response["Error"]["Message"] == (
        f"User: {session} is not authorized to perform: ssm:GetParameter on resource: {resource} "
        "because no identity-based policy allows the ssm:GetParameter action"
    )
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("access denied")]
    for part in (
        f"principal={session}",
        "action=ssm:GetParameter",
        f"resource={resource}",
        "'ec2:roledelivery': '2.0'",
    ):
        assert part in line


def test_a_policy_that_changes_counts_at_once(account: Account) -> None:
    iam, role = account.client("iam"), account.outputs["IntakeRoleArn"].rpartition("/")[2]
    ec2 = account.client("ec2", account.function("intake"))
    statement = '{"Version":"2012-10-17","Statement":{"Effect":"%s","Action":"ec2:Describe*","Resource":"*"}}'
    assert outcome(ec2, "describe_vpcs") == "UnauthorizedOperation"
    iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument=statement % "Allow")
    assert outcome(ec2, "describe_vpcs") == "ok"
    managed = iam.create_policy(PolicyName="no-more", PolicyDocument=statement % "Deny")["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=managed)
    assert outcome(ec2, "describe_vpcs") == "UnauthorizedOperation"
    iam.detach_role_policy(RoleName=role, PolicyArn=managed)
    iam.delete_role_policy(RoleName=role, PolicyName="more")
    assert outcome(ec2, "describe_vpcs") == "UnauthorizedOperation"


def test_a_policy_that_cannot_be_evaluated_fails_every_call_of_its_role(account: Account) -> None:
    iam, role = account.client("iam"), account.outputs["IntakeRoleArn"].rpartition("/")[2]
    condition = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":%s}}'
    iam.put_role_policy(
        RoleName=role, PolicyName="odd", PolicyDocument=condition % '{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}'
    )
    sqs = account.client("sqs", account.function("intake"))
    try:
        assert outcome(sqs, "send_message", **arguments(account, SEND)) == "InternalFailure"
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="odd")
    assert outcome(sqs, "send_message", **arguments(account, SEND)) == "ok"
