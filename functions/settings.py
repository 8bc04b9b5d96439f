"""The one way in for configuration: environment variables, read once, checked before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TypeVar

from functions.cluster.doubt import LADDER_IS, Repair, Wait, ladder_of
from functions.cluster.draining import DrainPolicy, Found, Overdue
from functions.cluster.policy import Policy, Rebalance
from functions.cluster.radius import Limits
from functions.errors import ConfigurationError

Choice = TypeVar("Choice", bound=Enum)

_LABEL = "[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_LABEL_PAIR = re.compile(f"(?P<key>(?:(?=[^/]{{1,253}}/){_DOMAIN}/)?{_LABEL})=(?P<value>(?:{_LABEL})?)")
"""A label and its value, as Kubernetes has them (apimachinery, pkg/api/validate/content/kube.go)."""
HOOK_LIVES_S = 172_800  # Auto Scaling lets no instance wait for longer


class _Eviction(Enum):
    """How a drain has pods go."""

    EVICT = "evict"
    DELETE = "delete"  # no disruption budget is asked


class _YesNo(Enum):
    YES = "yes"
    NO = "no"


@dataclass(frozen=True)
class Settings:
    """What one deployment is told about its cluster.

    `max_in_flight` is how many machines may have their remains removed at the same time. `detach_deadline` is how
    long volumes of a dead machine may stay attached before a person is told. `launch_suspended` is for how long a group
    launches no more after three launches in a row were given up. `snapshot_every` is also how old the last snapshot of
    etcd may be when a member is removed.
    """

    cluster: str
    pass_queue_url: str
    inbox_queue_url: str
    table: str
    topic_arn: str
    kubeconfig_path: str
    max_in_flight: int = 2
    detach_deadline: timedelta = timedelta(minutes=6)
    launch_suspended: timedelta = timedelta(hours=1)
    snapshot_bucket: str = ""
    snapshot_every: timedelta = timedelta(hours=1)
    policy: Policy = field(default_factory=Policy)

    @property
    def join_deadline(self) -> timedelta:
        return self.policy.join_deadline

    @property
    def drain(self) -> DrainPolicy:
        return self.policy.drain

    def kubeconfig_parameter(self, identity: str) -> str:
        """Return where the control plane published a function's Kubernetes identity."""
        return f"{self.kubeconfig_path}/{identity}"

    @property
    def pass_dead_queue_url(self) -> str:
        return self._beside(self.pass_queue_url, f"regrow-{self.cluster}-pass-dead.fifo")

    @property
    def inbox_dead_queue_url(self) -> str:
        return self._beside(self.inbox_queue_url, f"regrow-{self.cluster}-inbox-dead")

    @staticmethod
    def _beside(queue_url: str, name: str) -> str:
        """A queue's URL ends with its name (SQS developer guide, queue and message identifiers)."""
        return f"{queue_url.rpartition('/')[0]}/{name}"

    @property
    def mint_function(self) -> str:
        return f"regrow-{self.cluster}-mint"

    @property
    def approve_function(self) -> str:
        return f"regrow-{self.cluster}-approve"

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings; raise ConfigurationError that lists everything wrong at once."""
        read = _Reader(environment)
        settings = cls(
            cluster=read.required("REGROW_CLUSTER", "the cluster's name, as in the tag regrow:cluster"),
            pass_queue_url=read.url("REGROW_PASS_QUEUE_URL", "the URL of the FIFO queue of passes"),
            inbox_queue_url=read.url("REGROW_INBOX_QUEUE_URL", "the URL of the inbox"),
            table=read.required("REGROW_TABLE", "the name of the DynamoDB table"),
            topic_arn=read.beginning("REGROW_TOPIC_ARN", "the ARN of the topic for alerts", "arn:"),
            kubeconfig_path=read.required(
                "REGROW_KUBECONFIG_PATH", "the path of the SSM parameters with the functions' kubeconfigs"
            ).rstrip("/"),
            max_in_flight=read.number("REGROW_MAX_IN_FLIGHT", 2, 1, 100),
            detach_deadline=read.seconds("REGROW_DETACH_DEADLINE_S", 360, 10, 86_400),
            launch_suspended=read.seconds("REGROW_LAUNCH_SUSPENDED_S", 3600, 60, 604_800),
            snapshot_bucket=read.required("REGROW_SNAPSHOT_BUCKET", "the bucket for snapshots of etcd"),
            snapshot_every=read.seconds("REGROW_SNAPSHOT_EVERY_S", 3600, 300, 86_400),
            policy=Policy(
                join_deadline=read.seconds("REGROW_JOIN_DEADLINE_S", 480, 30, 7200),
                drain=_drain_policy(read),
                rebalance=read.choice("REGROW_REBALANCE", Rebalance.CORDON),
                repair=_repair(read),
                limits=Limits(
                    group_percent=read.number("REGROW_UNWELL_PERCENT", 20, 1, 100),
                    group_floor=read.number("REGROW_UNWELL_FLOOR", 1, 0, 100),
                    replaced_an_hour=read.number("REGROW_REPLACED_AN_HOUR", 3, 0, 100),
                ),
            ),
        )
        if read.wrong:
            raise ConfigurationError("; ".join(read.wrong) + ". `make deploy` sets them from the remediator's stack.")
        return settings


def _repair(read: _Reader) -> Repair:
    usual = Repair()
    return Repair(
        impaired_after=read.seconds("REGROW_IMPAIRED_AFTER_S", int(usual.impaired_after.total_seconds()), 5, 86_400),
        silent_after=read.seconds("REGROW_SILENT_AFTER_S", int(usual.silent_after.total_seconds()), 5, 86_400),
        impaired=read.ladder("REGROW_LADDER_IMPAIRED", usual.impaired),
        silent=read.ladder("REGROW_LADDER_SILENT", usual.silent),
    )


def _drain_policy(read: _Reader) -> DrainPolicy:
    deadline = read.seconds("REGROW_DRAIN_DEADLINE_S", 3600, 10, HOOK_LIVES_S)
    grace_s = read.optional_number("REGROW_DRAIN_GRACE_S", 1, HOOK_LIVES_S)
    stuck_s = read.optional_number("REGROW_DRAIN_STUCK_S", 1, HOOK_LIVES_S)
    for name, seconds in (("REGROW_DRAIN_GRACE_S", grace_s), ("REGROW_DRAIN_STUCK_S", stuck_s)):
        if seconds is not None and timedelta(seconds=seconds) >= deadline:
            limit = f"less than REGROW_DRAIN_DEADLINE_S, which is {deadline.total_seconds():.0f}"
            read.wrong.append(f"{name} is '{seconds}'; it must be {limit}: by then the drain is over")
    return DrainPolicy(
        deadline=deadline,
        overdue=read.choice("REGROW_DRAIN_OVERDUE", Overdue.RELEASE),
        unmanaged=read.choice("REGROW_DRAIN_UNMANAGED", Found.EVICT),
        local_data=read.choice("REGROW_DRAIN_LOCAL_DATA", Found.EVICT),
        evict=read.choice("REGROW_DRAIN_EVICTION", _Eviction.EVICT) is _Eviction.EVICT,
        grace_s=grace_s,
        selector=read.labels("REGROW_DRAIN_SELECTOR"),
        by_priority=read.choice("REGROW_DRAIN_BY_PRIORITY", _YesNo.NO) is _YesNo.YES,
        stuck_after=None if stuck_s is None else timedelta(seconds=stuck_s),
    )


@dataclass(frozen=True)
class _Reader:
    """Variables one by one; one that is not as it must be is written down, with its value and what it must be."""

    environment: Mapping[str, str]
    wrong: list[str] = field(default_factory=list)

    def required(self, name: str, example: str) -> str:
        value = self._text(name)
        if not value:
            self.wrong.append(f"{name} is not set; it must be {example}")
        return value

    def beginning(self, name: str, example: str, *beginnings: str) -> str:
        value = self.required(name, example)
        if value and not value.startswith(beginnings):
            self.wrong.append(f"{name} is {value!r}; it must be {example}")
        return value

    def url(self, name: str, example: str) -> str:
        return self.beginning(name, example, "https://", "http://")

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        found = self.optional_number(name, lowest, highest)
        return default if found is None else found

    def optional_number(self, name: str, lowest: int, highest: int) -> int | None:
        """Return None when it is not set."""
        text = self._text(name)
        if not text:
            return None
        if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            self.wrong.append(f"{name} is {text!r}; it must be a whole number from {lowest} to {highest}")
            return None
        return int(text)

    def seconds(self, name: str, default: int, lowest: int, highest: int) -> timedelta:
        return timedelta(seconds=self.number(name, default, lowest, highest))

    def choice(self, name: str, default: Choice) -> Choice:
        text = self._text(name) or str(default.value)
        try:
            return type(default)(text)
        except ValueError:
            *others, last = (str(one.value) for one in type(default))
            self.wrong.append(f"{name} is {text!r}; it must be {', '.join(others)} or {last}")
            return default

    def ladder(self, name: str, default: tuple[Wait, ...]) -> tuple[Wait, ...]:
        text = self._text(name)
        found = ladder_of(text) if text else default
        if found is None:
            self.wrong.append(f"{name} is {text!r}; it must be {LADDER_IS}")
            return default
        return found

    def labels(self, name: str) -> tuple[tuple[str, str], ...]:
        text = self._text(name)
        found = [_LABEL_PAIR.fullmatch(pair.strip()) for pair in text.split(",")] if text else []
        pairs = tuple((pair["key"], pair["value"]) for pair in found if pair)
        if len(dict(pairs)) < len(found):
            self.wrong.append(
                f"{name} is {text!r}; it must be labels, each once, such as app=web,example.com/tier=front"
            )
            return ()
        return pairs

    def _text(self, name: str) -> str:
        return self.environment.get(name, "").strip()
