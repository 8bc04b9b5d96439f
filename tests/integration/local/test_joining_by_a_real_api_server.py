"""Tokens, certificates and policies where Kubernetes has a say: our code with a real API server, and what signs."""

from __future__ import annotations

import base64
import io
import json
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kubernetes import client

from functions.cluster.joining import TOKEN_GROUPS, Approval, JoinRecord, JoinState
from functions.cluster.machine import InstanceId, Role
from functions.edges.bootstrap_tokens import BootstrapTokensEdge
from functions.edges.certificate_requests import CertificateRequestsEdge
from functions.edges.kubernetes_api import Credentials
from functions.errors import RetryableError
from functions.join.approve import answer
from functions.join.token import Token
from infra.local.building import build
from infra.local.drills.csrs import CN, O, block, client_csr, der, dns, ip, pair, rdn, serving_csr, spec
from infra.local.drills.holder import (
    CLIENT_SIGNER,
    CLIENT_USAGES,
    SERVING_SIGNER,
    SERVING_USAGES,
    connection,
    send,
)
from infra.local.drills.hostile_requests import for_the_identity_of, in_another_form
from infra.local.progress import Progress
from infra.node.configuration import Bundle, discovery_kubeconfig
from infra.node.initialise import FUNCTION_GROUPS, MANIFESTS
from tests.integration.local.control_plane import Authority, ControlPlane, control_plane
from tests.unit.functions.builders import CLUSTER, NOW, ONE, TWO, member
from tests.unit.functions.join.approve.cluster import Cluster, a_machine, a_record, lists

TOKEN_ID, MASTERS_TOKEN_ID, SECRET = "abc123", "def456", "0123456789abcdef"
TOKEN_IDS = {Role.WORKER: TOKEN_ID, Role.CONTROL_PLANE: MASTERS_TOKEN_ID}
ADDRESS = str(a_machine().address)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("control-plane")
    with control_plane(programs(), folder) as plane:
        plane.apply(MANIFESTS)
        yield plane
    shutil.rmtree(folder, ignore_errors=True)


def programs() -> Path:
    return build.build(Progress(io.StringIO()))


@dataclass
class Joining:
    """The approver with the real API server, and small stand-ins for AWS and the table."""

    plane: ControlPlane
    world: Cluster
    edge: CertificateRequestsEdge
    minter: BootstrapTokensEdge
    made: list[str] = field(default_factory=list)
    token: Token = field(init=False)

    def approve(self) -> dict[str, Any]:
        outside = replace(self.world.outside(), kubernetes=self.edge)
        return answer({}, outside, cluster=CLUSTER, now=datetime.now(UTC))

    def ask(self, api: client.ApiClient, csr: str, *use: Any) -> str:
        name = send(api, csr, *use)
        self.made.append(name)
        return name

    def word_on(self, name: str) -> str:
        conditions = self._read(name).status.conditions or []
        return str(conditions[0].type) if conditions else "Pending"

    def certificate(self, name: str) -> bytes:
        return base64.b64decode(eventually(lambda: self._read(name).status.certificate))

    def take_back(self) -> None:
        for name in self.made:
            client.CertificatesV1Api(self.plane.admin).delete_certificate_signing_request(name)
        self.made.clear()

    @property
    def approval(self) -> Approval:
        (approval,) = self.world.approvals.values()
        return approval

    def _read(self, name: str) -> Any:
        return client.CertificatesV1Api(self.plane.admin).read_certificate_signing_request(name)


def eventually(look: Callable[[], Any], within_s: float = 60.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.1)
    return found


def credentials(plane: ControlPlane, identity: str) -> Credentials:
    user = plane.authority.user(f"regrow:{identity}", FUNCTION_GROUPS[identity])
    content = {
        "server": plane.server,
        "ca_data": plane.authority.data,
        "client_certificate_data": user["client-certificate-data"],
        "client_key_data": user["client-key-data"],
    }
    return Credentials.from_json(json.dumps(content), source=identity)


def a_token(**changes: Any) -> Token:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=15)
    return replace(Token(TOKEN_ID, SECRET, ONE, TOKEN_GROUPS[Role.WORKER], ends), **changes)


def issued_now(id_: InstanceId = ONE, **changes: Any) -> JoinRecord:
    now = datetime.now(UTC)
    return a_record(
        id_,
        **{
            "token_id": TOKEN_ID,
            "state": JoinState.ISSUED,
            "issued_at": now - timedelta(minutes=1),
            "expires_at": now + timedelta(minutes=14),
        }
        | changes,
    )


@pytest.fixture
def joining(plane: ControlPlane) -> Iterator[Joining]:
    """A machine whose token the real minter's edge has made."""
    world = Cluster(
        joins=(issued_now(),), instances={ONE: a_machine()}, groups=lists(member(ONE, "Pending:Wait"), member(TWO))
    )
    slow = (10.0, 60.0)  # a host with much to do
    joining = Joining(
        plane,
        world,
        CertificateRequestsEdge(lambda: credentials(plane, "approve"), timeout_s=slow),
        BootstrapTokensEdge(lambda: credentials(plane, "mint"), timeout_s=slow),
    )
    with token_of(joining, Role.WORKER):
        yield joining


@pytest.fixture
def mastering(joining: Joining) -> Iterator[Joining]:
    """As `joining`, with a control plane: it has the worker's place, and a token of its own group."""
    joining.minter.delete_token(TOKEN_ID, None)
    joining.world.joins = (issued_now(role=Role.CONTROL_PLANE, token_id=MASTERS_TOKEN_ID),)
    joining.world.groups = lists(member(ONE, "Pending:Wait"), role=Role.CONTROL_PLANE)
    with token_of(joining, Role.CONTROL_PLANE):
        yield joining


@contextmanager
def token_of(joining: Joining, role: Role) -> Iterator[None]:
    token = a_token(id=TOKEN_IDS[role], group=TOKEN_GROUPS[role])
    uid = joining.minter.create_token(token)
    joining.token = token
    yield
    joining.take_back()
    joining.minter.delete_token(token.id, uid)


def holder(joining: Joining) -> client.ApiClient:
    api = joining.plane.with_token(joining.token.whole)
    eventually(lambda: _is_known(api))
    return api


def _is_known(api: client.ApiClient) -> bool:
    try:
        client.CertificatesV1Api(api).list_certificate_signing_request()
    except client.ApiException as refusal:
        assert refusal.status == 401
        return False
    return True


def join(joining: Joining, key: ec.EllipticCurvePrivateKey | None = None) -> tuple[bytes, client.ApiClient]:
    """As a kubelet does it; its certificate, and the API server as it then sees it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    made = joining.ask(holder(joining), client_csr(ONE, key=key))
    joining.approve()
    assert joining.word_on(made) == "Approved"
    certificate = joining.certificate(made)
    return certificate, as_node(joining, certificate, key)


def as_node(joining: Joining, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> client.ApiClient:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(pem).decode(),
    }
    return connection(joining.plane.server, joining.plane.authority.data, user)


def fingerprint(certificate: bytes) -> str:
    return x509.load_pem_x509_certificate(certificate).fingerprint(SHA256()).hex()


SERVING = (SERVING_SIGNER, SERVING_USAGES)


def test_c00_c32_s00_s18_a_machine_joins_and_each_certificate_is_bound_to_the_one_before(joining: Joining) -> None:
    certificate, node = join(joining)
    serving = joining.ask(node, serving_csr(ONE, dns(ONE), ip(ADDRESS)), *SERVING)
    joining.approve()
    assert joining.word_on(serving) == "Approved"
    assert joining.approval.certificates == (fingerprint(certificate),)
    joining.certificate(serving)
    joining.approve()
    assert joining.world.convicted == set()
    assert all(what != "CertificateRequestsDenied" for what, _ in joining.world.told)


def test_s18_a_certificate_that_a_person_approved_by_hand_does_not_serve(joining: Joining) -> None:
    join(joining)
    key = ec.generate_private_key(ec.SECP256R1())
    made = joining.ask(holder(joining), client_csr(ONE, key=key))
    put_word(joining.plane.admin, joining, made, "Approved")
    other = as_node(joining, joining.certificate(made), key)
    serving = joining.ask(other, serving_csr(ONE, dns(ONE), ip(ADDRESS)), *SERVING)
    joining.approve()
    assert joining.word_on(serving) == "Denied"


def test_s20_a_renewal_that_kubernetes_approves_by_itself_is_followed(joining: Joining) -> None:
    first, node = join(joining)
    joining.approve()
    key = ec.generate_private_key(ec.SECP256R1())
    renewal = joining.ask(node, client_csr(ONE, key=key))
    second = joining.certificate(renewal)
    serving = joining.ask(as_node(joining, second, key), serving_csr(ONE, dns(ONE)), *SERVING)
    joining.approve()
    assert joining.approval.certificates == (fingerprint(first), fingerprint(second))
    assert joining.word_on(serving) == "Approved"


def test_c32_what_a_person_approved_of_anothers_name_convicts_the_tokens_launch(joining: Joining) -> None:
    made = joining.ask(holder(joining), client_csr(TWO))
    put_word(joining.plane.admin, joining, made, "Approved")
    joining.certificate(made)
    assert joining.approve()["did"] == "convicted"
    assert joining.world.convicted == {ONE}


def test_j13_kube_controller_manager_leaves_a_tokens_request_pending_while_it_renews_a_nodes(joining: Joining) -> None:
    _, node = join(joining)
    waits = joining.ask(holder(joining), client_csr(ONE, key=ec.generate_private_key(ec.SECP256R1())))
    renewal = joining.ask(node, client_csr(ONE, key=ec.generate_private_key(ec.SECP256R1())))
    joining.certificate(renewal)
    assert joining.word_on(renewal) == "Approved"
    assert joining.word_on(waits) == "Pending"


@pytest.mark.parametrize("group", [*TOKEN_GROUPS.values(), "system:bootstrappers:kubeadm:default-node-token"])
def test_j12_the_preflight_sees_whom_the_cluster_approves_unseen(joining: Joining, group: str) -> None:
    rbac = client.RbacAuthorizationV1Api(joining.plane.admin)
    assert joining.minter.approves_unseen(group) is False
    role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
    binding = {
        "metadata": {"name": "by-hand"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}],
    }
    rbac.create_cluster_role_binding(binding)
    try:
        eventually(lambda: joining.minter.approves_unseen(group))
    finally:
        rbac.delete_cluster_role_binding("by-hand")
    eventually(lambda: not joining.minter.approves_unseen(group))


HOSTILE = {**for_the_identity_of(TWO, ONE), **in_another_form(ONE, TWO)}


def test_c01_to_c14_whatever_the_api_server_takes_of_a_hostile_machine_none_of_it_is_approved(
    joining: Joining,
) -> None:
    api, sent, refused = holder(joining), {}, []
    for way, csr in HOSTILE.items():
        try:
            sent[way] = joining.ask(api, csr)
        except client.ApiException as refusal:
            assert refusal.status in (400, 422)
            refused.append(way)
    while joining.approve()["held"]:
        """A call decides ten requests of a machine."""
    assert {joining.word_on(name) for name in sent.values()} == {"Denied"}
    assert len(sent) > 30
    assert not [way for way in refused if not way.startswith(("c09", "c12", "c13"))]
    assert joining.world.convicted == {ONE}
    certificates = [joining._read(name).status.certificate for name in sent.values()]
    assert not any(certificates)


# --- control planes


@pytest.fixture(scope="module")
def certificate_key(plane: ControlPlane) -> str:
    """Under which kubeadm has left the authorities in the cluster; it has left its configuration as well."""
    key = secrets.token_hex(32)
    folder = plane.authority.folder
    for name, certificates in (("upload", folder), ("cluster", folder / "joined")):
        documents = [
            {
                "apiVersion": KUBEADM,
                "kind": "InitConfiguration",
                "certificateKey": key,
                "nodeRegistration": FOUNDER,
                "localAPIEndpoint": HERE,
            },
            {
                "apiVersion": KUBEADM,
                "kind": "ClusterConfiguration",
                "kubernetesVersion": client.VersionApi(plane.admin).get_code().git_version,
                "certificatesDir": str(certificates),
                "controlPlaneEndpoint": plane.server.removeprefix("https://"),
            },
        ]
        (folder / f"{name}.yaml").write_text("\n---\n".join(map(json.dumps, documents)))
    admin = ["--kubeconfig", str(folder / "admin.conf")]
    uploaded = ["--upload-certs", "--skip-certificate-key-print", "--config", str(folder / "upload.yaml")]
    for command in (
        ["upload-config", "kubeadm", "--config", str(folder / "cluster.yaml")],
        ["upload-config", "kubelet", "--config", str(folder / "cluster.yaml")],
        ["upload-certs", *uploaded],
    ):
        done = kubeadm(plane, "init", "phase", *command, *admin)
        assert done.returncode == 0, done.stderr
        assert key not in done.stdout + done.stderr
    return key


KUBEADM = "kubeadm.k8s.io/v1beta4"
HERE = {"advertiseAddress": ADDRESS}  # not a loopback one, which kubeadm would look for another in place of
FOUNDER = {"name": "founder", "criSocket": "unix:///none"}


def kubeadm(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [f"{plane.programs}/kubeadm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def fetch_authorities(joining: Joining, certificate_key: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """As kubeadm join does it first of all."""
    bundle = Bundle(server=joining.plane.server, ca_data=joining.plane.authority.data, token=joining.token.whole)
    (tmp_path / "discovery").write_text(discovery_kubeconfig(bundle))
    configuration = {
        "apiVersion": KUBEADM,
        "kind": "JoinConfiguration",
        "discovery": {"file": {"kubeConfigPath": str(tmp_path / "discovery")}, "tlsBootstrapToken": bundle.token},
        "nodeRegistration": {"name": ONE, "criSocket": "unix:///none"},
        "controlPlane": {"certificateKey": certificate_key, "localAPIEndpoint": HERE},
    }
    (tmp_path / "join").write_text(json.dumps(configuration))
    holder(joining)
    phase = ["join", "phase", "control-plane-prepare", "download-certs", "--config", str(tmp_path / "join")]
    return kubeadm(joining.plane, *phase)


def test_j14_a_control_plane_fetches_the_authorities_with_its_token(
    mastering: Joining, certificate_key: str, tmp_path: Path
) -> None:
    done = fetch_authorities(mastering, certificate_key, tmp_path)
    assert done.returncode == 0, done.stderr
    joined = mastering.plane.authority.folder / "joined"
    assert (joined / "ca.key").stat().st_size
    assert "BEGIN CERTIFICATE" in (joined / "ca.crt").read_text()
    shutil.rmtree(joined)


def test_j14_a_worker_does_not_fetch_them_though_it_had_the_key(
    joining: Joining, certificate_key: str, tmp_path: Path
) -> None:
    done = fetch_authorities(joining, certificate_key, tmp_path)
    assert done.returncode != 0
    assert 'cannot get resource "secrets"' in done.stderr
    assert not (joining.plane.authority.folder / "joined").exists()


CERTIFICATES = "kubeadm-certs"


@pytest.mark.usefixtures("certificate_key")
def test_j14_a_control_planes_token_reads_that_one_secret_and_changes_none(mastering: Joining) -> None:
    core = client.CoreV1Api(holder(mastering))
    assert core.read_namespaced_secret(CERTIFICATES, "kube-system").data["ca.key"]
    refused: list[Callable[[], Any]] = [
        lambda: core.list_namespaced_secret("kube-system"),
        lambda: core.list_secret_for_all_namespaces(),
        lambda: core.read_namespaced_secret(f"bootstrap-token-{MASTERS_TOKEN_ID}", "kube-system"),
        lambda: core.read_namespaced_secret(CERTIFICATES, "default"),
        lambda: core.read_namespaced_secret("another", "kube-system"),
        lambda: core.patch_namespaced_secret(CERTIFICATES, "kube-system", {"data": {"ca.key": ""}}),
        lambda: core.delete_namespaced_secret(CERTIFICATES, "kube-system"),
        lambda: core.create_namespaced_secret("kube-system", {"metadata": {"name": "mine"}}),
        lambda: core.list_node(),
        lambda: core.read_namespaced_config_map("extension-apiserver-authentication", "kube-system"),
        lambda: core.create_namespaced_service_account_token("default", "kube-system", {"spec": {}}),
    ]
    assert {refusal_of(call).status for call in refused} == {403}


@pytest.mark.usefixtures("certificate_key")
def test_j14_a_workers_token_and_the_functions_read_no_authority(joining: Joining) -> None:
    apis = [joining.plane.as_user(f"regrow:{name}", group) for name, group in FUNCTION_GROUPS.items()]
    for api in (holder(joining), *apis):
        core = client.CoreV1Api(api)
        assert refusal_of(lambda: core.read_namespaced_secret(CERTIFICATES, "kube-system")).status == 403  # noqa: B023
        assert refusal_of(lambda: core.list_namespaced_secret("kube-system")).status == 403  # noqa: B023


@pytest.mark.usefixtures("certificate_key")
def test_the_minter_leaves_what_kubeadm_keeps_the_authorities_with(joining: Joining) -> None:
    """What holds the time of that Secret is a token by its type alone: it lets nobody in."""
    admin = client.CoreV1Api(joining.plane.admin)
    (owner,) = admin.read_namespaced_secret(CERTIFICATES, "kube-system").metadata.owner_references
    proxy = admin.read_namespaced_secret(owner.name, "kube-system")
    assert proxy.type == "bootstrap.kubernetes.io/token"
    assert not [key for key in proxy.data if key.startswith("usage-") or key == "auth-extra-groups"]
    parts = [base64.b64decode(proxy.data[key]).decode() for key in ("token-id", "token-secret")]
    stranger = client.CertificatesV1Api(joining.plane.with_token(".".join(parts)))
    assert refusal_of(stranger.list_certificate_signing_request).status == 401
    assert joining.minter.signing_tokens() == ()
    with pytest.raises(RetryableError, match="regrow-mint"):
        joining.minter.delete_token(parts[0], None)
    minter = client.CoreV1Api(joining.plane.as_user("regrow:mint", FUNCTION_GROUPS["mint"]))
    refused = refusal_of(lambda: minter.delete_namespaced_secret(CERTIFICATES, "kube-system"))
    assert "regrow-mint" in refused.body
    assert admin.read_namespaced_secret(CERTIFICATES, "kube-system").metadata.owner_references == [owner]


def test_c00_s00_a_control_plane_joins_with_its_own_token(mastering: Joining) -> None:
    _, node = join(mastering)
    serving = mastering.ask(node, serving_csr(ONE, dns(ONE), ip(ADDRESS)), *SERVING)
    mastering.approve()
    assert mastering.word_on(serving) == "Approved"
    assert mastering.world.convicted == set()


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes.default.svc", "localhost", "api.drill.test"])
def test_s03_s05_a_control_planes_kubelet_does_not_serve_as_the_api_server(mastering: Joining, name: str) -> None:
    _, node = join(mastering)
    serving = mastering.ask(node, serving_csr(ONE, dns(ONE), dns(name)), *SERVING)
    mastering.approve()
    assert mastering.word_on(serving) == "Denied"


def person(*names: bytes) -> str:
    return spec(block(der(b"".join(rdn(name) for name in names))))


ADMINS = person(pair(O, "kubeadm:cluster-admins"), pair(CN, "kubernetes-admin"))
MASTERS = person(pair(O, "system:masters"), pair(CN, "kubernetes-super-admin"))
ELSEWHERE = {
    "an administrator": (ADMINS, "kubernetes.io/kube-apiserver-client", ("digital signature", "client auth")),
    "the api server's client of etcd": (
        person(pair(CN, "kube-apiserver-etcd-client")),
        "kubernetes.io/kube-apiserver-client",
        ("digital signature", "client auth"),
    ),
    "the api server's client of kubelets": (
        person(pair(O, "kubeadm:cluster-admins"), pair(CN, "kube-apiserver-kubelet-client")),
        "kubernetes.io/kube-apiserver-client",
        ("digital signature", "client auth"),
    ),
    "the api server": (person(pair(CN, "kube-apiserver")), "regrow.dev/any", ("digital signature", "server auth")),
    "an authority": (person(pair(CN, "kubernetes")), "regrow.dev/any", ("cert sign",)),
}


@pytest.mark.parametrize("what", ELSEWHERE)
@pytest.mark.parametrize("who", ["mastering", "joining"])
def test_c16_what_a_token_asks_of_other_signers_stays_pending_and_the_approver_could_not_approve_it(
    request: pytest.FixtureRequest, who: str, what: str
) -> None:
    joining: Joining = request.getfixturevalue(who)
    name = joining.ask(holder(joining), *ELSEWHERE[what])
    joining.approve()
    assert joining.word_on(name) == "Pending"
    approver = joining.plane.as_user("regrow:approve", FUNCTION_GROUPS["approve"])
    assert refusal_of(lambda: put_word(approver, joining, name, "Approved")).status in (403, 422)
    assert joining._read(name).status.certificate is None


@pytest.mark.parametrize(
    ("csr", "signer", "status"),
    [
        (MASTERS, "kubernetes.io/kube-apiserver-client", 403),
        (person(pair(CN, "kube-apiserver")), "kubernetes.io/legacy-unknown", 422),
    ],
    ids=["system:masters", "whatever the old signer signed"],
)
@pytest.mark.parametrize("who", ["mastering", "joining"])
def test_c06_c16_what_the_api_server_lets_nobody_ask(
    request: pytest.FixtureRequest, who: str, csr: str, signer: str, status: int
) -> None:
    joining: Joining = request.getfixturevalue(who)
    refused = refusal_of(lambda: joining.ask(holder(joining), csr, signer, ("digital signature", "client auth")))
    assert refused.status == status


@pytest.mark.parametrize("who", ["mastering", "joining"])
def test_s22_no_token_asks_to_serve_as_the_api_server(request: pytest.FixtureRequest, who: str) -> None:
    joining: Joining = request.getfixturevalue(who)
    names = (dns("kubernetes.default.svc"), ip(ADDRESS))
    made = joining.ask(holder(joining), serving_csr(ONE, *names), *SERVING)
    joining.approve()
    assert joining.word_on(made) == "Denied"


@pytest.mark.parametrize("csr", [ADMINS, MASTERS, client_csr(TWO)], ids=["administrator", "masters", "another node"])
def test_c01_c06_a_control_plane_that_asks_its_own_signer_for_more_is_denied_and_given_up(
    mastering: Joining, csr: str
) -> None:
    name = mastering.ask(holder(mastering), csr)
    mastering.approve()
    assert mastering.word_on(name) == "Denied"
    assert mastering.world.convicted == {ONE}


def test_c01_a_workers_token_does_not_get_the_name_of_a_control_plane(joining: Joining) -> None:
    masters = lists(member(TWO, "Pending:Wait"), name="masters", role=Role.CONTROL_PLANE)
    of_two = issued_now(TWO, token_id=MASTERS_TOKEN_ID, group="masters", role=Role.CONTROL_PLANE)
    joining.world.joins += (of_two,)
    joining.world.groups += masters
    joining.world.instances[TWO] = a_machine(TWO)
    name = joining.ask(holder(joining), client_csr(TWO))
    joining.approve()
    assert joining.word_on(name) == "Denied"
    assert joining.world.convicted == {ONE}


@pytest.mark.parametrize(("who", "recorded"), [("mastering", Role.WORKER), ("joining", Role.CONTROL_PLANE)])
def test_e10_a_token_of_one_role_lets_in_no_machine_of_the_other(
    request: pytest.FixtureRequest, who: str, recorded: Role
) -> None:
    joining: Joining = request.getfixturevalue(who)
    joining.world.joins = (issued_now(role=recorded, token_id=joining.token.id),)
    joining.world.groups = lists(member(ONE, "Pending:Wait"), role=recorded)
    name = joining.ask(holder(joining), client_csr(ONE))
    joining.approve()
    assert joining.word_on(name) == "Denied"


# --- what holds when our own code is wrong


def put_word(api: client.ApiClient, joining: Joining, name: str, word: str) -> Any:
    request = client.CertificatesV1Api(joining.plane.admin).read_certificate_signing_request(name)
    condition = client.V1CertificateSigningRequestCondition(type=word, status="True", reason="Test", message="test")
    request.status = client.V1CertificateSigningRequestStatus(conditions=[condition])
    return client.CertificatesV1Api(api).replace_certificate_signing_request_approval(name, request)


def refusal_of(call: Callable[[], Any]) -> client.ApiException:
    with pytest.raises(client.ApiException) as refused:
        call()
    return refused.value


TOKENS = ("system:bootstrappers", TOKEN_GROUPS[Role.WORKER])
CLIENT = (CLIENT_SIGNER, CLIENT_USAGES)


@pytest.mark.parametrize(
    ("user", "groups", "use", "because"),
    [
        ("somebody", TOKENS, CLIENT, "has a token of Regrow"),
        ("system:bootstrap:abcdef", (*TOKENS, "people"), CLIENT, "is in no other group"),
        ("system:bootstrap:abcdef", (*TOKENS, TOKEN_GROUPS[Role.CONTROL_PLANE]), CLIENT, "is in no other group"),
        ("system:bootstrap:abcdef", TOKENS, SERVING, "is for a node"),
        ("somebody", ("system:masters",), SERVING, "is for a node"),
        (f"system:node:{ONE}", ("system:nodes", "system:masters"), SERVING, "is in no other group"),
    ],
)
def test_the_approver_cannot_approve_what_its_policy_rules_out_though_it_can_deny_it(
    joining: Joining, user: str, groups: tuple[str, ...], use: Any, because: str
) -> None:
    csr = serving_csr(ONE, dns(ONE)) if use is SERVING else client_csr(ONE)
    name = joining.ask(joining.plane.as_user(user, *groups), csr, *use)
    approver = joining.plane.as_user("regrow:approve", FUNCTION_GROUPS["approve"])

    refused = refusal_of(lambda: put_word(approver, joining, name, "Approved"))
    assert refused.status == 422
    assert because in refused.body
    put_word(approver, joining, name, "Denied")
    assert joining.word_on(name) == "Denied"


@pytest.mark.parametrize(
    ("usages", "expires_s", "because"),
    [
        (("client auth", "cert sign"), None, "nothing but its one use"),
        (("client auth",), 10 * 366 * 86_400, "no longer than a year"),
    ],
)
def test_the_approver_cannot_approve_another_use_or_another_life(
    joining: Joining, usages: tuple[str, ...], expires_s: int | None, because: str
) -> None:
    spec = {"request": client_csr(ONE), "signerName": CLIENT_SIGNER, "usages": list(usages)}
    body = {"metadata": {"generateName": "x-"}, "spec": spec | ({"expirationSeconds": expires_s} if expires_s else {})}
    made = client.CertificatesV1Api(holder(joining)).create_certificate_signing_request(body)
    joining.made.append(made.metadata.name)
    approver = joining.plane.as_user("regrow:approve", FUNCTION_GROUPS["approve"])
    refused = refusal_of(lambda: put_word(approver, joining, made.metadata.name, "Approved"))
    assert refused.status == 422
    assert because in refused.body


@pytest.mark.parametrize(
    "changes",
    [
        {"group": "system:bootstrappers:kubeadm:default-node-token"},
        {"group": "system:bootstrappers:regrow:worker,system:bootstrappers:kubeadm:default-node-token"},
        {"group": "system:bootstrappers:regrow:worker,system:bootstrappers:regrow:control-plane"},
        {"group": "system:bootstrappers:regrow:control-plane,system:bootstrappers:kubeadm:default-node-token"},
        {"group": "system:bootstrappers:regrow:control-planes"},
        {"group": "system:bootstrappers:regrow:control-plane", "expires_at": datetime(2099, 1, 1, tzinfo=UTC)},
        {"expires_at": datetime(2099, 1, 1, tzinfo=UTC)},
        {"id": "zzzzzz", "expires_at": NOW + timedelta(days=365 * 50)},
    ],
    ids=str,
)
def test_r07_r09_the_minters_policy_refuses_what_its_code_must_never_make(
    joining: Joining, changes: dict[str, Any]
) -> None:
    with pytest.raises(RetryableError, match="regrow-mint"):
        joining.minter.create_token(a_token(**({"id": "bad999"} | changes)))


# --- whom a machine shows its token to


@dataclass
class Listener:
    """Somebody who would like to be taken for the API server."""

    context: ssl.SSLContext
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: int = 0
    heard: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.listening.getsockname()[1]}"

    def listen(self) -> None:
        with suppress(OSError):  # at the end, when it is closed
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                with suppress(OSError), self.context.wrap_socket(connection, server_side=True) as talking:
                    self.heard.append(talking.recv(65536))


@contextmanager
def listening(authority: Authority) -> Iterator[Listener]:
    authority.server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    listener = Listener(context)
    thread = threading.Thread(target=listener.listen, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.listening.close()


@pytest.mark.parametrize("trusted", [True, False])
def test_j18_kubeadm_shows_its_token_only_to_whom_the_bundles_authority_vouches_for(
    plane: ControlPlane, tmp_path: Path, trusted: bool
) -> None:
    """With the bundle's own authority it does: so what keeps the token from the other one is the authority alone."""
    (tmp_path / "other").mkdir()
    authority = Authority.made_in(tmp_path / "other")
    with listening(authority) as listener:
        ca_data = authority.data if trusted else plane.authority.data
        bundle = Bundle(server=listener.url, ca_data=ca_data, token=f"{TOKEN_ID}.{SECRET}")
        (tmp_path / "discovery").write_text(discovery_kubeconfig(bundle))
        configuration = {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "JoinConfiguration",
            "discovery": {
                "file": {"kubeConfigPath": str(tmp_path / "discovery")},
                "tlsBootstrapToken": bundle.token,
            },
            "nodeRegistration": {"name": ONE, "criSocket": "unix:///none", "ignorePreflightErrors": ["all"]},
            "timeouts": {"discovery": "5s"},
        }
        (tmp_path / "join").write_text(json.dumps(configuration))
        command = [f"{plane.programs}/kubeadm", "join", "phase", "preflight", "--config", str(tmp_path / "join")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert listener.connections >= 1, done.stderr
    shown = any(bundle.token.encode() in heard for heard in listener.heard)
    assert shown is trusted, done.stderr
    if not trusted:
        assert listener.heard == []
        assert "certificate signed by unknown authority" in done.stderr
