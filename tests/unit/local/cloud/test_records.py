"""What a function's answer says about the messages of its batch."""

from __future__ import annotations

import pytest

from infra.local.cloud.functions.records import failed_ids

BATCH = {"a", "b"}


@pytest.mark.parametrize(
    ("answer", "stay"),
    [
        (b"null", set()),
        (b"", set()),
        (b"{}", set()),
        (b'{"batchItemFailures": []}', set()),
        (b'{"batchItemFailures": null}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a"}),
        (b'{"batchItemFailures": [{"itemIdentifier": "unknown"}]}', BATCH),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', BATCH),
        (b'{"batchItemFailures": ["a"]}', BATCH),
        (b'"text"', BATCH),
        (b"no json", BATCH),
    ],
)
def test_only_named_messages_stay_and_all_when_the_answer_makes_no_sense(answer: bytes, stay: set[str]) -> None:
    assert failed_ids(answer, BATCH) == stay
