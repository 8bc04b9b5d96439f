"""Functions: cold and warm, an environment for each concurrent run, errors, time limits, kills, and whose code runs."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.awslambda.models import lambda_backends

from infra.local.cloud.functions.faults import kill_function
from tests.integration.cloud.functions.local_aws import LocalAws, eventually, zipped


def invoke(aws: LocalAws, name: str, order: dict[str, Any], **options: Any) -> dict[str, Any]:
    response: dict[str, Any] = aws.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(order).encode(), LogType="Tail", **options
    )
    response["result"] = json.loads(response["Payload"].read() or b"null")
    response["tail"] = base64.b64decode(response.get("LogResult", "")).decode()
    return response


def test_a_function_runs_cold_once_and_warm_after(aws: LocalAws) -> None:
    aws.deploy("warm")
    first, second = aws.functions.invoke("warm", b'{"answer": 1}'), aws.functions.invoke("warm", b'{"answer": 2}')
    assert (first.payload, first.cold, second.payload, second.cold) == (b"1", True, b"2", False)
    assert first.environment_id == second.environment_id
    assert first.init_s is not None and "Init Duration" in first.log
    assert second.init_s is None and "Init Duration" not in second.log
    assert second.duration_s < first.duration_s


def test_invocations_at_once_have_an_environment_each(aws: LocalAws) -> None:
    aws.deploy("crowd")
    threads = [threading.Thread(target=aws.functions.invoke, args=("crowd", b'{"sleep_s": 0.5}')) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({note["process"] for note in aws.ledger("crowd", "end")}) == 4


def test_a_handler_that_raises_is_told_from_one_that_answers_the_same(aws: LocalAws) -> None:
    aws.deploy("raiser")
    raised = invoke(aws, "raiser", {"raise": "no"})
    assert raised["FunctionError"] == "Unhandled"
    assert raised["result"]["errorType"] == "ValueError"
    imitated = invoke(aws, "raiser", {"answer": {**raised["result"]}})
    assert "FunctionError" not in imitated
    assert imitated["result"] == raised["result"]


def test_a_function_out_of_time_is_ended_and_its_environment_thrown_away(aws: LocalAws) -> None:
    aws.deploy("slow", Timeout=1)
    response = invoke(aws, "slow", {"sleep_s": 30})
    assert response["FunctionError"] == "Unhandled"
    assert "Task timed out after 1.00 seconds" in response["result"]["errorMessage"]
    assert aws.functions.running().get("slow") is None
    assert not aws.ledger("slow", "end")
    assert aws.functions.invoke("slow", b"{}").cold


def test_a_crash_is_an_error_and_the_next_run_is_cold(aws: LocalAws) -> None:
    aws.deploy("crasher")
    response = invoke(aws, "crasher", {"exit": True})
    assert response["FunctionError"] == "Unhandled"
    assert response["result"]["errorType"] == "Runtime.ExitError"
    assert aws.functions.invoke("crasher", b"{}").cold


def test_a_function_that_cannot_be_imported_says_so(aws: LocalAws) -> None:
    aws.deploy("broken", source="import there_is_no_such_module")
    response = invoke(aws, "broken", {})
    assert response["result"]["errorType"] == "Runtime.ImportModuleError"
    assert "there_is_no_such_module" in response["tail"]


def test_a_killed_function_dies_at_once(aws: LocalAws) -> None:
    aws.deploy("victim", Timeout=20)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(aws.functions.invoke("victim", b'{"sleep_s": 15}')))
    thread.start()
    eventually(lambda: aws.ledger("victim", "begin"))
    assert aws.functions.kill_running("victim") == 1
    thread.join(timeout=2)
    assert results[0].error == "Unhandled"
    assert b"signal: SIGKILL" in results[0].payload
    assert not aws.ledger("victim", "end")


def test_a_function_can_be_killed_from_outside_and_starts_cold_again(aws: LocalAws) -> None:
    aws.deploy("outside", Timeout=20)
    aws.deploy("bystander")
    aws.functions.invoke("bystander", b"{}")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(aws.functions.invoke("outside", b'{"sleep_s": 15}')))
    thread.start()
    eventually(lambda: aws.ledger("outside", "begin"))
    assert kill_function(aws.state, "outside") == 1
    thread.join(timeout=2)
    assert results[0].error == "Unhandled"
    assert aws.functions.invoke("outside", b"{}").cold
    assert not aws.functions.invoke("bystander", b"{}").cold


def test_code_that_is_not_what_was_deployed_is_refused(aws: LocalAws) -> None:
    aws.deploy("tampered")
    lambda_backends["123456789012"]["us-east-1"].get_function("tampered", None).code_bytes = zipped("handler = print")
    with pytest.raises(ClientError, match="does not have the digest"):
        invoke(aws, "tampered", {})


def test_new_code_and_new_settings_retire_warm_environments(aws: LocalAws) -> None:
    aws.deploy("changing")
    client = aws.client("lambda")
    aws.functions.invoke("changing", b"{}")
    client.update_function_code(FunctionName="changing", ZipFile=zipped("def handler(event, context): return 'new'"))
    assert aws.functions.invoke("changing", b"{}").payload == b'"new"'
    client.update_function_configuration(FunctionName="changing", MemorySize=256)
    assert aws.functions.invoke("changing", b"{}").cold
    client.delete_function(FunctionName="changing")
    eventually(lambda: "changing" not in aws.functions.running())


def test_reserved_concurrency_throttles(aws: LocalAws) -> None:
    aws.deploy("reserved")
    aws.client("lambda").put_function_concurrency(FunctionName="reserved", ReservedConcurrentExecutions=1)
    thread = threading.Thread(target=aws.functions.invoke, args=("reserved", b'{"sleep_s": 1}'))
    thread.start()
    eventually(lambda: aws.ledger("reserved", "begin"))
    with pytest.raises(ClientError) as refused:
        invoke(aws, "reserved", {})
    assert refused.value.response["Error"]["Code"] == "TooManyRequestsException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    thread.join()


def test_the_environment_is_lambdas(aws: LocalAws) -> None:
    aws.deploy("shower", MemorySize=256)
    expected = {
        "AWS_LAMBDA_FUNCTION_NAME": "shower",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": aws.endpoint,
        "TZ": ":UTC",
        "_HANDLER": "app.handler",
    }
    result = invoke(aws, "shower", {"show": [*expected, "AWS_ACCESS_KEY_ID", "HOSTNAME"]})["result"]
    assert expected.items() <= result.items()
    assert result["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert result["HOSTNAME"] is None


def test_a_function_calls_aws_as_its_role(aws: LocalAws) -> None:
    source = "import boto3\ndef handler(event, context): return boto3.client('sts').get_caller_identity()['Arn']"
    aws.deploy("caller", source=source, Timeout=20)
    assert invoke(aws, "caller", {})["result"] == "arn:aws:sts::123456789012:assumed-role/worker/caller"


def test_the_code_is_read_only(aws: LocalAws) -> None:
    aws.deploy("writer")
    assert invoke(aws, "writer", {"write": "mine.txt"})["result"]["errorType"] == "PermissionError"


def test_logs_are_in_cloudwatch_and_in_a_file(aws: LocalAws) -> None:
    aws.deploy("talker")
    tail = invoke(aws, "talker", {"answer": "x"})["tail"]
    events = aws.client("logs").filter_log_events(logGroupName="/aws/lambda/talker")["events"]
    messages = [event["message"] for event in events]
    assert [message.split()[0] for message in messages] == ["START", "obeying", "END", "REPORT"]
    assert tail == "".join(message + "\n" for message in messages)
    assert (aws.state / "log/functions/talker.log").read_text() == tail


def test_an_asynchronous_invocation_is_retried_twice_then_dead_lettered(aws: LocalAws) -> None:
    url, queue_arn = aws.queue("async-dead")
    aws.deploy("async", DeadLetterConfig={"TargetArn": queue_arn})
    response = invoke(aws, "async", {"raise": "never"}, InvocationType="Event")
    assert response["StatusCode"] == 202
    sqs = aws.client("sqs")
    (message,) = eventually(
        lambda: sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=1).get("Messages")
    )
    assert json.loads(message["Body"]) == {"raise": "never"}
    assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "never"
    begun = [note["at"] for note in aws.ledger("async", "begin")]
    assert len(begun) == 3
    assert begun[1] - begun[0] >= 0.2
    assert begun[2] - begun[1] >= 0.4


def test_a_dry_run_runs_nothing(aws: LocalAws) -> None:
    aws.deploy("dry")
    assert invoke(aws, "dry", {}, InvocationType="DryRun")["StatusCode"] == 204
    assert not aws.ledger("dry")


CALLER = """
import boto3, json
def handler(event, context):
    answer = boto3.client("lambda").invoke(FunctionName=event["call"], Payload=json.dumps(event["with"]).encode())
    return {"said": json.loads(answer["Payload"].read()), "error": answer.get("FunctionError")}
"""


def test_a_function_calls_another_and_waits_for_its_answer(aws: LocalAws) -> None:
    aws.deploy("calling", source=CALLER, Timeout=20)
    aws.deploy("called")
    answered = invoke(aws, "calling", {"call": "called", "with": {"sleep_s": 0.3, "answer": {"did": "minted"}}})
    assert answered["result"] == {"said": {"did": "minted"}, "error": None}
    assert {"calling", "called"} <= aws.functions.running().keys()


def test_a_function_is_told_that_the_one_it_called_failed(aws: LocalAws) -> None:
    aws.deploy("trusting", source=CALLER, Timeout=20)
    aws.deploy("failing", Timeout=1)
    raised = invoke(aws, "trusting", {"call": "failing", "with": {"raise": "no"}})
    assert raised["result"]["error"] == "Unhandled"
    assert raised["result"]["said"]["errorMessage"] == "no"
    late = invoke(aws, "trusting", {"call": "failing", "with": {"sleep_s": 30}})
    assert late["result"]["error"] == "Unhandled"
    assert "Task timed out" in late["result"]["said"]["errorMessage"]
    assert "FunctionError" not in raised and "FunctionError" not in late
