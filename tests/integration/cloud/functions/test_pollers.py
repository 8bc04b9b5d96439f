"""Queue mappings: batches, redelivery, dead letters, order within a group, concurrency, and mappings that change."""

from __future__ import annotations

import json
import threading
from typing import Any

from tests.integration.cloud.functions.local_aws import LocalAws, eventually


def mapped(aws: LocalAws, name: str, queue_arn: str, **settings: Any) -> str:
    """The function `name`, deployed and mapped to the queue; the mapping's id."""
    aws.deploy(name, Timeout=settings.pop("Timeout", 20))
    made = aws.client("lambda").create_event_source_mapping(EventSourceArn=queue_arn, FunctionName=name, **settings)
    return str(made["UUID"])


def send(aws: LocalAws, url: str, order: dict[str, Any], **options: Any) -> str:
    sent = aws.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(order), **options)
    return str(sent["MessageId"])


def left(aws: LocalAws, url: str) -> tuple[int, int]:
    """How many messages are visible and in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(attributes[names[0]]), int(attributes[names[1]])


def test_a_message_reaches_the_function_as_sqs_records_and_is_deleted(aws: LocalAws) -> None:
    url, arn = aws.queue("plain")
    mapped(aws, "plain", arn)
    message_id = send(aws, url, {}, MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}})
    (batch,) = eventually(lambda: aws.ledger("plain", "batch"))
    (record,) = batch["records"]
    assert record["messageId"] == message_id
    assert record["body"] == "{}"
    assert record["md5OfBody"] == "99914b932bd37a50b983c5e7c90ae93b"
    assert record["eventSourceARN"] == arn
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "us-east-1")
    assert record["messageAttributes"]["k"]["stringValue"] == "v"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert int(record["attributes"]["SentTimestamp"]) <= int(record["attributes"]["ApproximateFirstReceiveTimestamp"])
    eventually(lambda: left(aws, url) == (0, 0))


def test_a_warm_function_has_a_message_at_once(aws: LocalAws) -> None:
    url, arn = aws.queue("quick")
    mapped(aws, "quick", arn)
    send(aws, url, {})
    eventually(lambda: len(aws.ledger("quick", "end")) == 1)
    send(aws, url, {})
    eventually(lambda: len(aws.ledger("quick", "end")) == 2)
    last = aws.ledger("quick", "batch")[-1]
    sent_s = int(last["records"][0]["attributes"]["SentTimestamp"]) / 1000
    # Some 5 ms on an idle host; a poller that slept between looks would be far slower.
    assert last["at"] - sent_s < 0.5


def test_a_failed_message_comes_back_after_its_visibility_timeout_and_is_dead_lettered(aws: LocalAws) -> None:
    dead_url, dead_arn = aws.queue("failing-dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = aws.queue("failing", VisibilityTimeout="1", RedrivePolicy=redrive)
    mapped(aws, "failing", arn)
    message_id = send(aws, url, {"raise": "always"})
    dead = eventually(lambda: aws.client("sqs").receive_message(QueueUrl=dead_url).get("Messages"), within_s=8)
    begun = aws.ledger("failing", "begin")
    assert [note["order"]["count"] for note in begun] == [1, 2]
    # Visibility counts from the receive, which a cold start precedes the first run by.
    assert begun[1]["at"] - begun[0]["at"] >= 0.6
    assert dead[0]["MessageId"] == message_id
    assert left(aws, url) == (0, 0)


def test_a_changed_visibility_timeout_counts_for_the_next_message(aws: LocalAws) -> None:
    url, arn = aws.queue("impatient", VisibilityTimeout="60")
    mapped(aws, "impatient", arn)
    send(aws, url, {})
    eventually(lambda: aws.ledger("impatient", "end"))  # and now the poller waits for the next one
    aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    send(aws, url, {"raise": "always"})
    eventually(lambda: len(aws.ledger("impatient", "begin")) == 3, within_s=8)


def test_a_killed_functions_message_is_redelivered(aws: LocalAws) -> None:
    url, arn = aws.queue("killed", VisibilityTimeout="2")
    mapped(aws, "killed", arn)
    send(aws, url, {"sleep_s": 1})
    eventually(lambda: aws.ledger("killed", "begin"))
    assert aws.functions.kill_running("killed") == 1
    (end,) = eventually(lambda: aws.ledger("killed", "end"), within_s=8)
    assert end["order"]["count"] == 2
    eventually(lambda: left(aws, url) == (0, 0))


def test_messages_of_one_group_are_worked_off_one_after_the_other_and_groups_beside_each_other(aws: LocalAws) -> None:
    url, arn = aws.queue("order.fifo", FifoQueue="true")
    mapped(aws, "order", arn, BatchSize=1)
    for number in range(3):
        for group in ("a", "b"):
            send(
                aws,
                url,
                {"group": group, "number": number, "sleep_s": 0.3},
                MessageGroupId=group,
                MessageDeduplicationId=f"{group}{number}",
            )
    eventually(lambda: len(aws.ledger("order", "end")) == 6, within_s=10)
    notes = aws.ledger("order")
    at_once = 0
    for group in ("a", "b"):
        own = [(n["did"], n["order"]["number"]) for n in notes if n["did"] != "batch" and n["order"]["group"] == group]
        assert own == [(did, number) for number in range(3) for did in ("begin", "end")]
    for note in notes:
        at_once += {"begin": 1, "end": -1, "batch": 0}[note["did"]]
        if at_once == 2:
            break
    assert at_once == 2
    for batch in aws.ledger("order", "batch"):
        (record,) = batch["records"]
        order, attributes = json.loads(record["body"]), record["attributes"]
        assert attributes["MessageGroupId"] == order["group"]
        assert attributes["MessageDeduplicationId"] == f"{order['group']}{order['number']}"
        assert len(attributes["SequenceNumber"]) == 20


def test_a_failed_message_holds_up_its_group_alone(aws: LocalAws) -> None:
    url, arn = aws.queue("stuck.fifo", FifoQueue="true", VisibilityTimeout="1")
    mapped(aws, "stuck", arn, BatchSize=1)
    send(aws, url, {"name": "bad", "exit": True}, MessageGroupId="a", MessageDeduplicationId="1")
    send(aws, url, {"name": "next"}, MessageGroupId="a", MessageDeduplicationId="2")
    send(aws, url, {"name": "other"}, MessageGroupId="b", MessageDeduplicationId="3")
    eventually(lambda: len(aws.ledger("stuck", "begin")) >= 4, within_s=8)
    assert [note["order"]["name"] for note in aws.ledger("stuck", "end")] == ["other"]
    aws.client("sqs").purge_queue(QueueUrl=url)


def test_a_repeat_within_five_minutes_is_swallowed_also_after_the_first_was_deleted(aws: LocalAws) -> None:
    url, arn = aws.queue("repeat.fifo", FifoQueue="true")
    mapped(aws, "repeat", arn, BatchSize=1)
    first = send(aws, url, {"n": 1}, MessageGroupId="g", MessageDeduplicationId="same")
    eventually(lambda: aws.ledger("repeat", "end"))
    eventually(lambda: left(aws, url) == (0, 0))
    aws.dedup_now[0] += 299
    assert send(aws, url, {"n": 2}, MessageGroupId="g", MessageDeduplicationId="same") == first
    assert left(aws, url) == (0, 0)
    aws.dedup_now[0] += 2
    assert send(aws, url, {"n": 3}, MessageGroupId="g", MessageDeduplicationId="same") != first
    eventually(lambda: [note["order"]["n"] for note in aws.ledger("repeat", "end")] == [1, 3])


def test_a_delayed_message_arrives_when_its_delay_is_over(aws: LocalAws) -> None:
    url, arn = aws.queue("delayed")
    mapped(aws, "delayed", arn)
    send(aws, url, {}, DelaySeconds=1)
    (batch,) = eventually(lambda: aws.ledger("delayed", "batch"))
    waited_s = batch["at"] - int(batch["records"][0]["attributes"]["SentTimestamp"]) / 1000
    assert 1.0 <= waited_s < 2.5


def test_only_the_reported_messages_of_a_batch_come_back(aws: LocalAws) -> None:
    url, arn = aws.queue("partial", VisibilityTimeout="30")
    mapped(aws, "partial", arn, MaximumBatchingWindowInSeconds=1, FunctionResponseTypes=["ReportBatchItemFailures"])
    send(aws, url, {"report": True})
    send(aws, url, {"name": "good"})
    eventually(lambda: aws.ledger("partial", "end"))
    (batch,) = aws.ledger("partial", "batch")
    assert len(batch["records"]) == 2
    eventually(lambda: left(aws, url) == (0, 1))


def test_concurrency_stays_below_the_mappings_maximum(aws: LocalAws) -> None:
    url, arn = aws.queue("narrow")
    mapped(aws, "narrow", arn, BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
    for _ in range(6):
        send(aws, url, {"sleep_s": 0.2})
    eventually(lambda: len(aws.ledger("narrow", "end")) == 6, within_s=8)
    at_once, most = 0, 0
    for note in aws.ledger("narrow"):
        at_once += {"begin": 1, "end": -1, "batch": 0}[note["did"]]
        most = max(most, at_once)
    assert most == 2


def test_a_disabled_mapping_rests_and_works_again_when_enabled(aws: LocalAws) -> None:
    url, arn = aws.queue("resting")
    uuid = mapped(aws, "resting", arn)
    client = aws.client("lambda")
    client.update_event_source_mapping(UUID=uuid, Enabled=False)
    eventually(lambda: uuid not in aws.pollers.polled())
    send(aws, url, {})
    assert left(aws, url) == (1, 0)
    client.update_event_source_mapping(UUID=uuid, Enabled=True)
    eventually(lambda: aws.ledger("resting", "end"))
    client.delete_event_source_mapping(UUID=uuid)
    eventually(lambda: uuid not in aws.pollers.polled())
    send(aws, url, {})
    assert left(aws, url) == (1, 0)


def test_a_late_receipt_deletes_nothing(aws: LocalAws) -> None:
    url, _ = aws.queue("late", VisibilityTimeout="1")
    sqs = aws.client("sqs")
    send(aws, url, {})
    (old,) = sqs.receive_message(QueueUrl=url)["Messages"]
    (new,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=3, AttributeNames=["All"])["Messages"]
    assert new["Attributes"]["ApproximateReceiveCount"] == "2"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=old["ReceiptHandle"])
    assert left(aws, url) == (0, 1)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=new["ReceiptHandle"])
    assert left(aws, url) == (0, 0)


def test_many_senders_and_receivers_at_once_lose_nothing_and_double_nothing(aws: LocalAws) -> None:
    url, _ = aws.queue("rush.fifo", FifoQueue="true")
    sqs, got = aws.client("sqs"), list[tuple[str, int]]()

    def send_group(group: str) -> None:
        for number in range(20):
            send(aws, url, {"n": number}, MessageGroupId=group, MessageDeduplicationId=f"{group}-{number}")

    def receive() -> None:
        while len(got) < 80:
            for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, AttributeNames=["All"]).get(
                "Messages", []
            ):
                got.append((message["Attributes"]["MessageGroupId"], json.loads(message["Body"])["n"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    threads = [threading.Thread(target=send_group, args=(group,)) for group in "abcd"]
    threads += [threading.Thread(target=receive) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 80
    for group in "abcd":
        assert [number for name, number in got if name == group] == list(range(20))


def test_a_fifo_message_that_fails_for_good_moves_to_its_dead_letter_queue_and_frees_its_group(aws: LocalAws) -> None:
    dead_url, dead_arn = aws.queue("poison-dead.fifo", FifoQueue="true")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = aws.queue("poison.fifo", FifoQueue="true", VisibilityTimeout="1", RedrivePolicy=redrive)
    mapped(aws, "poison", arn, BatchSize=1)
    poison = send(aws, url, {"name": "poison", "raise": "no"}, MessageGroupId="g", MessageDeduplicationId="1")
    send(aws, url, {"name": "next"}, MessageGroupId="g", MessageDeduplicationId="2")
    eventually(lambda: [note["order"]["name"] for note in aws.ledger("poison", "end")] == ["next"], within_s=8)
    (dead,) = aws.client("sqs").receive_message(QueueUrl=dead_url, AttributeNames=["All"])["Messages"]
    assert dead["MessageId"] == poison
    assert dead["Attributes"]["MessageGroupId"] == "g"
    assert dead["Attributes"]["MessageDeduplicationId"] == "1"
    eventually(lambda: left(aws, url) == (0, 0))


def test_a_queue_that_the_functions_role_may_not_read_is_polled_once_it_may(aws: LocalAws) -> None:
    iam, role = aws.client("iam"), "forgotten"
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    url, queue = aws.queue("guarded")
    aws.deploy("guarded", Timeout=20)
    aws.client("lambda").update_function_configuration(FunctionName="guarded", Role=arn)
    aws.client("lambda").create_event_source_mapping(EventSourceArn=queue, FunctionName="guarded")
    other_url, other_queue = aws.queue("open")
    mapped(aws, "open", other_queue)
    send(aws, url, {})
    send(aws, other_url, {})
    eventually(lambda: aws.ledger("open", "batch"))
    assert left(aws, url) == (1, 0)
    action = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": queue}}
    iam.put_role_policy(RoleName=role, PolicyName="poll", PolicyDocument=json.dumps(document))
    eventually(lambda: aws.ledger("guarded", "batch"), within_s=10)
