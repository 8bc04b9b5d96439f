"""What the emulator's answers mean, which mark nothing by a header."""

from __future__ import annotations

import json

from infra.local.cloud.functions.emulation import understood

ID = "f59a4a3c-41dc-4c15-a9f0-65e0cca21537"
RAISED = {"errorMessage": "no", "errorType": "ValueError", "requestId": ID, "stackTrace": []}


def test_a_result_is_a_result() -> None:
    answer = understood(200, b'{"ok": true}', ID, 3)
    assert (answer.payload, answer.error, answer.broken) == (b'{"ok": true}', None, False)


def test_a_raised_error_carries_the_id_of_this_request() -> None:
    answer = understood(200, json.dumps(RAISED).encode(), ID, 3)
    assert (answer.error, answer.broken) == ("Unhandled", False)


def test_a_returned_object_that_looks_like_an_error_is_a_result() -> None:
    for imitation in (
        {**RAISED, "requestId": "other"},
        {"errorMessage": "no", "errorType": "E"},
        {**RAISED, "more": 1},
    ):
        assert understood(200, json.dumps(imitation).encode(), ID, 3).error is None


def test_a_returned_text_about_a_timeout_is_a_result_and_the_emulators_own_is_none() -> None:
    text = b"Task timed out after 3.00 seconds"
    assert understood(200, json.dumps(text.decode()).encode(), ID, 3).error is None
    answer = understood(200, text, ID, 3)
    assert answer.broken
    assert json.loads(answer.payload)["errorMessage"].endswith("Task timed out after 3.00 seconds")


def test_a_crash_breaks_the_environment() -> None:
    assert understood(502, b'{"errorType":"Runtime.ExitError"}', ID, 3).broken
