"""`python -m infra.deploy --cluster NAME`: stack, project, package, `chalice deploy`, then read it all back.

Every step may be run again, and a second run changes nothing. Progress goes to standard error, the result to
standard output.
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.deployment import chalice_run
from infra.deployment.failure import DeploymentError
from infra.deployment.package import Package, build_package
from infra.deployment.project import APP_NAME, SETTINGS, Network, Project, configure, lay_out, read_settings
from infra.deployment.rebalancing import keep_control_planes_in_place
from infra.deployment.stack import ensure_stack, remove_stack
from infra.deployment.timers import refuse_what_does_not_fit
from infra.deployment.verify import Deployed, already_there, verify

CHECKOUT = Path(__file__).resolve().parents[1]
TEMPLATE = CHECKOUT / "infra" / "remediator" / "template.yaml"
CLUSTER_NAME = re.compile(r"[a-z][a-z0-9-]{0,27}")
OLDEST_LIVE_RUNTIME = (3, 12)


@dataclass(frozen=True)
class Deployment:
    """What one run left in the account."""

    cluster: str
    outputs: dict[str, str]
    package: Package
    functions: list[Deployed]
    duration_s: float

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, default=str)


class Progress:
    """Lines for people, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{self.elapsed_s():6.1f} s] {text}", file=sys.stderr, flush=True)

    def elapsed_s(self) -> float:
        return time.monotonic() - self._start


def deploy(
    cluster: str,
    *,
    session: Any,
    source: Path = CHECKOUT,
    build: Path | None = None,
    network: Network | None = None,
    alarm_email: str = "",
    settings: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Deployment:
    """Make the account hold this cluster's functions, as the checkout has them now."""
    progress = progress or Progress()
    project = project_of(cluster, build)
    refuse_ended_runtime(session, sys.version_info[:2])
    with alone(project):
        outputs = ensure_stack(
            session.client("cloudformation"),
            stack_name(cluster),
            TEMPLATE.read_text(),
            {"ClusterName": cluster, "AlarmEmail": alarm_email},
            progress.say,
        )
        lay_out(source, project)
        configure(project, outputs, network or Network(), settings)
        refuse_what_does_not_fit(project.configured()["environment_variables"], session)
        keep_control_planes_in_place(cluster, session.client("autoscaling"), progress.say)
        package = build_package(project, cache(), progress.say)
        progress.say(f"package: {package.size_mb:.1f} MB, sha256 {package.sha256[:12]}")
        functions = already_there(project, package, session)
        if functions is None:
            chalice_run.deploy(project, session, progress.say)
            functions = verify(project, package, session)
        progress.say(f"verified: {len(functions)} functions run this package")
    return Deployment(cluster, outputs, package, functions, round(progress.elapsed_s(), 1))


def remove(cluster: str, *, session: Any, build: Path | None = None, progress: Progress | None = None) -> None:
    """Take the functions and the stack down again. What is gone already is no error."""
    progress = progress or Progress()
    project = project_of(cluster, build)
    with alone(project):
        chalice_run.remove(project, session, progress.say)
        remove_stack(session.client("cloudformation"), stack_name(cluster), progress.say)


def stack_name(cluster: str) -> str:
    return f"{APP_NAME}-{cluster}-remediator"


def project_of(cluster: str, build: Path | None) -> Project:
    if not CLUSTER_NAME.fullmatch(cluster):
        raise DeploymentError(
            f"{cluster!r} is no cluster name: a lower-case letter, then up to 27 lower-case letters, digits or hyphens"
        )
    return Project((build or CHECKOUT / "build" / "deploy" / cluster).resolve(), cluster)


def refuse_ended_runtime(session: Any, version: tuple[int, ...]) -> None:
    """Chalice deploys to the runtime of the Python that runs it. AWS takes no new function of one that has ended."""
    host = urlsplit(session.client("lambda").meta.endpoint_url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")) and version < OLDEST_LIVE_RUNTIME:
        oldest = ".".join(map(str, OLDEST_LIVE_RUNTIME))
        raise DeploymentError(
            f"AWS has ended Lambda's python{'.'.join(map(str, version))}; run this with Python {oldest} or newer"
        )


def cache() -> Path:
    return Path(os.environ.get("REGROW_CACHE") or Path.home() / ".cache" / "regrow")


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """One run at a time for each project: chalice's memory of a deployment is a file that it rewrites."""
    project.directory.mkdir(parents=True, exist_ok=True)
    with (project.directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            raise DeploymentError(f"another run works in {project.directory}; wait until it ends") from busy
        yield


def table(deployment: Deployment) -> str:
    rows = [("function", "runtime", "memory", "timeout", "woken by")]
    rows += [
        (f.name, f.runtime, f"{f.memory_mib} MiB", f"{f.timeout_s} s", ", ".join(f.wakes)) for f in deployment.functions
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    package = deployment.package
    return "\n".join([*lines, "", f"package {package.size_mb:.1f} MB, {deployment.duration_s:.1f} s"])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.deploy", description="Deploy Regrow's functions.")
    parser.add_argument("--cluster", required=True, help="name of the cluster; also chalice's stage")
    parser.add_argument("--project-dir", type=Path, default=CHECKOUT, help="where app.py and functions/ are")
    parser.add_argument("--build-dir", type=Path, help="where the project is staged (build/deploy/CLUSTER)")
    parser.add_argument("--subnet-ids", default="", help="comma-separated; with a path to the Kubernetes API")
    parser.add_argument("--security-group-ids", default="", help="comma-separated")
    parser.add_argument("--alarm-email", default="", help="who is told of alarms")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"other than its default, until the next deployment without it; repeatable: {', '.join(SETTINGS)}",
    )
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--remove", action="store_true", help="delete functions, queues, table and roles")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        session = boto3.Session()
        if not session.region_name:
            raise DeploymentError("no region is set; export AWS_DEFAULT_REGION or choose a profile with one")
        if options.remove:
            remove(options.cluster, session=session, build=options.build_dir)
            return 0
        network = Network(_listed(options.subnet_ids), _listed(options.security_group_ids))
        deployment = deploy(
            options.cluster,
            session=session,
            source=options.project_dir.resolve(),
            build=options.build_dir,
            network=network,
            alarm_email=options.alarm_email,
            settings=read_settings(options.setting),
        )
    except (DeploymentError, ClientError, BotoCoreError) as problem:
        print(f"deploy: {problem}", file=sys.stderr)
        return 1
    print(deployment.to_json() if options.output == "json" else table(deployment))
    return 0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


if __name__ == "__main__":
    sys.exit(main())
