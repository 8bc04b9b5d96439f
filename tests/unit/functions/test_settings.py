"""A wrong deployment says everything that is wrong with it, by name, before anything else happens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.errors import ConfigurationError
from functions.settings import Settings
from tests.unit.functions.builders import ENVIRONMENT


def test_the_remediators_stack_is_all_that_settings_need() -> None:
    settings = Settings.from_env(ENVIRONMENT | {"PATH": "/bin"})
    assert settings.cluster == "drill"
    assert settings.pass_queue_url.endswith("-pass.fifo")
    assert (settings.max_in_flight, settings.detach_deadline) == (2, timedelta(minutes=6))


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_setting_is_named(name: str, value: str | None) -> None:
    environment = {key: text for key, text in ENVIRONMENT.items() if key != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(ConfigurationError) as error:
        Settings.from_env(environment)
    assert f"{name} is not set; it must be" in str(error.value)
    assert [other for other in ENVIRONMENT if other != name and other in str(error.value)] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGROW_PASS_QUEUE_URL", "regrow-drill-pass.fifo"),
        ("REGROW_LATER_QUEUE_URL", "sqs://somewhere"),
        ("REGROW_TOPIC_ARN", "regrow-drill"),
        ("REGROW_MAX_IN_FLIGHT", "0"),
        ("REGROW_MAX_IN_FLIGHT", "101"),
        ("REGROW_MAX_IN_FLIGHT", "many"),
        ("REGROW_MAX_IN_FLIGHT", "-1"),
        ("REGROW_MAX_IN_FLIGHT", "2.0"),
        ("REGROW_MAX_IN_FLIGHT", "\N{SUPERSCRIPT TWO}"),
        ("REGROW_MAX_IN_FLIGHT", "9" * 5000),
        ("REGROW_DETACH_DEADLINE_S", "9"),
        ("REGROW_DETACH_DEADLINE_S", "six minutes"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_it_must_be(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.from_env(ENVIRONMENT | {name: value})
    assert f"{name} is {value!r}; it must be" in str(error.value)


def test_everything_that_is_wrong_is_said_at_once_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.from_env({"REGROW_MAX_IN_FLIGHT": "0"})
    assert [name for name in (*ENVIRONMENT, "REGROW_MAX_IN_FLIGHT") if name not in str(error.value)] == []
    assert "make deploy" in str(error.value)


def test_numbers_may_be_set_within_their_limits() -> None:
    settings = Settings.from_env(ENVIRONMENT | {"REGROW_MAX_IN_FLIGHT": "10", "REGROW_DETACH_DEADLINE_S": "60"})
    assert (settings.max_in_flight, settings.detach_deadline) == (10, timedelta(minutes=1))
