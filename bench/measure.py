"""The measurements, each a plain function that returns seconds or bytes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from infra.local.cluster import Cluster, wait_for
from infra.local.drills.acts import before_kill, invoke_drill, prepare_workload, rules_disabled
from infra.local.drills.findings import pods_missing
from infra.local.drills.kinds import KINDS
from infra.local.drills.run import run
from infra.local.drills.witness import Witness

EVENT: dict[str, Any] = {
    "version": "0",
    "id": "bench",
    "source": "bench",
    "detail-type": "nothing follows from this",
    "account": "123456789012",
    "time": "2026-01-01T00:00:00Z",
    "region": "us-east-1",
    "resources": [],
    "detail": {},
}
HARMLESS: dict[str, Any] = {
    "intake": {"Records": []},
    "remediate": {"Records": [{"receiptHandle": "bench", "body": '{"machine": "i-00000000000000000"}'}]},
    "sweep": EVENT,
    "mint": {"machine": "i-00000000000000000"},
    "approve": {},
    "drill": {"do": "report"},
}
BETWEEN = ("terminated_to_pods_ready", "requested_to_approved_client", "requested_to_approved_serving")
ALONE_WITHIN_S = 600.0


def drills(cluster: Cluster, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Median seconds since the kill of each milestone, and between some of them, over `count` drills; and every one."""
    runs = []
    for number in range(count):
        record = run(cluster, KINDS["worker"], lambda _: None)
        say(f"drill {number + 1} of {count}: {'healed' if record['healed'] else 'NOT healed'} {record['milestones']}")
        runs.append(record["milestones"] | {name: record[f"{name}_s"] for name in BETWEEN})
    return {
        "median_s": {name: round(statistics.median(one[name] for one in runs), 2) for name in runs[0]},
        "runs_s": runs,
    }


def alone(cluster: Cluster, say: Callable[[str], None]) -> float:
    """Seconds from the kill until all pods are Ready elsewhere, with Regrow switched off: Kubernetes alone."""
    witness = Witness(cluster.kubeconfig)
    witness.start()
    prepare_workload(cluster, witness)
    victim = invoke_drill(cluster, {"do": "drill", "dry_run": True})["machine"]
    before = before_kill(witness, victim)
    every_rule = [rule["Name"] for rule in cluster.client("events").list_rules()["Rules"]]
    with rules_disabled(cluster, every_rule):
        say(f"killing {victim} with Regrow switched off; this takes six minutes")
        started = time.monotonic()
        invoke_drill(cluster, {"do": "drill", "machine": victim})
        healed = "the pods elsewhere"
        wait_for(healed, lambda: pods_missing(before, witness.pods) == 0, within_s=ALONE_WITHIN_S)
        took_s = time.monotonic() - started
    witness.stop()
    return round(took_s, 1)


def cold_starts(cluster: Cluster, count: int) -> dict[str, float]:
    """Median seconds of a whole cold invocation that has nothing to do, of each function; a sweep always lists all."""
    client = cluster.client("lambda")
    medians = {}
    for function, payload in HARMLESS.items():
        name, seconds = f"regrow-{cluster.name}-{function}", []
        memory_mib = client.get_function_configuration(FunctionName=name)["MemorySize"]
        for number in range(1, count + 1):
            # A changed configuration retires every warm environment, as Lambda does.
            client.update_function_configuration(FunctionName=name, MemorySize=memory_mib + number)
            started = time.monotonic()
            answer = client.invoke(FunctionName=name, Payload=json.dumps(payload).encode())
            seconds.append(time.monotonic() - started)
            if "FunctionError" in answer:
                raise RuntimeError(f"{name}: {answer['Payload'].read()!r}")
        medians[function] = round(statistics.median(seconds), 3)
    return medians


def package_bytes(cluster: Cluster) -> int:
    """The size of the zip that all functions run."""
    name = f"regrow-{cluster.name}-remediate"
    return int(cluster.client("lambda").get_function(FunctionName=name)["Configuration"]["CodeSize"])
