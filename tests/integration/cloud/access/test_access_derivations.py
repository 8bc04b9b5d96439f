"""What each call needs: the action, the resource and the keys that the Service Authorization Reference names."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.access.access import UnknownAccessError
from infra.local.cloud.access.calls import Call
from infra.local.cloud.access.services import accesses
from tests.integration.cloud.access.account import ACCOUNT, CLUSTER, REGION, Account, outcome

Keys = dict[str, tuple[str, ...]]
One = tuple[str, str, Keys]
Needed = list[One]

HERE = f"{REGION}:{ACCOUNT}"
TABLE = f"regrow-{CLUSTER}"
TABLE_ARN = f"arn:aws:dynamodb:{HERE}:table/{TABLE}"
KEY = {"pk": {"S": "case"}, "sk": {"S": "i-1"}}
OTHER = {"pk": {"S": "said"}, "sk": {"S": "k"}}
SECRET, PLAIN = "/derived/below/secret", "/derived/plain"
PARAMETER = f"arn:aws:ssm:{HERE}:parameter"
SSM_KMS: Keys = {"kms:viaservice": (f"ssm.{REGION}.amazonaws.com",)}


@pytest.fixture(scope="module", autouse=True)
def _parameters(account: Account) -> None:
    ssm, tags = account.client("ssm"), [{"Key": "Owner", "Value": "ann"}]
    ssm.put_parameter(Name=SECRET, Value="v", Type="SecureString", Tags=tags)
    ssm.put_parameter(Name=PLAIN, Value="v", Type="String")


def needed(service: str, operation: str, params: dict[str, Any]) -> Needed:
    found = accesses(Call(service, operation, params, REGION, ACCOUNT))
    return [(each.action, each.resource, dict(each.context)) for each in found]


def check(service: str, operation: str, params: dict[str, Any], expected: Needed) -> None:
    """Every expected key is there with its values, and `()` says that it is not."""
    found = needed(service, operation, params)
    assert [(action, resource) for action, resource, _ in found] == [(a, r) for a, r, _ in expected]
    for (*_, context), (*_, keys) in zip(found, expected, strict=True):
        assert {key: context.get(key, ()) for key in keys} == keys


@pytest.mark.parametrize(
    ("service", "operation", "params", "action", "resource"),
    [
        ("sqs", "SendMessageBatch", {"QueueUrl": "http://a/1/q.fifo"}, "sqs:SendMessage", f"arn:aws:sqs:{HERE}:q.fifo"),
        ("sqs", "GetQueueUrl", {"QueueName": "q"}, "sqs:GetQueueUrl", f"arn:aws:sqs:{HERE}:q"),
        ("ec2", "DescribeInstanceStatus", {}, "ec2:DescribeInstanceStatus", "*"),
        ("ec2", "DescribeSpotInstanceRequests", {}, "ec2:DescribeSpotInstanceRequests", "*"),
        ("autoscaling", "DescribeWarmPool", {}, "autoscaling:DescribeWarmPool", "*"),
        ("autoscaling", "DescribeInstanceRefreshes", {}, "autoscaling:DescribeInstanceRefreshes", "*"),
        ("elasticloadbalancing", "DescribeTargetHealth", {}, "elasticloadbalancing:DescribeTargetHealth", "*"),
        (
            "elasticloadbalancing",
            "DeregisterInstancesFromLoadBalancer",
            {"LoadBalancerName": "old"},
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/old",
        ),
        ("fis", "GetExperiment", {"id": "EXP1"}, "fis:GetExperiment", f"arn:aws:fis:{HERE}:experiment/EXP1"),
        ("fis", "ListExperiments", {}, "fis:ListExperiments", "*"),
        ("sns", "PublishBatch", {"TopicArn": "arn:t"}, "sns:Publish", "arn:t"),
        ("sns", "Publish", {"PhoneNumber": "+1"}, "sns:Publish", "*"),
        ("lambda", "Invoke", {"FunctionName": "f"}, "lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:f"),
        (
            "lambda",
            "Invoke",
            {"FunctionName": f"arn:aws:lambda:{HERE}:function:f:2"},
            "lambda:InvokeFunction",
            f"arn:aws:lambda:{HERE}:function:f:2",
        ),
        (
            "lambda",
            "GetFunction",
            {"FunctionName": "f", "Qualifier": "2"},
            "lambda:GetFunction",
            f"arn:aws:lambda:{HERE}:function:f:2",
        ),
        ("ec2", "DescribeInstances", {}, "ec2:DescribeInstances", "*"),
        (
            "ec2",
            "GetConsoleOutput",
            {"InstanceId": "i-1"},
            "ec2:GetConsoleOutput",
            f"arn:aws:ec2:{HERE}:instance/i-1",
        ),
        ("autoscaling", "DescribeTags", {}, "autoscaling:DescribeTags", "*"),
        ("elasticloadbalancing", "DescribeTags", {}, "elasticloadbalancing:DescribeTags", "*"),
        ("events", "DisableRule", {"Name": "r"}, "events:DisableRule", f"arn:aws:events:{HERE}:rule/r"),
        (
            "events",
            "PutTargets",
            {"Rule": "r", "EventBusName": "b"},
            "events:PutTargets",
            f"arn:aws:events:{HERE}:rule/b/r",
        ),
        ("events", "PutEvents", {"Entries": [{}]}, "events:PutEvents", f"arn:aws:events:{HERE}:event-bus/default"),
        (
            "logs",
            "PutLogEvents",
            {"logGroupName": "/g", "logStreamName": "s"},
            "logs:PutLogEvents",
            f"arn:aws:logs:{HERE}:log-group:/g:log-stream:s",
        ),
        ("cloudwatch", "GetMetricData", {}, "cloudwatch:GetMetricData", "*"),
        ("dynamodb", "DescribeTable", {"TableName": TABLE}, "dynamodb:DescribeTable", TABLE_ARN),
    ],
)
def test_a_call_is_about_one_resource(
    service: str, operation: str, params: dict[str, Any], action: str, resource: str
) -> None:
    check(service, operation, params, [(action, resource, {})])


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("operation", "params", "expected"),
    [
        (
            "GetItem",
            {"TableName": TABLE, "Key": KEY, "ProjectionExpression": "#p, place.zone"}
            | {"ExpressionAttributeNames": {"#p": "phase"}},
            [
                (
                    "dynamodb:GetItem",
                    TABLE_ARN,
                    {
                        "dynamodb:leadingkeys": ("case",),
                        "dynamodb:attributes": ("phase", "pk", "place", "sk"),
                        "dynamodb:select": ("SPECIFIC_ATTRIBUTES",),
                    },
                )
            ],
        ),
        (
            "UpdateItem",
            {
                "TableName": TABLE_ARN,
                "Key": KEY,
                "UpdateExpression": "SET phase = if_not_exists(phase, :p) REMOVE place",
                "ConditionExpression": "attribute_exists(pk) AND NOT begins_with(grp, :g)",
            },
            [
                (
                    "dynamodb:UpdateItem",
                    TABLE_ARN,
                    {"dynamodb:attributes": ("grp", "phase", "pk", "place", "sk"), "dynamodb:select": ()},
                )
            ],
        ),
        (
            "Query",
            {
                "TableName": TABLE,
                "KeyConditionExpression": "#k = :k AND sk > :s",
                "ExpressionAttributeNames": {"#k": "pk"},
                "ExpressionAttributeValues": {":k": {"S": "join"}, ":s": {"S": "a"}},
            },
            [
                (
                    "dynamodb:Query",
                    TABLE_ARN,
                    {
                        "dynamodb:leadingkeys": ("join",),
                        "dynamodb:attributes": ("pk", "sk"),
                        "dynamodb:select": ("ALL_ATTRIBUTES",),
                    },
                )
            ],
        ),
        ("Scan", {"TableName": TABLE}, [("dynamodb:Scan", TABLE_ARN, {"dynamodb:leadingkeys": ()})]),
        (
            "BatchGetItem",
            {"RequestItems": {TABLE: {"Keys": [KEY, OTHER]}}},
            [("dynamodb:BatchGetItem", TABLE_ARN, {"dynamodb:leadingkeys": ("case", "said")})],
        ),
        (
            "BatchWriteItem",
            {"RequestItems": {TABLE: [{"PutRequest": {"Item": KEY}}, {"DeleteRequest": {"Key": OTHER}}]}},
            [("dynamodb:BatchWriteItem", TABLE_ARN, {"dynamodb:leadingkeys": ("case", "said")})],
        ),
        (
            "TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"TableName": TABLE, "Item": KEY}},
                    {"Update": {"TableName": TABLE, "Key": OTHER}},
                    {"Delete": {"TableName": TABLE, "Key": KEY}},
                    {"ConditionCheck": {"TableName": TABLE, "Key": OTHER, "ConditionExpression": "a = :b"}},
                ]
            },
            [
                ("dynamodb:PutItem", TABLE_ARN, {"dynamodb:leadingkeys": ("case",)}),
                ("dynamodb:UpdateItem", TABLE_ARN, {"dynamodb:leadingkeys": ("said",)}),
                ("dynamodb:DeleteItem", TABLE_ARN, {"dynamodb:enclosingoperation": ("TransactWriteItems",)}),
                ("dynamodb:ConditionCheckItem", TABLE_ARN, {"dynamodb:attributes": ("a", "pk", "sk")}),
            ],
        ),
        (
            "TransactGetItems",
            {"TransactItems": [{"Get": {"TableName": TABLE, "Key": KEY}}]},
            [("dynamodb:GetItem", TABLE_ARN, {"dynamodb:leadingkeys": ("case",)})],
        ),
    ],
)
def test_a_tables_items_and_attributes_are_named(operation: str, params: dict[str, Any], expected: Needed) -> None:
    check("dynamodb", operation, params, expected)


def decrypting(account: Account, name: str, operation: str = "Decrypt") -> One:
    key = account.client("kms").describe_key(KeyId="alias/aws/ssm")["KeyMetadata"]["Arn"]
    return (f"kms:{operation}", key, {**SSM_KMS, "kms:encryptioncontext:parameter_arn": (f"{PARAMETER}{name}",)})


def test_reading_a_secret_needs_its_key_and_only_when_it_is_decrypted(account: Account) -> None:
    tags: Keys = {"aws:resourcetag/owner": ("ann",), "ssm:resourcetag/owner": ("ann",)}
    asked: dict[str, Any] = {"Name": SECRET, "WithDecryption": True}
    read: One = ("ssm:GetParameter", f"{PARAMETER}{SECRET}", tags)
    check("ssm", "GetParameter", asked, [read, decrypting(account, SECRET)])
    check("ssm", "GetParameter", {"Name": SECRET}, [read])
    check("ssm", "GetParameter", {"Name": f"{PARAMETER}{SECRET}:1"}, [read])
    check("ssm", "GetParameter", {**asked, "Name": PLAIN}, [("ssm:GetParameter", f"{PARAMETER}{PLAIN}", {})])
    several = {"Names": [PLAIN, SECRET], "WithDecryption": True}
    one: One = ("ssm:GetParameters", f"{PARAMETER}{PLAIN}", {})
    other: One = ("ssm:GetParameters", f"{PARAMETER}{SECRET}", tags)
    check("ssm", "GetParameters", several, [one, other, decrypting(account, SECRET)])
    check("ssm", "GetParameter", {"Name": "bare"}, [("ssm:GetParameter", f"{PARAMETER}/bare", {})])


def test_a_path_is_decided_about_with_the_keys_of_what_is_below(account: Account) -> None:
    path = {"Path": "/derived", "WithDecryption": True}
    flat: One = ("ssm:GetParametersByPath", f"{PARAMETER}/derived", {"ssm:recursive": ("false",)})
    deep: One = ("ssm:GetParametersByPath", f"{PARAMETER}/derived", {"ssm:recursive": ("true",)})
    check("ssm", "GetParametersByPath", path, [flat])
    check("ssm", "GetParametersByPath", {**path, "Recursive": True}, [deep, decrypting(account, SECRET)])


def test_writing_a_secret_with_tags_needs_three_permissions(account: Account) -> None:
    secret = {"Name": "/derived/new", "Value": "v", "Type": "SecureString"}
    tags: Keys = {"aws:requesttag/a": ("1",), "aws:tagkeys": ("a", "b")}
    resource = f"{PARAMETER}/derived/new"
    put: One = ("ssm:PutParameter", resource, {**tags, "ssm:overwrite": ("false",)})
    key = decrypting(account, "/derived/new", "Encrypt")
    given = {**secret, "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]}
    check("ssm", "PutParameter", given, [put, ("ssm:AddTagsToResource", resource, tags), key])
    untagged: One = ("ssm:PutParameter", resource, {"aws:tagkeys": ()})
    check("ssm", "PutParameter", secret, [untagged, key])
    data_key = decrypting(account, "/derived/new", "GenerateDataKey")
    check("ssm", "PutParameter", {**secret, "Tier": "Advanced"}, [untagged, data_key])


def test_a_group_and_its_tags_are_known_by_group_and_by_member(account: Account) -> None:
    name = f"regrow-{CLUSTER}-worker"
    (group,) = account.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
        "AutoScalingGroups"
    ]
    arn = group["AutoScalingGroupARN"]
    tags: Keys = {f"{of}:resourcetag/regrow:cluster": (CLUSTER,) for of in ("aws", "autoscaling")}
    complete: Needed = [("autoscaling:CompleteLifecycleAction", arn, tags)]
    check("autoscaling", "CompleteLifecycleAction", {"AutoScalingGroupName": name}, complete)
    (member, *_) = account.members(name)
    check("autoscaling", "SetInstanceHealth", {"InstanceId": member}, [("autoscaling:SetInstanceHealth", arn, tags)])
    ended: Needed = [("autoscaling:TerminateInstanceInAutoScalingGroup", arn, tags)]
    for asked_for in ({"InstanceId": member}, {"InstanceIds": [member], "AutoScalingGroupName": name}):
        check("autoscaling", "TerminateInstanceInAutoScalingGroup", asked_for, ended)
    tagging = {"Tags": [{"ResourceId": name, "Key": "until", "Value": "9"}]}
    asked: Keys = {**tags, "aws:tagkeys": ("until",), "aws:requesttag/until": ("9",)}
    check("autoscaling", "CreateOrUpdateTags", tagging, [("autoscaling:CreateOrUpdateTags", arn, asked)])


def test_each_instance_is_decided_about_with_its_own_tags(account: Account) -> None:
    worker, master = (account.members(f"regrow-{CLUSTER}-{role}")[0] for role in ("worker", "control-plane"))
    roles: list[tuple[str, Keys]] = [
        (worker, {"ec2:resourcetag/regrow:role": ("worker",)}),
        (master, {"ec2:resourcetag/regrow:role": ("control-plane",)}),
    ]
    expected: Needed = [("ec2:StopInstances", f"arn:aws:ec2:{HERE}:instance/{one}", tags) for one, tags in roles]
    check("ec2", "StopInstances", {"InstanceIds": [worker, master]}, expected)
    rebooted: Needed = [("ec2:RebootInstances", resource, tags) for _, resource, tags in expected]
    check("ec2", "RebootInstances", {"InstanceIds": [worker, master]}, rebooted)


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("s3", "GetObject", {}),
        ("ec2", "RunInstances", {}),
        ("ssm", "AddTagsToResource", {"ResourceType": "Document", "ResourceId": "d"}),
        ("ec2", "CreateTags", {"Resources": ["odd-1"]}),
        ("kms", "Decrypt", {}),
        ("sqs", "SendMessage", {}),
    ],
)
def test_what_is_not_known_is_told(service: str, operation: str, params: dict[str, Any]) -> None:
    with pytest.raises(UnknownAccessError, match=f"{service}:{operation}"):
        needed(service, operation, params)


def test_a_classic_load_balancer_is_known_by_its_name_and_its_tags(account: Account) -> None:
    elb, name = account.client("elb"), "derived"
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 80}
    tags = [{"Key": "regrow:cluster", "Value": CLUSTER}]
    elb.create_load_balancer(LoadBalancerName=name, Listeners=[listener], Subnets=[account.subnet], Tags=tags)
    keys: Keys = {"aws:resourcetag/regrow:cluster": (CLUSTER,)}
    arn = f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/{name}"
    for operation in ("DeregisterInstancesFromLoadBalancer", "RegisterInstancesWithLoadBalancer"):
        action = f"elasticloadbalancing:{operation}"
        check("elasticloadbalancing", operation, {"LoadBalancerName": name}, [(action, arn, keys)])


def test_a_role_may_deregister_from_the_classic_load_balancers_of_its_cluster_alone(account: Account) -> None:
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstancePort": 80}
    mine = account.client("elb", account.function("remediate"))
    instances = [{"InstanceId": "i-0123456789abcdef0"}]
    for owner, expected in ((CLUSTER, "ok"), ("stranger", "AccessDenied")):
        account.client("elb").create_load_balancer(
            LoadBalancerName=f"of-{owner}",
            Listeners=[listener],
            Subnets=[account.subnet],
            Tags=[{"Key": "regrow:cluster", "Value": owner}],
        )
        asked = {"LoadBalancerName": f"of-{owner}", "Instances": instances}
        assert outcome(mine, "deregister_instances_from_load_balancer", **asked) == expected


def test_an_experiment_needs_its_template_its_actions_and_itself() -> None:
    action = "aws:ec2:send-spot-instance-interruptions"
    given = {"actions": {"take": {"actionId": action}}, "tags": {"Owner": "ann"}}
    keys: Keys = {"aws:requesttag/owner": ("ann",)}
    create, start = "fis:CreateExperimentTemplate", "fis:StartExperiment"
    expected: Needed = [
        (create, f"arn:aws:fis:{HERE}:experiment-template/*", keys),
        (create, f"arn:aws:fis:{HERE}:action/{action}", keys),
    ]
    check("fis", "CreateExperimentTemplate", given, expected)
    started: Needed = [
        (start, f"arn:aws:fis:{HERE}:experiment-template/EXT1", {}),
        (start, f"arn:aws:fis:{HERE}:experiment/*", {}),
    ]
    check("fis", "StartExperiment", {"experimentTemplateId": "EXT1"}, started)
