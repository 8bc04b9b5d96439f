"""An error of AWS becomes one of ours, with service, call and code, whichever of botocore's it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config

from functions.cluster.machine import InstanceId, Transition
from functions.edges import aws
from functions.edges.alerts import AlertsEdge
from functions.edges.autoscaling import AutoScalingEdge
from functions.edges.ec2 import Ec2Edge
from functions.edges.load_balancing import LoadBalancingEdge
from functions.edges.parameters import read_credentials
from functions.edges.queues import QueuesEdge
from functions.edges.table import TableEdge
from functions.errors import ConfigurationError, RegrowError, RetryableError
from functions.messages import Look
from tests.integration.functions.answering import Answer, answering, closed_port
from tests.unit.functions.builders import CLUSTER, NOW, ONE, WORKERS

IMPATIENT = aws.CONFIG.merge(Config(connect_timeout=0.3, read_timeout=0.3, retries={"total_max_attempts": 1}))


def client(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=IMPATIENT,
    )


def ec2_error(code: str, status: int = 400) -> Answer:
    text = f"<Response><Errors><Error><Code>{code}</Code><Message>so it is</Message></Error></Errors></Response>"
    return Answer(status, text.encode(), "text/xml")


def query_error(code: str, message: str = "so it is", status: int = 400) -> Answer:
    text = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    return Answer(status, text.encode(), "text/xml")


def json_error(code: str, status: int = 400) -> Answer:
    return Answer(status, f'{{"__type": "com.amazonaws#{code}", "message": "so it is"}}'.encode())


def read_ec2(url: str) -> object:
    return Ec2Edge(client("ec2", url)).instance(ONE)


def read_groups(url: str) -> object:
    return AutoScalingEdge(client("autoscaling", url)).groups(CLUSTER)


def read_table(url: str) -> object:
    return TableEdge(client("dynamodb", url), table="regrow-drill").cases()


def read_parameter(url: str) -> object:
    return read_credentials(client("ssm", url), "/regrow/drill/kubeconfig/remediate")


def send_look(url: str) -> None:
    QueuesEdge(client("sqs", url), pass_queue_url=f"{url}/1/pass.fifo", inbox_queue_url=f"{url}/1/later").look_later(
        Look(ONE, "x"), now=NOW, after=NOW - NOW
    )


def publish(url: str) -> None:
    AlertsEdge(client("sns", url), topic_arn="arn:aws:sns:us-east-1:123456789012:regrow").alert("subject", "text")


@pytest.mark.parametrize(
    ("call", "answer", "error", "says"),
    [
        (read_ec2, ec2_error("RequestLimitExceeded", 503), RetryableError, "EC2 DescribeInstances: RequestLimitExceed"),
        (read_ec2, ec2_error("RequestExpired"), RetryableError, "EC2 DescribeInstances: RequestExpired: so it is"),
        (read_ec2, ec2_error("AuthFailure", 401), RetryableError, "EC2 DescribeInstances: AuthFailure"),
        (read_ec2, ec2_error("UnauthorizedOperation", 403), ConfigurationError, "UnauthorizedOperation: so it is"),
        (read_ec2, ec2_error("InvalidInstanceID.Malformed"), RetryableError, "InvalidInstanceID.Malformed"),
        (read_ec2, ec2_error("InternalError", 500), RetryableError, "InternalError"),
        (read_ec2, Answer(502, b"<html>Bad Gateway</html>", "text/html"), RetryableError, "EC2 DescribeInstances"),
        (read_ec2, Answer(200, b"no xml at all", "text/plain"), RetryableError, "EC2 DescribeInstances"),
        (read_groups, query_error("Throttling"), RetryableError, "Auto Scaling DescribeAutoScalingGroups: Throttling"),
        (read_groups, query_error("ExpiredToken", status=403), RetryableError, "ExpiredToken"),
        (read_groups, query_error("AccessDenied", status=403), ConfigurationError, "AccessDenied"),
        (read_table, json_error("ProvisionedThroughputExceededException"), RetryableError, "DynamoDB Query"),
        (read_table, json_error("ExpiredTokenException"), RetryableError, "ExpiredTokenException"),
        (read_table, json_error("AccessDeniedException"), ConfigurationError, "DynamoDB Query: AccessDeniedException"),
        (read_table, json_error("ResourceNotFoundException"), ConfigurationError, "ResourceNotFoundException"),
        (
            read_parameter,
            json_error("ParameterNotFound"),
            ConfigurationError,
            "kubeconfig/remediate: ParameterNotFound",
        ),
        (read_parameter, json_error("ThrottlingException"), RetryableError, "SSM GetParameter /regrow/drill"),
        (send_look, json_error("QueueDoesNotExist"), ConfigurationError, "SQS SendMessage"),
        (publish, query_error("AuthorizationError", status=403), ConfigurationError, "SNS Publish: AuthorizationError"),
    ],
)
def test_an_error_says_service_call_and_code_and_whether_a_person_must_mend_it(
    call: Callable[[str], object], answer: Answer, error: type[RegrowError], says: str
) -> None:
    with answering(answer) as server, pytest.raises(error) as raised:
        call(server.url)
    assert says in str(raised.value)


@pytest.mark.parametrize("call", [read_ec2, read_groups, read_table, read_parameter, send_look, publish])
def test_an_endpoint_that_nobody_serves_is_retryable(call: Callable[[str], object]) -> None:
    with pytest.raises(RetryableError, match="Could not connect"):
        call(f"http://127.0.0.1:{closed_port()}")


@pytest.mark.parametrize("call", [read_ec2, read_table])
def test_an_endpoint_that_does_not_answer_in_time_is_retryable(call: Callable[[str], object]) -> None:
    with answering(Answer(hangs=True)) as server, pytest.raises(RetryableError, match="Read timeout"):
        call(server.url)


def test_an_unknown_state_of_an_instance_is_no_state() -> None:
    text = (
        "<DescribeInstancesResponse><reservationSet><item><instancesSet><item>"
        f"<instanceId>{ONE}</instanceId><instanceState><name>melting</name></instanceState>"
        "<launchTime>2026-11-21T12:00:00Z</launchTime></item></instancesSet></item></reservationSet>"
        "</DescribeInstancesResponse>"
    )
    with answering(Answer(200, text.encode(), "text/xml")) as server, pytest.raises(RetryableError, match="melting"):
        read_ec2(server.url)


@pytest.mark.parametrize("code", ["TargetGroupNotFound", "InvalidTarget"])
def test_a_target_that_is_gone_already_is_success(code: str) -> None:
    with answering(query_error(code)) as server:
        edge = LoadBalancingEdge(client("elbv2", server.url), client("elb", server.url))
        edge.deregister(ONE, "arn:aws:elasticloadbalancing:web")
        assert len(server.requests) == 1


WAITS = Answer(
    200,
    (
        "<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances><member>"
        f"<InstanceId>{ONE}</InstanceId><AutoScalingGroupName>{WORKERS}</AutoScalingGroupName>"
        "<LifecycleState>Terminating:Wait</LifecycleState></member></AutoScalingInstances>"
        "</DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>"
    ).encode(),
    "text/xml",
)
HOOKS = Answer(
    200,
    (
        b"<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks>"
        b"<member><LifecycleHookName>regrow-launch</LifecycleHookName>"
        b"<LifecycleTransition>autoscaling:EC2_INSTANCE_LAUNCHING</LifecycleTransition></member>"
        b"<member><LifecycleHookName>upload-logs</LifecycleHookName>"
        b"<LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition></member>"
        b"<member><LifecycleHookName>regrow-terminate</LifecycleHookName>"
        b"<LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition></member>"
        b"</LifecycleHooks></DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>"
    ),
    "text/xml",
)
NO_ACTION = f"No active Lifecycle Action found with instance ID {ONE}"


def complete(url: str, instance: InstanceId = ONE) -> None:
    AutoScalingEdge(client("autoscaling", url)).complete_hooks(instance, WORKERS, Transition.TERMINATING)


def test_a_hook_that_somebody_else_has_completed_is_success() -> None:
    with answering(WAITS, HOOKS, query_error("ValidationError", NO_ACTION)) as server:
        complete(server.url)
        last = server.requests[-1].body
    assert "Action=CompleteLifecycleAction" in last
    assert "LifecycleHookName=regrow-terminate" in last
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        query_error("ValidationError", "The lifecycle hook does not exist"),
        query_error("ResourceContention"),
        query_error("Throttling"),
    ],
)
def test_a_hook_that_could_not_be_completed_is_no_success(answer: Answer) -> None:
    with (
        answering(WAITS, HOOKS, answer) as server,
        pytest.raises(RetryableError, match="Auto Scaling CompleteLifecycleAction"),
    ):
        complete(server.url)
