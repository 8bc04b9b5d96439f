"""The manual invoke: drills, a pause and its end, and reports. The same in a real account and on the local world.

{"do": "drill"}                                    terminate one worker with no shutdown
{"do": "drill", "dry_run": true}                   say which one it would be
{"do": "drill", "machine": "i-0…"}                 that one
{"do": "report"} or {"do": "report", "machine": …} open cases, or what happened to one machine
{"do": "explain", "machine": "i-0…"}               facts, verdict, plan and refusal, without acting
{"do": "explain"}                                  every machine of the cluster in one line, and what holds for all
{"do": "dead-letters"}                             what lies there, and why what cannot be put back cannot
{"do": "put-back"}                                 put them back, as far as they are understood
{"do": "pause", "minutes": 60, "reason": "…"}      leave the cluster alone; also {"of": group or instance}
{"do": "resume"}                                   end the pause
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from functions.cluster.assess import not_whole
from functions.cluster.facts import Pause
from functions.cluster.machine import Group, InstanceId, Role, instance_id
from functions.cluster.optout import LONGEST_PAUSE, pauses_of
from functions.dead_letters import DeadLetters, put_back, show
from functions.errors import PermanentError, RefusedError
from functions.explain import explain_cluster, explain_machine
from functions.remediate.observe import observe, readiness
from functions.remediate.outside import Outside
from functions.remediate.outside import Table as PassTable
from functions.report import case_report, explained_report, letters_report, overview_report
from functions.settings import Settings

_FIELDS = {
    "drill": {"dry_run", "machine"},
    "report": {"machine"},
    "explain": {"machine"},
    "dead-letters": set(),
    "put-back": set(),
    "pause": {"of", "minutes", "reason"},
    "resume": {"of"},
}


class Plug(Protocol):
    def terminate_without_shutdown(self, instance: InstanceId) -> None: ...


class Table(PassTable, Protocol):
    def pause(self, pause: Pause) -> None: ...

    def resume(self, subject: str) -> None: ...

    def history(self, instance: InstanceId) -> tuple[dict[str, Any], ...]: ...


@dataclass(frozen=True)
class Desk:
    """What the manual invoke may use: what a pass may, the plug of a machine, the whole table, and the dead letters."""

    outside: Outside
    plug: Plug
    table: Table
    letters: DeadLetters


def answer(request: object, desk: Desk, settings: Settings, *, now: datetime) -> dict[str, Any]:
    """Do what a person asks for and say what was done.

    Raises PermanentError when the request cannot be understood, RefusedError when it must not be done now.
    """
    if not isinstance(request, Mapping):
        raise PermanentError(f"the request must be an object such as {{'do': 'report'}}, not {request!r}")
    verb = _verb(request)
    match verb:
        case "drill":
            return _drill(request, desk, settings, now)
        case "report":
            machine = _machine(request) if "machine" in request else None
            history = desk.table.history(machine) if machine else ()
            return case_report(desk.table.cases(), desk.table.joins(), machine, history, cluster=settings.cluster)
        case "explain":
            if "machine" in request:
                return explained_report(explain_machine(_machine(request), desk.outside, settings, now=now))
            seen = explain_cluster(desk.outside, settings, now=now)
            return overview_report(seen, cluster=settings.cluster, at=now)
        case "dead-letters":
            return {"dead_letters": letters_report(show(desk.letters))}
        case "put-back":
            done, left = put_back(desk.letters, desk.outside.queues, now=now)
            return {"did": "put-back", "put_back": letters_report(done), "left": letters_report(left)}
        case "pause":
            return _pause(request, desk, settings, now)
        case _:
            subject = _subject(request, desk, settings)
            desk.table.resume(subject)
            return {"did": "resume", "of": subject}


def _verb(request: Mapping[str, Any]) -> str:
    """Return what is asked for. A field that we do not know is an error: a misspelt dry_run must not become a drill."""
    verb = request.get("do")
    if not isinstance(verb, str) or verb not in _FIELDS:
        raise PermanentError(f"'do' is {verb!r}; it must be one of {', '.join(_FIELDS)}")
    if strange := set(request) - _FIELDS[verb] - {"do"}:
        raise PermanentError(f"{verb} knows {', '.join(sorted(_FIELDS[verb]))}, not {', '.join(map(repr, strange))}")
    return verb


def _drill(request: Mapping[str, Any], desk: Desk, settings: Settings, now: datetime) -> dict[str, Any]:
    """Refuse on a cluster that is not whole, or is not healed now: a drill must not turn one trouble into two."""
    dry_run = request.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise PermanentError(f"'dry_run' is {dry_run!r}; it must be true or false")
    groups = desk.outside.autoscaling.groups(settings.cluster)
    workers = [group for group in groups if group.role is Role.WORKER]
    if cases := desk.table.cases():
        raise RefusedError(f"a case is open about {', '.join(case.instance for case in cases)}")
    nodes_ready = readiness(desk.outside.kubernetes.nodes(), desk.table.records())
    for group in groups:
        if missing := not_whole(group, nodes_ready):
            raise RefusedError(f"the cluster is not whole: {missing}")
    if not workers:
        raise RefusedError(f"cluster {settings.cluster} has no group that is tagged as its workers")

    victim, group = _victim(request, workers)
    seen = observe(victim, settings.cluster, desk.outside, now=now)
    if seen.unknowns:
        raise RefusedError(f"not all could be read of {victim}: {seen.unknowns[0]}")
    for pause in pauses_of(seen):
        if pause.holds((settings.cluster, group.name, victim), now):
            raise RefusedError(str(pause))
    said = {"group": group.name, "machine": victim, "how": "terminated with no shutdown of its operating system"}
    if dry_run:
        return {"would": "drill", **said}
    desk.plug.terminate_without_shutdown(victim)
    return {"did": "drill", **said}


def _victim(request: Mapping[str, Any], workers: list[Group]) -> tuple[InstanceId, Group]:
    in_service = [(member.id, group) for group in workers for member in group.members if member.in_service]
    if len(in_service) < 2:
        raise RefusedError("there is no second worker to take over the pods")
    if "machine" not in request:
        return min(in_service, key=lambda one: one[0])
    machine = _machine(request)
    for candidate, group in in_service:
        if candidate == machine:
            return candidate, group
    raise RefusedError(f"{machine} is not a worker in service of this cluster")


def _pause(request: Mapping[str, Any], desk: Desk, settings: Settings, now: datetime) -> dict[str, Any]:
    minutes, reason = request.get("minutes"), request.get("reason")
    longest = LONGEST_PAUSE // timedelta(minutes=1)
    if not isinstance(minutes, int) or isinstance(minutes, bool) or not 1 <= minutes <= longest:
        raise PermanentError(f"'minutes' is {minutes!r}; it must be a whole number from 1 to {longest}")
    if not isinstance(reason, str) or not reason:
        raise PermanentError("'reason' is missing; say why, for whoever is paged meanwhile")
    pause = Pause(_subject(request, desk, settings), now + timedelta(minutes=minutes), reason)
    desk.table.pause(pause)
    return {"did": "pause", "of": pause.of, "until": pause.until.isoformat(), "reason": reason}


def _subject(request: Mapping[str, Any], desk: Desk, settings: Settings) -> str:
    """Return what a pause is of; one of something that is not there would only seem to protect it."""
    subject = request.get("of", settings.cluster)
    if subject == settings.cluster:
        return settings.cluster
    if machine := instance_id(subject):
        return machine
    for group in desk.outside.autoscaling.groups(settings.cluster):
        if group.name == subject:
            return group.name
    raise PermanentError(
        f"'of' is {subject!r}; it must be the cluster {settings.cluster}, one of its groups, or an instance id"
    )


def _machine(request: Mapping[str, Any]) -> InstanceId:
    machine = instance_id(request.get("machine"))
    if machine is None:
        raise PermanentError(f"'machine' is {request.get('machine')!r}; it must be an instance id such as i-0abc…")
    return machine
