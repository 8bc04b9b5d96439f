"""Our signatures are those of AWS's own client."""

from __future__ import annotations

import hashlib
import time

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from infra.node.signing import Credentials, sign

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a/session+token==")
CALLS = [
    ("ssm", {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}, b'{"Name":"/a"}'),
    ("elasticloadbalancing", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, b"Action=X&A=%2F"),
    ("ssm", {"Content-Type": "application/x-amz-json-1.1"}, b""),
]


@pytest.mark.parametrize(("service", "headers", "body"), CALLS)
def test_a_signature_is_the_one_that_botocore_makes_at_the_same_moment(
    service: str, headers: dict[str, str], body: bytes
) -> None:
    request = AWSRequest("POST", f"https://{service}.eu-west-1.amazonaws.com/", headers=headers, data=body)
    theirs = BotocoreCredentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.session_token)
    SigV4Auth(theirs, service, "eu-west-1").add_auth(request)
    ours = sign(
        CREDENTIALS,
        service=service,
        region="eu-west-1",
        host=f"{service}.eu-west-1.amazonaws.com",
        headers=headers,
        body_sha256=hashlib.sha256(body).hexdigest(),
        now=time.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"),
    )
    assert ours["authorization"] == request.headers["Authorization"]


def test_a_file_for_s3_is_signed_as_botocore_signs_it() -> None:
    content, host = b"a snapshot", "drill.s3.eu-west-1.amazonaws.com"
    digest = hashlib.sha256(content).hexdigest()
    headers = {"X-Amz-Server-Side-Encryption": "AES256", "Content-Type": "application/octet-stream"}
    request = AWSRequest("PUT", f"https://{host}/etcd/2026-01-02.db", headers=headers, data=content)
    theirs = BotocoreCredentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.session_token)
    S3SigV4Auth(theirs, "s3", "eu-west-1").add_auth(request)
    ours = sign(
        CREDENTIALS,
        service="s3",
        region="eu-west-1",
        host=host,
        headers={**headers, "X-Amz-Content-Sha256": digest},
        body_sha256=digest,
        now=time.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"),
        method="PUT",
        path="/etcd/2026-01-02.db",
    )
    assert ours["authorization"] == request.headers["Authorization"]


def test_keys_never_show_in_a_description() -> None:
    assert CREDENTIALS.secret_key not in repr(CREDENTIALS)
    assert CREDENTIALS.session_token not in repr(CREDENTIALS)
