"""A wrong deployment says everything that is wrong with it, by name, before anything else happens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.cluster.doubt import Repair, Rung, Wait
from functions.cluster.draining import DrainPolicy, Found, Overdue
from functions.cluster.policy import Policy, Rebalance
from functions.cluster.radius import Limits
from functions.errors import ConfigurationError
from functions.settings import Settings
from tests.unit.functions.builders import ENVIRONMENT


def test_the_remediators_stack_is_all_that_settings_need() -> None:
    settings = Settings.from_env(ENVIRONMENT | {"PATH": "/bin"})
    assert settings.cluster == "drill"
    assert settings.pass_queue_url.endswith("-pass.fifo")
    assert (settings.max_in_flight, settings.detach_deadline) == (2, timedelta(minutes=6))
    assert settings.snapshot_bucket == "regrow-drill-123456789012-snapshots"
    assert settings.snapshot_every == timedelta(hours=1)


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
        ("REGROW_INBOX_QUEUE_URL", "sqs://somewhere"),
        ("REGROW_TOPIC_ARN", "regrow-drill"),
        ("REGROW_MAX_IN_FLIGHT", "0"),
        ("REGROW_MAX_IN_FLIGHT", "101"),
        ("REGROW_MAX_IN_FLIGHT", "many"),
        ("REGROW_MAX_IN_FLIGHT", "-1"),
        ("REGROW_MAX_IN_FLIGHT", "2.0"),
        ("REGROW_MAX_IN_FLIGHT", "\N{SUPERSCRIPT TWO}"),
        ("REGROW_MAX_IN_FLIGHT", "9" * 5000),
        ("REGROW_DETACH_DEADLINE_S", "9"),
        ("REGROW_SNAPSHOT_EVERY_S", "299"),
        ("REGROW_SNAPSHOT_EVERY_S", "86401"),
        ("REGROW_DETACH_DEADLINE_S", "six minutes"),
        ("REGROW_DRAIN_DEADLINE_S", "9"),
        ("REGROW_DRAIN_DEADLINE_S", "172801"),
        ("REGROW_DRAIN_OVERDUE", "Release"),
        ("REGROW_DRAIN_OVERDUE", "force"),
        ("REGROW_DRAIN_UNMANAGED", "delete"),
        ("REGROW_DRAIN_LOCAL_DATA", "release"),
        ("REGROW_DRAIN_EVICTION", "no"),
        ("REGROW_DRAIN_GRACE_S", "0"),
        ("REGROW_DRAIN_GRACE_S", "-1"),
        ("REGROW_DRAIN_GRACE_S", "30s"),
        ("REGROW_DRAIN_GRACE_S", "3600"),
        ("REGROW_DRAIN_STUCK_S", "0"),
        ("REGROW_DRAIN_STUCK_S", "7200"),
        ("REGROW_DRAIN_BY_PRIORITY", "true"),
        ("REGROW_REBALANCE", "leave"),
        ("REGROW_IMPAIRED_AFTER_S", "4"),
        ("REGROW_IMPAIRED_AFTER_S", "2 minutes"),
        ("REGROW_SILENT_AFTER_S", "86401"),
        ("REGROW_SILENT_AFTER_S", "-180"),
        ("REGROW_LADDER_SILENT", "reboot restart"),
        ("REGROW_LADDER_SILENT", "restart=4"),
        ("REGROW_LADDER_SILENT", "none replace"),
        ("REGROW_LADDER_IMPAIRED", "terminate"),
        ("REGROW_UNWELL_PERCENT", "0"),
        ("REGROW_UNWELL_PERCENT", "101"),
        ("REGROW_UNWELL_PERCENT", "20%"),
        ("REGROW_UNWELL_FLOOR", "-1"),
        ("REGROW_REPLACED_AN_HOUR", "101"),
        ("REGROW_DRAIN_SELECTOR", "app"),
        ("REGROW_DRAIN_SELECTOR", "=web"),
        ("REGROW_DRAIN_SELECTOR", "app==web"),
        ("REGROW_DRAIN_SELECTOR", "app!=web"),
        ("REGROW_DRAIN_SELECTOR", "app in (web)"),
        ("REGROW_DRAIN_SELECTOR", "app=web,"),
        ("REGROW_DRAIN_SELECTOR", ",app=web"),
        ("REGROW_DRAIN_SELECTOR", "app=web,app=db"),
        ("REGROW_DRAIN_SELECTOR", "app=web,app=web"),
        ("REGROW_DRAIN_SELECTOR", "app=-web"),
        ("REGROW_DRAIN_SELECTOR", "-app=web"),
        ("REGROW_DRAIN_SELECTOR", f"app={'w' * 64}"),
        ("REGROW_DRAIN_SELECTOR", f"{'a' * 64}=web"),
        ("REGROW_DRAIN_SELECTOR", "/app=web"),
        ("REGROW_DRAIN_SELECTOR", "Example.com/app=web"),
        ("REGROW_DRAIN_SELECTOR", "example..com/app=web"),
        ("REGROW_DRAIN_SELECTOR", f"{'a' * 254}/app=web"),
        ("REGROW_DRAIN_SELECTOR", "a/b/app=web"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_it_must_be(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Settings.from_env(ENVIRONMENT | {name: value})
    assert f"{name} is {value!r}; it must be" in str(error.value)


def test_everything_that_is_wrong_is_said_at_once_with_the_remedy() -> None:
    wrong = {"REGROW_MAX_IN_FLIGHT": "0", "REGROW_DRAIN_OVERDUE": "?", "REGROW_DRAIN_SELECTOR": "?"}
    with pytest.raises(ConfigurationError) as error:
        Settings.from_env(wrong)
    assert [name for name in (*ENVIRONMENT, *wrong) if name not in str(error.value)] == []
    assert "make deploy" in str(error.value)


def test_numbers_may_be_set_within_their_limits() -> None:
    numbers = {"REGROW_MAX_IN_FLIGHT": "10", "REGROW_DETACH_DEADLINE_S": "60", "REGROW_SNAPSHOT_EVERY_S": "300"}
    settings = Settings.from_env(ENVIRONMENT | numbers)
    assert (settings.max_in_flight, settings.detach_deadline) == (10, timedelta(minutes=1))
    assert settings.snapshot_every == timedelta(minutes=5)


def test_drains_do_what_kubectl_does_with_all_flags_unless_told_otherwise() -> None:
    assert Settings.from_env(ENVIRONMENT).policy == Policy()
    assert Settings.from_env(ENVIRONMENT).drain == DrainPolicy(
        deadline=timedelta(hours=1), overdue=Overdue.RELEASE, unmanaged=Found.EVICT, local_data=Found.EVICT, evict=True
    )


def test_each_part_of_a_policy_may_be_set() -> None:
    settings = Settings.from_env(
        ENVIRONMENT
        | {
            "REGROW_JOIN_DEADLINE_S": "600",
            "REGROW_REBALANCE": "drain",
            "REGROW_DRAIN_DEADLINE_S": "900",
            "REGROW_DRAIN_OVERDUE": "delete",
            "REGROW_DRAIN_UNMANAGED": "keep",
            "REGROW_DRAIN_LOCAL_DATA": " keep ",
            "REGROW_DRAIN_EVICTION": "delete",
            "REGROW_DRAIN_GRACE_S": "30",
            "REGROW_DRAIN_SELECTOR": "app=web, example.com/tier=front,empty=",
            "REGROW_DRAIN_BY_PRIORITY": "yes",
            "REGROW_DRAIN_STUCK_S": "60",
        }
    )
    drain = DrainPolicy(
        deadline=timedelta(minutes=15),
        overdue=Overdue.DELETE,
        unmanaged=Found.KEEP,
        local_data=Found.KEEP,
        evict=False,
        grace_s=30,
        selector=(("app", "web"), ("example.com/tier", "front"), ("empty", "")),
        by_priority=True,
        stuck_after=timedelta(minutes=1),
    )
    assert settings.policy == Policy(timedelta(minutes=10), drain, Rebalance.DRAIN)
    assert (settings.drain, settings.join_deadline) == (drain, timedelta(minutes=10))


@pytest.mark.parametrize("name", ["REGROW_DRAIN_GRACE_S", "REGROW_DRAIN_STUCK_S"])
def test_times_that_do_not_fit_into_a_drain_are_refused_with_the_numbers(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"{name} is '60'; it must be less than REGROW_DRAIN_DEADLINE_S, which is 60"
    ):
        Settings.from_env(ENVIRONMENT | {name: "60", "REGROW_DRAIN_DEADLINE_S": "60"})
    assert Settings.from_env(ENVIRONMENT | {name: "59", "REGROW_DRAIN_DEADLINE_S": "60"})


def test_how_doubtful_machines_are_repaired_and_how_many_may_be_set() -> None:
    settings = Settings.from_env(
        ENVIRONMENT
        | {
            "REGROW_IMPAIRED_AFTER_S": "60",
            "REGROW_SILENT_AFTER_S": "90",
            "REGROW_LADDER_IMPAIRED": "reboot=120 replace",
            "REGROW_LADDER_SILENT": " none ",
            "REGROW_UNWELL_PERCENT": "29",
            "REGROW_UNWELL_FLOOR": "0",
            "REGROW_REPLACED_AN_HOUR": "0",
        }
    )
    assert settings.policy.repair == Repair(
        impaired_after=timedelta(minutes=1),
        silent_after=timedelta(seconds=90),
        impaired=(Wait(Rung.REBOOT, timedelta(minutes=2)), Wait(Rung.REPLACE, timedelta(minutes=5))),
        silent=(),
    )
    assert settings.policy.limits == Limits(group_percent=29, group_floor=0, replaced_an_hour=0)


@pytest.mark.parametrize("text", ["", "  "])
def test_a_ladder_that_is_not_set_is_the_usual_one(text: str) -> None:
    settings = Settings.from_env(ENVIRONMENT | {"REGROW_LADDER_SILENT": text, "REGROW_LADDER_IMPAIRED": text})
    assert settings.policy.repair == Repair()


def test_the_usual_times_are_those_that_beat_the_peers() -> None:
    usual = Repair()
    assert usual.impaired_after <= timedelta(seconds=180)
    assert usual.silent_after <= timedelta(seconds=180)
