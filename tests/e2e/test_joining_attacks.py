"""Whoever holds what a joining machine holds gets what is that machine's own, and nothing else.

One machine is launched that does not boot, with passes paused: only the test asks mint and approve for it. What it was
handed is read with its own credentials, and used against the real API server as an attacker would. What became of each
attempt is looked at once the cluster is whole again.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kubernetes import client

from functions.edges.certificate_requests import CertificateRequestsEdge
from functions.edges.kubernetes_api import Credentials
from functions.errors import ConflictError
from infra.local.cluster import wait_for
from infra.local.drills.csrs import client_csr, dns, ip, key_info, serving_csr
from infra.local.drills.holder import (
    CLIENT_SIGNER,
    CLIENT_USAGES,
    SERVING_SIGNER,
    SERVING_USAGES,
    connection,
    send,
    with_token,
)
from infra.local.drills.hostile_requests import for_the_identity_of, in_another_form, to_serve_as_another
from infra.local.drills.joining import see_tokens
from infra.local.drills.never_joining import faulty_user_data
from tests.e2e.joiner import (
    Joiner,
    Outcome,
    answer_of,
    as_function,
    await_certificate,
    is_let_in,
    launched,
    secret_of,
    take_back,
    without_sweeps,
    word_on,
)
from tests.e2e.scene import Scene
from tests.e2e.sights import SeenMachine, see_machine
from tests.e2e.test_rights import published

DENIED = "AccessDeniedException"
ALLOWED_BUT_UNMET = "ConditionalCheckFailedException"
NOBODY = "i-00000000000000000"
MACHINES = ("own", "other", "master")
FUNCTIONS = ("intake", "remediate", "sweep", "drill", "mint", "approve")
OTHER_USES: dict[str, tuple[str, tuple[str, ...]]] = {
    "c15 to serve as well": (CLIENT_SIGNER, (*CLIENT_USAGES, "server auth")),
    "c15 to sign": (CLIENT_SIGNER, (*CLIENT_USAGES, "cert sign")),
    "c15 to be no client": (CLIENT_SIGNER, ("digital signature",)),
    "c16 as a person": ("kubernetes.io/kube-apiserver-client", CLIENT_USAGES),
    "c16 by a signer of somebody's own": ("example.com/mine", CLIENT_USAGES),
    "s22 to serve, with a token": (SERVING_SIGNER, SERVING_USAGES),
}
EARLIER = "2026-01-02T03:04:05+00:00"


@dataclass
class Attack:
    """What became of everything that was tried in one machine's name. `let_in` says whether a token was good."""

    machine: str
    minted: list[str] = field(default_factory=list)
    tokens: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    of_another: dict[str, Outcome] = field(default_factory=dict)
    of_another_form: dict[str, Outcome] = field(default_factory=dict)
    for_another_use: dict[str, Outcome] = field(default_factory=dict)
    with_another_record: dict[str, Outcome] = field(default_factory=dict)
    serving: dict[str, Outcome] = field(default_factory=dict)
    keys: dict[str, Outcome] = field(default_factory=dict)
    keys_written: tuple[set[str], set[str]] = (set(), set())
    made_anew: str = ""
    certificates: list[tuple[str, ...]] = field(default_factory=list)
    beside_the_controller: dict[str, str] = field(default_factory=dict)
    renewal: list[object] = field(default_factory=list)
    rights: dict[str, str] = field(default_factory=dict)
    spoofed: dict[str, str] = field(default_factory=dict)
    victim_seen: list[SeenMachine] = field(default_factory=list)
    let_in: dict[str, bool] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    fate: dict[str, object] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def attack(scene: Scene) -> Iterator[Attack]:
    scene.await_whole()
    with without_sweeps(scene), faulty_user_data(scene.cluster), launched(scene) as joiner:
        attack = Attack(joiner.id)
        victim = scene.workers()[0]
        attack.victim_seen.append(see_machine(scene, victim))
        mint_at_once_and_again(joiner, attack)
        attack.rights = try_rights(joiner, victim)
        bundle = joiner.bundle()
        holder = with_token(bundle)
        attack.of_another = knock(joiner, holder, for_the_identity_of(victim, joiner.id))
        attack.of_another_form = knock(joiner, holder, in_another_form(joiner.id, victim))
        attack.for_another_use = {
            id_: knock_once(joiner, holder, client_csr(joiner.id), *use) for id_, use in OTHER_USES.items()
        }
        attack.with_another_record = with_another_record(joiner, holder, victim)
        attack.made_anew = make_anew(joiner, holder, victim)
        bundle = expire(joiner, attack, bundle)
        holder = with_token(bundle)
        node = join_by_hand(joiner, holder, bundle, attack)
        attack.serving = serve_as_another(joiner, node, victim)
        stay_pending_beside_the_controller(joiner, holder, node, attack)
        pose_as(joiner, node, victim, attack)
        two_at_once_then_one_too_many(joiner, holder, attack)
        give_up(joiner, attack)
        attack.victim_seen.append(see_machine(scene, victim))
    yield attack


# --- what is tried


def mint_at_once_and_again(joiner: Joiner, attack: Attack) -> None:
    with ThreadPoolExecutor() as together:
        attack.minted += [answer["did"] for answer in together.map(joiner.ask, ["mint"] * 4)]
    attack.tokens.append((joiner.token_id(), see_tokens(joiner.scene.cluster)))
    attack.minted.append(joiner.ask("mint")["did"])
    attack.tokens.append((joiner.token_id(), see_tokens(joiner.scene.cluster)))


def knock(
    joiner: Joiner,
    api: client.ApiClient,
    requests: Mapping[str, str],
    signer: str = CLIENT_SIGNER,
    usages: tuple[str, ...] = CLIENT_USAGES,
) -> dict[str, Outcome]:
    """Each request alone, against a machine of which nothing bad is known."""
    return {id_: knock_once(joiner, api, csr, signer, usages) for id_, csr in requests.items()}


def knock_once(
    joiner: Joiner,
    api: client.ApiClient,
    csr: str,
    signer: str = CLIENT_SIGNER,
    usages: tuple[str, ...] = CLIENT_USAGES,
) -> Outcome:
    try:
        name = send(api, csr, signer, usages)
    except client.ApiException as refusal:
        return Outcome("refused", str(refusal.body), refused=refusal.status)
    try:
        joiner.ask("approve")
        outcome = Outcome(*word_on(joiner.scene, name), convicted=joiner.denied())
    finally:
        take_back(joiner.scene, name)
    if outcome.convicted:
        joiner.acquit()
    return outcome


def with_another_record(joiner: Joiner, holder: client.ApiClient, victim: str) -> dict[str, Outcome]:
    """A good request, while the record of the launch says something else than is true."""
    own, soon = client_csr(joiner.id), (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    changes: dict[str, tuple[str, dict[str, str]]] = {
        "no record": (own, {}),
        "another node's name": (own, {"node_name": victim}),
        "another node's name, which is asked for": (client_csr(victim), {"node_name": victim}),
        "another image": (own, {"image": "ami-00000000000000000"}),
        "another zone": (own, {"zone": "us-east-1z"}),
        "another group": (own, {"group": "stranger"}),
        "an earlier launch": (own, {"launched_at": EARLIER}),
        "a token that has ended": (own, {"state": "ended"}),
        "a token that is being minted": (own, {"state": "minting"}),
        "a token that has expired": (own, {"token_expires_at": EARLIER}),
        "a token that was made later": (own, {"issued_at": soon}),
    }
    outcomes = {}
    for what, (csr, changed) in changes.items():
        with joiner.recorded_otherwise(**changed):
            outcomes[what] = knock_once(joiner, holder, csr)
    return outcomes


def make_anew(joiner: Joiner, holder: client.ApiClient, victim: str) -> str:
    """Between the approver's look and its word, a good request becomes another one of the same name."""
    approver = CertificateRequestsEdge(lambda: credentials(joiner.scene, "approve"))
    name = "e2e-made-anew"
    send(holder, client_csr(joiner.id), name=name)
    try:
        (seen,) = [request for request in approver.requests() if request.name == name]
        take_back(joiner.scene, name)
        send(holder, client_csr(victim), name=name)
        with pytest.raises(ConflictError):
            approver.approve(seen, reason="RegrowInstanceVerified", message="e2e", at=datetime.now(UTC))
        return word_on(joiner.scene, name)[0]
    finally:
        take_back(joiner.scene, name)


def credentials(scene: Scene, identity: str) -> Credentials:
    return Credentials.from_json(json.dumps(published(scene, identity)), source=identity)


def expire(joiner: Joiner, attack: Attack, old: dict[str, str]) -> dict[str, str]:
    """The token's time is over, by its Secret and by the record; then the machine gets another one."""
    scene, name = joiner.scene, secret_of(joiner.token_id())
    attack.let_in["before its end"] = is_let_in(with_token(old))
    over = base64.b64encode(f"{datetime.now(UTC) - timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}".encode()).decode()
    with suppress(client.ApiException):  # kube-controller-manager deletes what has expired
        scene.core.patch_namespaced_secret(name, "kube-system", {"data": {"expiration": over}})
    record = joiner.record()
    assert record
    joiner.write(record | {"token_expires_at": {"S": datetime.now(UTC).isoformat()}})
    wait_for("the token's end", lambda: not is_let_in(with_token(old)), within_s=20)  # it may answer from memory
    attack.renewal += [joiner.ask("mint")["did"], joiner.has_bundle(), secret_is_there(scene, name)]
    joiner.rest_is_over()
    attack.renewal += [joiner.ask("mint")["did"], joiner.state()]
    new = joiner.bundle()
    attack.let_in |= {"after its end": is_let_in(with_token(old)), "the next one": is_let_in(with_token(new))}
    attack.secrets += [old["token"], new["token"]]
    return new


def join_by_hand(joiner: Joiner, holder: client.ApiClient, bundle: dict[str, str], attack: Attack) -> client.ApiClient:
    """As the kubelet does it; the API server for the node that it makes."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = send(holder, client_csr(joiner.id, key=key))
    joiner.ask("approve")
    attack.keys["the first key"] = Outcome(*word_on(joiner.scene, made), convicted=joiner.denied())
    attack.keys_written[0].add(fingerprint(key))
    certificate = await_certificate(joiner.scene, made)
    joiner.ask("approve")  # reads back what was made of it
    attack.certificates.append((hash_of(certificate), *certificates_of(joiner)))
    take_back(joiner.scene, made)
    return as_node(bundle, certificate, key)


def hash_of(certificate: bytes) -> str:
    return x509.load_pem_x509_certificate(certificate).fingerprint(SHA256()).hex()


def certificates_of(joiner: Joiner) -> tuple[str, ...]:
    """Those that the approver knows as the machine's."""
    approval = joiner.record("approval") or {}
    return tuple(approval.get("certificates", {"S": ""})["S"].split())


def as_node(bundle: dict[str, str], certificate: bytes, key: ec.EllipticCurvePrivateKey) -> client.ApiClient:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(pem).decode(),
    }
    return connection(bundle["server"], bundle["ca_data"], user)


def serve_as_another(joiner: Joiner, node: client.ApiClient, victim: str) -> dict[str, Outcome]:
    own, other = joiner.described(), Joiner(joiner.scene, victim).described()
    good = (dns(joiner.id), dns(own["PrivateDnsName"]), ip(own["PrivateIpAddress"]))
    balancer = joiner.scene.client("elbv2").describe_load_balancers()["LoadBalancers"][0]["DNSName"]
    requests = {
        "s00 its own": serving_csr(joiner.id, *good),
        **to_serve_as_another(joiner.id, good, victim, other["PrivateIpAddress"], balancer),
    }
    return {
        **knock(joiner, node, requests, SERVING_SIGNER, SERVING_USAGES),
        "another node's client certificate": knock_once(joiner, node, client_csr(victim)),
    }


def stay_pending_beside_the_controller(
    joiner: Joiner, holder: client.ApiClient, node: client.ApiClient, attack: Attack
) -> None:
    """A token's request is there first; then a node renews, which kube-controller-manager approves by itself."""
    waits = send(holder, client_csr(joiner.id, key=ec.generate_private_key(ec.SECP256R1())))
    key = ec.generate_private_key(ec.SECP256R1())
    renewal = send(node, client_csr(joiner.id, key=key))
    certificate = await_certificate(joiner.scene, renewal)
    said = {"token": waits, "node": renewal}
    attack.beside_the_controller = {who: word_on(joiner.scene, made)[0] for who, made in said.items()}
    take_back(joiner.scene, waits)
    joiner.ask("approve")
    attack.certificates.append((hash_of(certificate), *certificates_of(joiner)))
    take_back(joiner.scene, renewal)


def pose_as(joiner: Joiner, node: client.ApiClient, victim: str, attack: Attack) -> None:
    """The node registers itself as the machine of another, so that what happens to one happens to the other."""
    zone = Joiner(joiner.scene, victim).described()["Placement"]["AvailabilityZone"]
    posing = {"metadata": {"name": joiner.id}, "spec": {"providerID": f"aws:///{zone}/{victim}"}}
    client.CoreV1Api(node).create_node(posing)
    try:
        answer = joiner.ask("mint")
        attack.spoofed = {"mint": answer["did"], "reason": answer["reason"]}
        joiner.scene.sweep()
        for machine in (victim, joiner.id):
            explained = joiner.scene.ask({"do": "explain", "machine": machine})
            attack.spoofed["victim" if machine == victim else "poser"] = explained["verdict"]
        attack.victim_seen.append(see_machine(joiner.scene, victim))
    finally:
        joiner.scene.core.delete_node(joiner.id)


def two_at_once_then_one_too_many(joiner: Joiner, holder: client.ApiClient, attack: Attack) -> None:
    """A kubelet takes a new key for each try, so three keys of one launch are let through; the fourth gives it away."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    made = [send(holder, client_csr(joiner.id, key=key)) for key in keys[:2]]
    with ThreadPoolExecutor() as together:
        list(together.map(lambda _: joiner.ask("approve"), range(2)))
    joiner.ask("approve")
    for name, what in zip(made, ("the second key", "the third key"), strict=True):
        attack.keys[what] = Outcome(*word_on(joiner.scene, name), convicted=joiner.denied())
    attack.keys_written[0].update(fingerprint(key) for key in keys[:2])
    approval = joiner.record("approval") or {}
    attack.keys_written[1].update(
        {approval["client_key_sha256"]["S"], *approval["earlier_client_keys"]["S"].split()},
    )
    made.append(send(holder, client_csr(joiner.id, key=keys[2])))
    joiner.ask("approve")
    attack.keys["the fourth key"] = Outcome(*word_on(joiner.scene, made[-1]), convicted=joiner.denied())
    take_back(joiner.scene, *made)


def give_up(joiner: Joiner, attack: Attack) -> None:
    """Passes go on, and find what the approver wrote down."""
    scene, group = joiner.scene, joiner.scene.cluster.worker_group
    name = secret_of(joiner.token_id())
    suspended = {"AutoScalingGroupName": group, "ScalingProcesses": ["Launch"]}
    scene.client("autoscaling").suspend_processes(**suspended)  # no other machine takes its place meanwhile
    scene.ask({"do": "resume", "of": group})
    scene.look_at(joiner.id)
    wait_for("the end of the launch", lambda: scene.place_in_group(joiner.id) is None, within_s=60)
    wait_for("the end of its joining", lambda: joiner.state() == "ended", within_s=60)
    record = joiner.record()
    assert record
    attack.fate = {
        "machine": scene.state_of(joiner.id),
        "bundle": joiner.has_bundle(),
        "secret": secret_is_there(scene, name),
        "ended_because": record["ended_because"]["S"],
        "mint again": joiner.ask("mint")["did"],
        "gave_up": [entry["gave_up"] for entry in scene.history(joiner.id) if "gave_up" in entry],
        "steps": scene.steps(joiner.id),
    }
    attack.alerts = [alert.subject for alert in scene.alerts.heard(joiner.id)]


def secret_is_there(scene: Scene, name: str) -> bool:
    return name in {secret.metadata.name for secret in scene.core.list_namespaced_secret("kube-system").items}


def fingerprint(key: ec.EllipticCurvePrivateKey) -> str:
    return sha256(key_info(key)).hexdigest()


def try_rights(joiner: Joiner, other: str) -> dict[str, str]:
    """With the credentials that the two machines' metadata services give out, and in the functions' roles."""
    scene, name, path = joiner.scene, joiner.bundle_name, f"/regrow/{joiner.scene.cluster.name}"
    neighbour, master = Joiner(scene, other), Joiner(scene, scene.control_plane())
    tags = [{"Key": "InstanceArn", "Value": f"arn:aws:ec2:us-east-1:123456789012:instance/{other}"}]
    tried: dict[str, tuple[Any, str, dict[str, Any]]] = {}
    for who, ssm in (("other", neighbour.aws("ssm")), ("own", joiner.aws("ssm")), ("master", master.aws("ssm"))):
        tried |= {
            f"{who} get": (ssm, "get_parameter", {"Name": name, "WithDecryption": True}),
            f"{who} batch": (ssm, "get_parameters", {"Names": [name], "WithDecryption": True}),
            f"{who} path": (ssm, "get_parameters_by_path", {"Path": f"{path}/join", "WithDecryption": True}),
            f"{who} path above": (ssm, "get_parameters_by_path", {"Path": path, "Recursive": True}),
            f"{who} history": (ssm, "get_parameter_history", {"Name": name, "WithDecryption": True}),
            f"{who} describe": (ssm, "describe_parameters", {}),
            f"{who} tag": (
                ssm,
                "add_tags_to_resource",
                {"ResourceType": "Parameter", "ResourceId": name, "Tags": tags},
            ),
            f"{who} put": (ssm, "put_parameter", {"Name": name, "Value": "{}", "Overwrite": True}),
        }
    kubeconfig = {"Name": f"{path}/kubeconfig/mint", "WithDecryption": True}
    tried["own kubeconfig"] = (joiner.aws("ssm"), "get_parameter", kubeconfig)
    tried["other delete"] = (neighbour.aws("ssm"), "delete_parameter", {"Name": name})
    nobody = json.dumps({"machine": NOBODY}).encode()
    for function in FUNCTIONS:
        for asked in ("mint", "approve"):
            invoke = {"FunctionName": scene.function(asked), "Payload": nobody}
            tried[f"{function} asks {asked}"] = (as_function(scene, function, "lambda"), "invoke", invoke)
        ssm, table = as_function(scene, function, "ssm"), as_function(scene, function, "dynamodb")
        tried[f"{function} get"] = (ssm, "get_parameter", {"Name": name, "WithDecryption": True})
        tried[f"{function} history"] = (ssm, "get_parameter_history", {"Name": name, "WithDecryption": True})
        for partition in ("join", "approval"):
            # What it may do fails on a condition that is never met: nothing is written.
            item = {"pk": {"S": partition}, "sk": {"S": joiner.id}}
            put = {"TableName": f"regrow-{scene.cluster.name}", "Item": item}
            tried[f"{function} writes {partition}"] = (
                table,
                "put_item",
                {**put, "ConditionExpression": "attribute_exists(nothing)"},
            )
    return {what: answer_of(aws, operation, **arguments) for what, (aws, operation, arguments) in tried.items()}


# --- what must have become of it


def test_e01_of_calls_at_once_one_mints_and_there_is_one_token(attack: Attack) -> None:
    *at_once, again = attack.minted
    assert at_once.count("minted") == 1
    assert set(at_once) <= {"minted", "held", "is_minted"}
    assert again == "is_minted"
    (token, there), again_there = attack.tokens
    assert there == (f"secret/{secret_of(token)}",)
    assert again_there == (token, there)


def words(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """An exclamation mark for a machine that is to be given up."""
    return {id_: outcome.word + (" !" if outcome.convicted else "") for id_, outcome in outcomes.items()}


def test_c01_to_c11_a_token_gets_nothing_in_anothers_name_and_its_machine_is_convicted(attack: Attack) -> None:
    assert len(attack.of_another) == 12
    assert words(attack.of_another) == dict.fromkeys(attack.of_another, "Denied !")


REFUSED_BY_THE_API_SERVER = {
    "c09 nul at the end": 422,
    "c12 no padding": 422,
    "c13 the old label": 422,
    "c13 a certificate first": 422,
    "c13 something after the request": 422,
    "c13 empty": 422,
    "c13 not base64": 400,
    "c13 not der": 422,
}


def test_c07_to_c14_a_request_that_no_kubelet_makes_is_denied(attack: Attack) -> None:
    refused = {id_: outcome.refused for id_, outcome in attack.of_another_form.items() if outcome.refused}
    taken = {id_: outcome for id_, outcome in attack.of_another_form.items() if not outcome.refused}
    assert refused == REFUSED_BY_THE_API_SERVER
    assert words(taken) == dict.fromkeys(taken, "Denied")


def test_c15_to_s22_a_token_is_for_a_client_certificate_of_a_kubelet_alone(attack: Attack) -> None:
    """Of other signers Regrow is no judge."""
    expected = {id_: "Pending" if id_.startswith("c16") else "Denied" for id_ in OTHER_USES}
    assert words(attack.for_another_use) == expected


def test_a_request_is_nothing_without_the_right_record(attack: Attack) -> None:
    assert words(attack.with_another_record) == {
        "no record": "Pending",
        "another node's name": "Denied !",
        "another node's name, which is asked for": "Denied",
        "another image": "Denied !",
        "another zone": "Denied !",
        "another group": "Denied !",
        "an earlier launch": "Denied",
        "a token that has ended": "Denied",
        "a token that is being minted": "Pending",
        "a token that has expired": "Denied",
        "a token that was made later": "Denied",
    }
    assert attack.with_another_record["another node's name, which is asked for"].reason.endswith(
        "is Ready: its machine has a certificate"
    )


def test_c24_the_word_on_a_request_is_not_for_another_of_its_name(attack: Attack) -> None:
    assert attack.made_anew == "Pending"


def test_a_token_ends_with_its_time_and_its_machine_gets_another(attack: Attack) -> None:
    assert attack.renewal == ["held", False, False, "minted", "issued"]
    assert attack.let_in == {
        "before its end": True,
        "after its end": False,
        "the next one": True,
    }


def test_c25_of_two_requests_at_once_each_is_decided_and_of_four_keys_one_is_too_many(attack: Attack) -> None:
    assert words(attack.keys) == {
        "the first key": "Approved",
        "the second key": "Approved",
        "the third key": "Approved",
        "the fourth key": "Denied !",
    }
    used, written = attack.keys_written
    assert written == used
    assert len(used) == 3


def test_c32_the_certificate_that_was_issued_is_known_by_its_hash_and_so_is_the_one_that_renews_it(
    attack: Attack,
) -> None:
    (first, *known), (second, *known_then) = attack.certificates
    assert known == [first]
    assert known_then == [first, second]


def test_j13_kubernetes_approves_no_token_while_it_renews_nodes(attack: Attack) -> None:
    assert attack.beside_the_controller == {"token": "Pending", "node": "Approved"}


REFUSED_OF_NODES = dict.fromkeys(
    ("s11 two of pkcs9", "s17 another node's subject", "another node's client certificate"), 403
)
"""By its NodeRestriction, which reads the request of a node."""


def test_s00_to_s17_a_node_gets_a_serving_certificate_for_its_own_names_alone(attack: Attack) -> None:
    assert {id_: outcome.refused for id_, outcome in attack.serving.items() if outcome.refused} == REFUSED_OF_NODES
    taken = {id_: outcome for id_, outcome in attack.serving.items() if not outcome.refused}
    assert words(taken) == {**dict.fromkeys(taken, "Denied"), "s00 its own": "Approved"}


def test_a_node_that_poses_as_another_machine_gains_nothing_and_harms_nobody(attack: Attack) -> None:
    reason = attack.spoofed.pop("reason")
    assert attack.spoofed == {"mint": "refused", "victim": "healthy", "poser": "held"}
    assert f"there is a Node {attack.machine} that says it is aws:///" in reason
    before, *after = attack.victim_seen
    assert after == [before, before]


def test_j05_to_j09_a_bundle_is_read_by_its_own_machine_alone(attack: Attack) -> None:
    of_machines = {what: answer for what, answer in attack.rights.items() if what.split()[0] in MACHINES}
    assert {what for what, answer in of_machines.items() if answer == "ok"} == {"own get"}
    assert set(of_machines.values()) == {"ok", DENIED}
    read_by_functions = {attack.rights[f"{function} {how}"] for function in FUNCTIONS for how in ("get", "history")}
    assert read_by_functions == {DENIED}


def test_records_are_written_by_mint_alone_and_approvals_by_approve_alone(attack: Attack) -> None:
    may = {what for what, answer in attack.rights.items() if " writes " in what and answer == ALLOWED_BUT_UNMET}
    denied = {what for what, answer in attack.rights.items() if " writes " in what and answer == DENIED}
    assert may == {"mint writes join", "approve writes approval"}
    assert len(denied) == 2 * len(FUNCTIONS) - len(may)


def test_passes_alone_ask_for_tokens_and_none_but_they_and_the_sweep_for_approvals(attack: Attack) -> None:
    asking = {what: answer for what, answer in attack.rights.items() if " asks " in what}
    may = {what for what, answer in asking.items() if answer == "ok"}
    assert may == {"remediate asks mint", "remediate asks approve", "sweep asks approve"}
    assert {answer for what, answer in asking.items() if what not in may} == {DENIED}


def test_a_convicted_machine_is_given_up_with_all_that_it_was_handed(attack: Attack) -> None:
    steps, gave_up = attack.fate.pop("steps"), attack.fate.pop("gave_up")
    proof = "3 keys were let through for this launch already"
    assert attack.fate == {
        "machine": "terminated",
        "bundle": False,
        "secret": False,
        "ended_because": f"the approver has proof against it: {proof}",
        "mint again": "nothing",
    }
    assert gave_up == [proof]
    assert isinstance(steps, list)
    assert {"GiveUpLaunch", "CompleteHook"} <= set(steps)
    assert sorted(attack.alerts) == [
        f"{attack.machine} contradicts itself and is left alone",  # while it posed as another machine
        f"{attack.machine} is arriving and left alone",
        f"{attack.machine} never joined",
    ]


# --- what must not be found anywhere


def test_j01_user_data_and_launch_templates_hold_no_secret(scene: Scene, attack: Attack) -> None:
    ec2 = scene.client("ec2")
    texts = []
    for template in ec2.describe_launch_templates()["LaunchTemplates"]:
        which = {"LaunchTemplateId": template["LaunchTemplateId"]}
        for version in ec2.describe_launch_template_versions(**which)["LaunchTemplateVersions"]:
            data = version["LaunchTemplateData"]
            texts += [json.dumps(data, default=str), base64.b64decode(data["UserData"]).decode()]
    for machine in (scene.control_plane(), *scene.workers()):
        answer = ec2.describe_instance_attribute(InstanceId=machine, Attribute="userData")
        texts.append(base64.b64decode(answer["UserData"]["Value"]).decode())
    assert len(texts) >= 7
    for secret in (TOKEN, re.compile("PRIVATE KEY"), re.compile("[0-9a-f]{64}")):
        assert not [text for text in texts if secret.search(text)]
    assert not [text for text in texts for token in attack.secrets if token.partition(".")[2] in text]


TOKEN = re.compile(r"(?<![a-z0-9])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9])")


def test_j16_nothing_is_published_by_which_a_token_could_be_guessed(scene: Scene) -> None:
    published_keys = [
        key for one in scene.core.list_namespaced_config_map("kube-public").items for key in one.data or {}
    ]
    assert published_keys
    assert not [key for key in published_keys if key.startswith("jws-kubeconfig-")]


def test_j17_no_token_is_in_any_log_or_in_the_table(scene: Scene, attack: Attack) -> None:
    """By the ids that records name, and by the secret halves of two tokens that were seen."""
    ids = "|".join({item["token_id"]["S"] for item in scene.cluster.query("join")})
    leaked = re.compile(rf"(?<![a-z0-9])(?:{ids})\.[a-z0-9]{{16}}(?![a-z0-9])".encode())
    halves = [token.partition(".")[2].encode() for token in attack.secrets]
    place = scene.cluster.world.place
    logs = [path for path in place.log.rglob("*") if path.is_file()]
    for _, machine in place.machines():
        logs += [path for path in (*machine.log.rglob("*"), *machine.written.glob("var/log/**/*")) if path.is_file()]
    assert {"aws.log", "kubelet.log", f"{scene.function('mint')}.log"} <= {path.name for path in logs}
    found = [str(path) for path in logs if holds(path, lambda text: bool(leaked.search(text)), halves)]
    assert found == []
    scanned = scene.client("dynamodb").get_paginator("scan").paginate(TableName=f"regrow-{scene.cluster.name}")
    table = json.dumps([page["Items"] for page in scanned], default=str).encode()
    assert attack.machine.encode() in table
    assert not leaked.search(table)
    assert not [half for half in halves if half in table]


def holds(path: Path, matches: Callable[[bytes], bool], halves: list[bytes]) -> bool:
    with path.open("rb") as file:
        return any(matches(line) or any(half in line for half in halves) for line in file)


def test_a_machine_that_poses_as_another_loses_what_it_was_handed_when_it_ends(scene: Scene) -> None:
    with faulty_user_data(scene.cluster), launched(scene) as joiner:
        joiner.ask("mint")
        bundle, victim = joiner.bundle(), scene.workers()[0]
        node = join_by_hand(joiner, with_token(bundle), bundle, Attack(joiner.id))
        zone = Joiner(scene, victim).described()["Placement"]["AvailabilityZone"]
        posing = {"metadata": {"name": joiner.id}, "spec": {"providerID": f"aws:///{zone}/{victim}"}}
        client.CoreV1Api(node).create_node(posing)
        scene.ask({"do": "resume", "of": scene.cluster.worker_group})
        scene.client("autoscaling").suspend_processes(
            AutoScalingGroupName=scene.cluster.worker_group, ScalingProcesses=["Launch"]
        )
        scene.kill(joiner.id)
        try:
            wait_for("the end of its joining", lambda: joiner.state() == "ended", within_s=30)
            assert not joiner.has_bundle()
            assert not secret_is_there(scene, secret_of(joiner.token_id()))
        finally:
            scene.core.delete_node(joiner.id)


def own_identity(scene: Scene, machine: str) -> client.ApiClient:
    """The API server as the machine's kubelet sees it."""
    pem = Joiner(scene, machine).run("cat", "/var/lib/kubelet/pki/kubelet-client-current.pem").encode()
    content = published(scene, "mint")
    data = base64.b64encode(pem).decode()
    user = {"client-certificate-data": data, "client-key-data": data}
    return connection(content["server"], content["ca_data"], user)


def test_a_machine_that_was_there_before_regrow_gets_its_serving_certificate_by_the_same_rules(scene: Scene) -> None:
    """A worker's join record and approval are taken out of the table: only what the sweep wrote down is left of it."""
    worker = scene.workers()[0]
    joiner = Joiner(scene, worker)
    good = (dns(worker), ip(joiner.described()["PrivateIpAddress"]))
    other = joiner.scene.workers()[1]
    with without_sweeps(scene):
        scene.sweep()
        kept = [joiner.record(partition) for partition in ("join", "approval")]
        assert all(kept)
        node = own_identity(scene, worker)
        as_joined = knock_once(joiner, node, serving_csr(worker, *good), SERVING_SIGNER, SERVING_USAGES)
        for item in kept:
            joiner.forget(item or {})
        try:
            as_it_was = knock_once(joiner, node, serving_csr(worker, *good), SERVING_SIGNER, SERVING_USAGES)
            strange = knock_once(joiner, node, serving_csr(worker, *good, dns(other)), SERVING_SIGNER, SERVING_USAGES)
            for item in scene.cluster.query("machine"):
                if item["sk"]["S"] == worker:
                    joiner.forget(item)
            unknown = knock_once(joiner, node, serving_csr(worker, *good), SERVING_SIGNER, SERVING_USAGES)
        finally:
            for item in kept:
                joiner.write(item or {})
    words_ = [outcome.word for outcome in (as_joined, as_it_was, strange, unknown)]
    assert words_ == ["Approved", "Approved", "Denied", "Pending"]


def test_j03_a_machine_whose_credentials_others_can_get_hold_of_is_given_nothing_until_that_is_mended(
    scene: Scene,
) -> None:
    ec2 = scene.client("ec2")
    with faulty_user_data(scene.cluster), launched(scene) as joiner:
        options = {"InstanceId": joiner.id, "HttpTokens": "optional", "HttpPutResponseHopLimit": 2}
        ec2.modify_instance_metadata_options(**options)
        refused = joiner.ask("mint")
        assert refused["did"] == "refused"
        assert "answers without a session token" in refused["reason"]
        assert "answers over 2 hops, which reaches pods" in refused["reason"]
        assert (joiner.record(), joiner.has_bundle()) == (None, False)
        ec2.modify_instance_metadata_options(**options | {"HttpTokens": "required", "HttpPutResponseHopLimit": 1})
        assert joiner.ask("mint")["did"] == "minted"
