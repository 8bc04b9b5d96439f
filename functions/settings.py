"""The one way in for configuration: environment variables, read once, checked before anything else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from functions.errors import ConfigurationError


@dataclass(frozen=True)
class Settings:
    """What one deployment is told about its cluster.

    `max_in_flight` is how many machines may have their remains removed at the same time. `detach_deadline` is how
    long volumes of a dead machine may stay attached before a person is told. `join_deadline` counts from a machine's
    launch to its Ready Node, then the launch is given up; `launch_suspended` is for how long a group launches no more
    after three of those in a row. `drain_deadline` is how long a machine in a terminate hook is held for its pods.
    """

    cluster: str
    pass_queue_url: str
    later_queue_url: str
    table: str
    topic_arn: str
    kubeconfig_path: str
    max_in_flight: int = 2
    detach_deadline: timedelta = timedelta(minutes=6)
    join_deadline: timedelta = timedelta(seconds=480)
    drain_deadline: timedelta = timedelta(hours=1)
    launch_suspended: timedelta = timedelta(hours=1)

    def kubeconfig_parameter(self, identity: str) -> str:
        """Return where the control plane published a function's Kubernetes identity."""
        return f"{self.kubeconfig_path}/{identity}"

    @property
    def mint_function(self) -> str:
        return f"regrow-{self.cluster}-mint"

    @property
    def approve_function(self) -> str:
        return f"regrow-{self.cluster}-approve"

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings; raise ConfigurationError that lists everything wrong at once."""
        wrong: list[str] = []

        def required(name: str, example: str) -> str:
            value = environment.get(name, "").strip()
            if not value:
                wrong.append(f"{name} is not set; it must be {example}")
            return value

        def number(name: str, default: int, lowest: int, highest: int) -> int:
            text = environment.get(name, "").strip() or str(default)
            if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
                wrong.append(f"{name} is {text!r}; it must be a whole number from {lowest} to {highest}")
                return default
            return int(text)

        def url(name: str, example: str) -> str:
            value = required(name, example)
            if value and not value.startswith(("https://", "http://")):
                wrong.append(f"{name} is {value!r}; it must be {example}")
            return value

        topic_arn = required("REGROW_TOPIC_ARN", "the ARN of the topic for alerts")
        if topic_arn and not topic_arn.startswith("arn:"):
            wrong.append(f"REGROW_TOPIC_ARN is {topic_arn!r}; it must be the ARN of the topic for alerts")
        settings = cls(
            cluster=required("REGROW_CLUSTER", "the cluster's name, as in the tag regrow:cluster"),
            pass_queue_url=url("REGROW_PASS_QUEUE_URL", "the URL of the FIFO queue of passes"),
            later_queue_url=url("REGROW_LATER_QUEUE_URL", "the URL of the queue of later looks"),
            table=required("REGROW_TABLE", "the name of the DynamoDB table"),
            topic_arn=topic_arn,
            kubeconfig_path=required(
                "REGROW_KUBECONFIG_PATH", "the path of the SSM parameters with the functions' kubeconfigs"
            ).rstrip("/"),
            max_in_flight=number("REGROW_MAX_IN_FLIGHT", 2, 1, 100),
            detach_deadline=timedelta(seconds=number("REGROW_DETACH_DEADLINE_S", 360, 10, 86_400)),
            join_deadline=timedelta(seconds=number("REGROW_JOIN_DEADLINE_S", 480, 30, 7200)),
            drain_deadline=timedelta(seconds=number("REGROW_DRAIN_DEADLINE_S", 3600, 10, 172_800)),
            launch_suspended=timedelta(seconds=number("REGROW_LAUNCH_SUSPENDED_S", 3600, 60, 604_800)),
        )
        if wrong:
            raise ConfigurationError("; ".join(wrong) + ". `make deploy` sets them from the remediator's stack.")
        return settings
