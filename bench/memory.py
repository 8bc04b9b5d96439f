"""How much memory and time passes and the sweep take in a cluster of 5,000 Nodes: the most that their processes held.

The functions are the deployed ones, in Lambda's runtime, each fresh; the API server is real and really has the Nodes,
each as large as a kubelet makes it, and their Leases. Its controllers are switched off: 5,000 silent kubelets would
keep them busy. Leases of kubelets that are heard of are dated ahead: nobody renews 5,000 of them each ten seconds here.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kubernetes import client

from bench import reading
from bench.audit import AuditLog
from bench.calls import chill, schedules
from bench.counting import Count
from bench.replay import Crowd as Replayed
from bench.replay import Sample, serve
from infra.local.cluster import Cluster, wait_for
from infra.local.drills import crowd as on_paper
from infra.local.drills.acts import configured, event_rules, rules_disabled

NODES = 5000
PODS = 110
_MANIFEST = "kube-controller-manager.yaml"
_LEASES = "kube-node-lease"
_AHEAD, _LONG_AGO = timedelta(hours=2), -timedelta(minutes=10)
_RECORDS_AT_ONCE = 25  # as many as one BatchWriteItem takes


def measure(cluster: Cluster, nodes: int, say: Callable[[str], None]) -> dict[str, Any]:
    """MiB that each function held at most, and what reading the Nodes takes in each way that there is."""
    rules = [*event_rules(cluster), *schedules(cluster)]
    audit = AuditLog(cluster)
    with rules_disabled(cluster, rules), on_paper.crowd(cluster, "memory", 1) as one:
        (machine,) = one.machines
        (instance,) = on_paper.instances(cluster, one.machines)
        one.make_nodes()
        one.run_pods(PODS)
        replayed = Replayed(Sample.of(cluster, machine, instance["PrivateIpAddress"], one.group), nodes)
        with without_controllers(cluster):
            say(f"making {nodes} Nodes")
            _make_nodes(one.core, instance, replayed)
            leases = client.CoordinationV1Api(one.core.api_client)
            _renew(leases, replayed.machines, _AHEAD)
            _record(cluster, one.group, replayed)
            server = serve(replayed)
            elsewhere = f"http://127.0.0.1:{server.server_port}"
            aws = {"AWS_ENDPOINT_URL_EC2": elsewhere, "AWS_ENDPOINT_URL_AUTO_SCALING": elsewhere}
            try:
                with configured(cluster, ("remediate", "sweep"), aws):
                    figures = _functions(cluster, machine, replayed, leases, Count(cluster, audit), say)
            finally:
                server.shutdown()
            figures["reading_nodes"] = [_read(cluster, way, say) for way in reading.WAYS]
    return {"nodes": nodes, "pods": PODS, **figures}


def _functions(
    cluster: Cluster, machine: str, replayed: Replayed, leases: Any, count: Count, say: Callable[[str], None]
) -> dict[str, Any]:
    """The sweep; a pass that doubts, and so looks at all; one that removes what a dead machine left, and then waits for
    a whole cluster; the sweep when every kubelet has fallen silent."""
    figures: dict[str, Any] = {}
    sweep = json.loads(reading.SWEEP_EVENT.read_text())
    chill(cluster)
    for _ in range(2):
        _calls(count, replayed)
        figures["sweep"] = _invoked(cluster, "sweep", sweep)
        figures["sweep"]["calls"] = _calls(count, replayed)
        say(f"sweep: {figures['sweep']}")
    chill(cluster)
    look = {"Records": [{"receiptHandle": "bench", "body": json.dumps({"machine": machine, "reason": "bench"})}]}
    figures["pass, healthy"] = _invoked(cluster, "remediate", look)
    _renew(leases, [machine], _LONG_AGO)
    figures["pass, doubtful, looks at all"] = _invoked(cluster, "remediate", look)
    say(f"pass, doubtful: {figures['pass, doubtful, looks at all']}")
    replayed.ended.add(machine)
    for name in ("pass, dead, 110 pods", "pass, awaiting the replacement"):
        figures[name] = _invoked(cluster, "remediate", look)
        say(f"{name}: {figures[name]}")
    chill(cluster)
    unknown = {"Records": [{"receiptHandle": "bench", "body": json.dumps({"machine": "i-0" + "f" * 16})}]}
    figures["pass, foreign"] = _invoked(cluster, "remediate", unknown)
    _renew(leases, replayed.machines, _LONG_AGO)
    chill(cluster)
    figures["sweep, all silent"] = _invoked(cluster, "sweep", sweep)
    say(f"sweep, all silent: {figures['sweep, all silent']}")
    return figures


def _renew(leases: Any, machines: Iterable[str], ahead: timedelta) -> None:
    """Have each Node's lease say that its kubelet was heard of so long from now."""
    renewed_at = f"{datetime.now(UTC) + ahead:%Y-%m-%dT%H:%M:%S.%fZ}"

    def renew(machine: str) -> None:
        spec = {"holderIdentity": machine, "leaseDurationSeconds": 40, "renewTime": renewed_at}
        body = {"metadata": {"name": machine}, "spec": spec}
        try:
            leases.patch_namespaced_lease(machine, _LEASES, body, _preload_content=False)
        except client.ApiException as error:
            if error.status != 404:
                raise
            leases.create_namespaced_lease(_LEASES, body, _preload_content=False)

    with ThreadPoolExecutor(max_workers=8) as together:
        list(together.map(renew, machines))


def _calls(count: Count, replayed: Replayed) -> dict[str, int]:
    """What was asked since the last time, by whoever was asked."""
    tally = count.read(speaks={})
    calls = {f"{called.service} {called.action}": many for called, many in tally.calls.items()}
    calls |= {f"AWS, played back {action}": many for action, many in replayed.asked.items()}
    replayed.asked.clear()
    return dict(sorted(calls.items()))


def _invoked(cluster: Cluster, function: str, event: dict[str, Any]) -> dict[str, Any]:
    """Invoke and wait; how much it held at most since it started, how long it took, and what it said last."""
    answer = cluster.client("lambda").invoke(
        FunctionName=cluster.function(function), Payload=json.dumps(event).encode(), LogType="Tail"
    )
    log = base64.b64decode(answer["LogResult"]).decode()
    if "FunctionError" in answer:
        raise RuntimeError(f"{function}: {answer['Payload'].read()!r} {log}")
    billed_ms = int(log.rpartition("Billed Duration: ")[2].split()[0])
    lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"level"')]
    said = {
        key: lines[-1].get(key)
        for key in ("message", "verdict", "steps", "then", "looked_at", "held", "brakes")
        if lines
    }
    if said.get("held") or said.get("verdict") == "held" or "failed" in str(said.get("then")):
        raise RuntimeError(f"{function} has not read everything, so what it held says nothing: {said}")
    return {"mib": peak_mib(cluster.function(function)), "s": round(billed_ms / 1000, 1), "said": said}


def peak_mib(function: str) -> float:
    """The most that a Python process of the function has held, by the kernel's own account (VmHWM)."""
    peaks = [0.0]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"awslambdaric" in command and not command[0].endswith((b"unshare", b"rie", b"setpriv")):
                names = (process / "environ").read_bytes().split(b"\0")
                if f"AWS_LAMBDA_FUNCTION_NAME={function}".encode() in names:
                    status = (process / "status").read_text()
                    peaks.append(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return round(max(peaks), 1)


def _read(cluster: Cluster, way: reading.Way, say: Callable[[str], None]) -> dict[str, Any]:
    """In a process of its own, so that what it held is its own."""
    command = [sys.executable, "-m", "bench.reading", way.name, cluster.name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    say(f"{way.name}: {figures}")
    return figures


def _make_nodes(core: Any, instance: dict[str, Any], replayed: Replayed) -> None:
    def make(machine: str) -> None:
        named = {**instance, "InstanceId": machine, "PrivateIpAddress": replayed.machines[machine]}
        on_paper.post(core, "/api/v1/nodes", on_paper.node_of(named))

    others = [machine for machine in replayed.machines if machine != instance["InstanceId"]]
    with ThreadPoolExecutor(max_workers=8) as together:
        list(together.map(make, others))


def _record(cluster: Cluster, group: str, replayed: Replayed) -> None:
    """As the sweep has written each of them down when it saw it for the first time."""
    table, now = f"regrow-{cluster.name}", datetime.now(UTC).isoformat()
    known = {"pk": "machine", "group": group, "role": "worker", "node_uid": "0" * 36, "first_seen": now}
    items = [{**known, "sk": machine, "node_name": machine} for machine in replayed.machines]
    for first in range(0, len(items), _RECORDS_AT_ONCE):
        puts = [
            {"PutRequest": {"Item": {key: {"S": text} for key, text in item.items()}}}
            for item in items[first : first + _RECORDS_AT_ONCE]
        ]
        cluster.client("dynamodb").batch_write_item(RequestItems={table: puts})


@contextmanager
def without_controllers(cluster: Cluster) -> Iterator[None]:
    """No controller runs meanwhile."""
    machine = cluster.initialised_by() or ""

    def move(source: str, to: str) -> None:
        command = cluster.world.machine_command(machine, ["mv", f"{source}/{_MANIFEST}", to])
        subprocess.run(command, check=True, capture_output=True)

    def runs() -> bool:
        look = ["sh", "-c", "pgrep -x kube-controller || pgrep -f ^kube-controller-manager || true"]
        found = subprocess.run(cluster.world.machine_command(machine, look), capture_output=True, text=True, check=True)
        return bool(found.stdout.strip())

    move("/etc/kubernetes/manifests", "/etc/kubernetes")
    try:
        wait_for("the end of the controllers", lambda: not runs(), within_s=60)
        yield
    finally:
        move("/etc/kubernetes", "/etc/kubernetes/manifests")
