"""Why each call is made. One that is counted and has no reason here fails the bench."""

from __future__ import annotations

from collections.abc import Mapping

from bench.counting import Called

_EVERYWHERE: Mapping[str, str] = {
    "ssm:GetParameter": "its identity at the API server, once for each environment",
}
_REASONS: Mapping[str, Mapping[str, str]] = {
    "intake": {"sqs:SendMessage": "orders passes: of events, of notifications, and of looks that are due"},
    "remediate": {
        "autoscaling:CompleteLifecycleAction": "lets the machine go on; an old action's end is no error",
        "autoscaling:DescribeAutoScalingGroups": "whose machine it is, and in which lifecycle state",
        "autoscaling:DescribeAutoScalingInstances": "whether a hook waits right now: no description has the token",
        "autoscaling:DescribeLifecycleHooks": "which of the hooks are ours",
        "autoscaling:RecordLifecycleActionHeartbeat": "the hook waits on, every 20 s",
        "dynamodb:DeleteItem": "what was counted or said of a machine is over",
        "dynamodb:GetItem": "our record of the machine, its doubt; the case and its place, before either is changed",
        "dynamodb:PutItem": "history; a first record; what is said once to a person, or done once in a while",
        "dynamodb:Query": "memory of a pass: cases, pauses, joins, approvals, launches given up",
        "dynamodb:TransactWriteItems": "a case opens, frees its place, closes: both items or none",
        "dynamodb:UpdateItem": "the case changes its phase",
        "autoscaling:DescribeInstanceRefreshes": "whether its group is being renewed, before one is replaced",
        "autoscaling:TerminateInstanceInAutoScalingGroup": "the last rung: another one is started",
        "ec2:DescribeInstanceStatus": "what is scheduled, where such was told; checks, beside a silent kubelet",
        "ec2:RebootInstances": "a rung, for a doubtful machine",
        "ec2:DescribeInstances": "the instance's state: what proves that it is dead",
        "ec2:GetConsoleOutput": "why a launch never joined",
        "elasticloadbalancing:DeregisterTargets": "no new requests go to a machine that leaves",
        "elasticloadbalancing:DescribeTargetHealth": "whether it is a target, and its requests still end",
        "elasticloadbalancing:DeregisterInstancesFromLoadBalancer": "the same, classic",
        "elasticloadbalancing:DescribeInstanceHealth": "the same, classic",
        "lambda:InvokeFunction": "mint and approve, which hold what a pass may not",
        "lambda:Invoke": "mint and approve, which hold what a pass may not",
        "sns:Publish": "a person is told",
        "ec2:DescribeSpotInstanceRequests": "of control planes, whose line knows no single announcement",
        "ssm:SendCommand": "a control plane is asked about etcd, or changes it; a service is restarted",
        "ssm:GetCommandInvocation": "what it answered",
        "sqs:SendMessage": "the next look",
        "create pods/eviction": "one for each pod: the budget decides",
        "delete nodes": "the Node of an instance that is proved gone",
        "delete pods": "one for each pod of a dead machine, by uid",
        "get nodes": "the machine's Node by name; read again before it is changed",
        "get leases": "when the kubelet of a machine that runs was heard of",
        "list leases": "the same of all, before a doubtful machine is touched",
        "get poddisruptionbudgets": "which budget holds a pod",
        "list nodes": "a machine not yet known by name; whether the group is whole",
        "list poddisruptionbudgets": "which pods of a drain share a budget",
        "list pods": "what runs on the Node",
        "list volumeattachments": "whether a volume is still attached: the Node stays until none is",
        "patch nodes": "cordon, fence, or what undoes them, under uid and resourceVersion",
    },
    "sweep": {
        "autoscaling:DescribeAutoScalingGroups": "the groups and all members, page by page",
        "dynamodb:PutItem": "the first record of a machine seen well",
        "dynamodb:Query": "open cases, records, joins, doubts, brakes",
        "ec2:DescribeInstanceStatus": "maintenance whose event was lost; checks, where a kubelet is silent",
        "ec2:DescribeInstances": "the states of all machines, page by page",
        "ec2:DescribeSpotInstanceRequests": "interruptions whose event was lost",
        "lambda:Invoke": "approve: renewals have no case",
        "lambda:InvokeFunction": "approve: renewals have no case",
        "sqs:SendMessage": "a pass for each machine that needs one",
        "list leases": "when each kubelet was heard of, page by page",
        "list nodes": "all Nodes, page by page, against all machines",
        "list pods": "etcd's, by label: whether all of it is ready",
    },
    "mint": {
        "autoscaling:DescribeAutoScalingGroups": "whether the group is the cluster's and tagged worker",
        "dynamodb:PutItem": "the join record, before and after each thing that it names",
        "dynamodb:Query": "the join records of the instance; pauses",
        "dynamodb:GetItem": "the join record as it is now",
        "ec2:DescribeImages": "the version on the machine's image",
        "ec2:DescribeInstances": "the instance as EC2 knows it now",
        "ssm:DeleteParameter": "the bundle goes when the machine is in service",
        "ssm:ListTagsForResource": "which token is in the bundle",
        "ssm:PutParameter": "the bundle, bound to the instance",
        "create secrets": "the token",
        "create subjectaccessreviews": "that the cluster approves nobody unseen, asked for two groups",
        "delete secrets": "the token goes when the machine is in service",
        "get /version/": "the version that the image must have",
        "get configmaps": "that no token signs cluster-info",
        "get nodes": "that no other Node has its name",
    },
    "approve": {
        "autoscaling:DescribeAutoScalingGroups": "whether the machine is where its record says",
        "dynamodb:GetItem": "whose a client key is already",
        "dynamodb:PutItem": "the approval, and the key, before the word is given",
        "dynamodb:Query": "joins and approvals: of one instance, or all of which something is still to be seen",
        "dynamodb:DeleteItem": "what is no longer to be looked at",
        "ec2:DescribeInstances": "the instance as EC2 knows it now",
        "get nodes": "the Node that asks for a serving certificate",
        "get certificatesigningrequests": "the certificate that was issued",
        "list certificatesigningrequests": "those that are pending; the list knows no selector for that",
        "update certificatesigningrequests/approval": "the word on one request, under uid and resourceVersion",
    },
}


def reason_of(called: Called) -> str | None:
    """None when nobody has given one."""
    return _REASONS.get(called.function, {}).get(called.action) or _EVERYWHERE.get(called.action)
