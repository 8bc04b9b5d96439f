"""A token is drawn as Kubernetes wants it, and its secret is nowhere but in the bundle."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cluster.machine import Role
from functions.join.delivery import Bundle
from functions.join.token import draw, redacted, rfc3339
from tests.unit.functions.builders import CLUSTER, NOW, ONE
from tests.unit.functions.join.mint.launches import API_SERVER

RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@given(st.randoms(use_true_random=False))
def test_whatever_is_drawn_is_a_token_by_kubernetes_own_rule(dice: Random) -> None:
    token = draw(ONE, Role.WORKER, dice.choice, now=NOW)
    assert re.fullmatch(r"([a-z0-9]{6})\.([a-z0-9]{16})", token.whole)
    assert token.whole == f"{token.id}.{token.secret}"


def test_two_draws_are_two_tokens() -> None:
    drawn = {draw(ONE, Role.WORKER, secrets.choice, now=NOW).whole for _ in range(100)}
    assert len(drawn) == 100


def test_a_token_is_good_for_a_quarter_of_an_hour() -> None:
    token = draw(ONE, Role.WORKER, secrets.choice, now=NOW + timedelta(microseconds=5))
    assert token.expires_at == NOW + timedelta(minutes=15)
    assert rfc3339(token.expires_at) == "2026-11-21T12:15:00Z"


@given(st.timedeltas(timedelta(0), timedelta(days=9000)))
def test_an_expiry_is_always_what_kubernetes_can_read(later: timedelta) -> None:
    assert RFC3339.fullmatch(rfc3339(NOW + later))


def test_a_token_and_its_bundle_do_not_show_the_secret() -> None:
    token = draw(ONE, Role.WORKER, secrets.choice, now=NOW)
    bundle = Bundle(CLUSTER, API_SERVER, token)
    assert token.secret not in repr(token) + str(token) + repr(bundle) + str(bundle)
    assert token.whole in bundle.to_json()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token abcdef.0123456789abcdef is bad", "token abcdef.[secret] is bad"),
        ('{"token": "abcdef.0123456789abcdef"}', '{"token": "abcdef.[secret]"}'),
        ("abcdef.0123456789abcdef", "abcdef.[secret]"),
        ("ip-10-0-0-1.ec2.internal", "ip-10-0-0-1.ec2.internal"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_secret_is_taken_out_of_texts_of_others(text: str, shown: str) -> None:
    assert redacted(text) == shown
