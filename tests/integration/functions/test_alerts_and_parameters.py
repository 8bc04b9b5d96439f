"""A person is told through the topic; credentials come from the parameter, or a sentence that names it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from functions.edges.alerts import AlertsEdge
from functions.edges.parameters import read_credentials
from functions.errors import ConfigurationError, RetryableError
from tests.integration.functions.conftest import Clients
from tests.integration.functions.surroundings import queue_urls, received

PARAMETER = "/regrow/drill/kubeconfig/remediate"
PUBLISHED = {
    "server": "https://10.77.0.10:6443",
    "ca_data": base64.b64encode(b"ca").decode(),
    "client_certificate_data": base64.b64encode(b"certificate").decode(),
    "client_key_data": base64.b64encode(b"key").decode(),
}


def test_an_alert_reaches_who_subscribes_to_the_topic(clients: Clients) -> None:
    sns, (_, inbox) = clients("sns"), queue_urls(clients)
    topic = sns.create_topic(Name="regrow-drill")["TopicArn"]
    inbox_arn = clients("sqs").get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=inbox_arn["QueueArn"])
    AlertsEdge(sns, topic_arn=topic).alert("Volumes of a very long name " + "x" * 100, "look at the CSI driver")
    (message,) = received(clients, inbox)
    told = json.loads(message["Body"])
    assert told["Message"] == "look at the CSI driver"
    assert len(told["Subject"]) == 100


def test_an_alert_to_a_topic_that_is_gone_fails(clients: Clients) -> None:
    with pytest.raises(RetryableError, match="SNS Publish"):
        AlertsEdge(clients("sns"), topic_arn="arn:aws:sns:us-east-1:123456789012:gone").alert("subject", "text")


def test_credentials_are_read_and_decrypted(clients: Clients) -> None:
    clients("ssm").put_parameter(Name=PARAMETER, Type="SecureString", Value=json.dumps(PUBLISHED))
    credentials = read_credentials(clients("ssm"), PARAMETER)
    assert (credentials.server, credentials.ca) == ("https://10.77.0.10:6443", b"ca")
    assert (credentials.client_certificate, credentials.client_key) == (b"certificate", b"key")


def test_a_parameter_that_is_missing_is_named(clients: Clients) -> None:
    with pytest.raises(ConfigurationError, match=f"GetParameter {PARAMETER}: ParameterNotFound"):
        read_credentials(clients("ssm"), PARAMETER)


@pytest.mark.parametrize(
    "content",
    ["not json", "[]", "null", "{}", json.dumps(PUBLISHED | {"ca_data": 7}), json.dumps(PUBLISHED | {"ca_data": "a"})],
)
def test_a_parameter_that_holds_something_else_is_named(clients: Clients, content: Any) -> None:
    clients("ssm").put_parameter(Name=PARAMETER, Type="SecureString", Value=content)
    with pytest.raises(ConfigurationError, match=f"the parameter {PARAMETER} does not hold a kubeconfig"):
        read_credentials(clients("ssm"), PARAMETER)


def test_a_subject_that_sns_would_not_take_is_still_told(clients: Clients) -> None:
    """A machine may report any condition of its Node, and names of those are in subjects."""
    sns, (_, inbox) = clients("sns"), queue_urls(clients)
    topic = sns.create_topic(Name="regrow-drill")["TopicArn"]
    inbox_arn = clients("sqs").get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=inbox_arn["QueueArn"])
    AlertsEdge(sns, topic_arn=topic).alert("Disk\nPressure\u00e9\x00 is reported", "text")
    (message,) = received(clients, inbox)
    assert json.loads(message["Body"])["Subject"] == "Disk?Pressure?? is reported"
