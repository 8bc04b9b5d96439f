"""The presets of the local AWS's delays."""

from __future__ import annotations

import dataclasses

import pytest

from infra.local.cloud.delays import AWS, INSTANT, Delays


def test_a_preset_is_found_by_its_name() -> None:
    assert Delays.named("instant") is INSTANT
    assert Delays.named("aws") is AWS


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="no delays named 'fast'; choose one of: aws, instant"):
        Delays.named("fast")


def test_no_preset_shortens_what_proof_of_death_rests_on() -> None:
    assert INSTANT.terminated_described_s == AWS.terminated_described_s == 3600


def test_instant_is_nowhere_slower_than_aws() -> None:
    for field in dataclasses.fields(Delays):
        if field.name != "name":
            assert getattr(INSTANT, field.name) <= getattr(AWS, field.name), field.name
