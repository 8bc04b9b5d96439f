"""What each identity may do in the cluster: asked of the real API server, with the credentials that functions have."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client

from infra.local.drills.csrs import client_csr, dns, serving_csr
from infra.local.drills.holder import connection
from tests.e2e.scene import Scene, settings_of

TYPE = "bootstrap.kubernetes.io/token"
TOKEN_ID, TOKEN_SECRET = "e2etok", "0123456789abcdef"
NAME = f"bootstrap-token-{TOKEN_ID}"
GROUP = "system:bootstrappers:regrow:worker"
MASTERS_GROUP = "system:bootstrappers:regrow:control-plane"
KUBEADM_GROUP = "system:bootstrappers:kubeadm:default-node-token"
UNSEEN = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
OTHER_UID = "00000000-0000-0000-0000-000000000000"
Call = Callable[[client.ApiClient], Any]


def published(scene: Scene, name: str) -> dict[str, str]:
    """What the control plane published for a function."""
    parameter = f"{settings_of(scene.cluster)['REGROW_KUBECONFIG_PATH']}/{name}"
    value = scene.client("ssm").get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"]
    content: dict[str, str] = json.loads(value)
    return content


def identity(scene: Scene, name: str) -> client.ApiClient:
    """The API server as a function sees it, with its own certificate."""
    content = published(scene, name)
    certificate = {
        "client-certificate-data": content["client_certificate_data"],
        "client-key-data": content["client_key_data"],
    }
    return connection(content["server"], content["ca_data"], certificate)


@pytest.fixture
def minter(scene: Scene) -> client.ApiClient:
    return identity(scene, "mint")


@pytest.fixture
def approver(scene: Scene) -> client.ApiClient:
    return identity(scene, "approve")


def rfc3339(after: timedelta) -> str:
    return f"{datetime.now(UTC) + after:%Y-%m-%dT%H:%M:%SZ}"


def token_secret(*, name: str = NAME, kind: str = TYPE, leave_out: str = "", **changed: str) -> dict[str, Any]:
    """The Secret of a token as the minter makes it, except for what is changed; `_` in a key stands for `-`."""
    content = {
        "token-id": TOKEN_ID,
        "token-secret": TOKEN_SECRET,
        "expiration": rfc3339(timedelta(minutes=15)),
        "description": "i-0e2e0000000000000",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
        **{key.replace("_", "-"): value for key, value in changed.items()},
    }
    content.pop(leave_out, None)
    return {"metadata": {"name": name}, "type": kind, "stringData": content}


def secrets_of(scene: Scene) -> set[str]:
    return {secret.metadata.name for secret in scene.core.list_namespaced_secret("kube-system").items}


@pytest.fixture
def swept(scene: Scene) -> Iterator[None]:
    """Takes away what a test has made, or was wrongly allowed to make."""
    before = secrets_of(scene)
    yield
    for name in secrets_of(scene) - before:
        with suppress(client.ApiException):  # a token may just have expired
            scene.core.delete_namespaced_secret(name, "kube-system")


def refusal_of(call: Call, api: client.ApiClient) -> client.ApiException:
    with pytest.raises(client.ApiException) as refusal:
        call(api)
    return refusal.value


# --- the cluster as it was made


def test_a_cluster_is_made_without_a_token_and_without_a_right_to_join_unseen(scene: Scene) -> None:
    listed = scene.core.list_namespaced_secret("kube-system", field_selector=f"type={TYPE}").items
    assert not [secret.metadata.name for secret in listed]
    bindings = client.RbacAuthorizationV1Api(scene.core.api_client).list_cluster_role_binding().items
    assert not [binding.metadata.name for binding in bindings if binding.role_ref.name == UNSEEN]
    assert "kubeadm:node-autoapprove-certificate-rotation" in [binding.metadata.name for binding in bindings]
    public = scene.core.list_namespaced_config_map("kube-public").items
    assert not [key for one in public for key in one.data or {} if key.startswith("jws-kubeconfig-")]


@pytest.mark.parametrize("group", [GROUP, MASTERS_GROUP, KUBEADM_GROUP])
def test_no_token_would_have_its_certificate_approved_by_the_cluster(scene: Scene, group: str) -> None:
    attributes = {"verb": "create", "group": "certificates.k8s.io", "resource": "certificatesigningrequests"}
    spec = {
        "user": "system:bootstrap:aaaaaa",
        "groups": ["system:bootstrappers", group, "system:authenticated"],
        "resourceAttributes": {**attributes, "subresource": "nodeclient"},
    }
    asked = client.AuthorizationV1Api(scene.core.api_client)
    assert asked.create_subject_access_review({"spec": spec}).status.allowed is False


def test_every_kubelet_asks_for_its_serving_certificate(scene: Scene) -> None:
    kept = scene.core.read_namespaced_config_map("kubelet-config", "kube-system").data["kubelet"]
    assert "serverTLSBootstrap: true" in kept.splitlines()


# --- the minter


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("minutes", [1, 15, 29])
def test_the_minter_makes_a_token_and_deletes_it_under_its_uid(
    scene: Scene, minter: client.ApiClient, minutes: int
) -> None:
    core = client.CoreV1Api(minter)
    expiration = rfc3339(timedelta(minutes=minutes))
    made = core.create_namespaced_secret("kube-system", token_secret(expiration=expiration))
    assert made.type == TYPE
    other = {"preconditions": {"uid": OTHER_UID}}
    assert refusal_of(lambda _: core.delete_namespaced_secret(NAME, "kube-system", body=other), minter).status == 409
    core.delete_namespaced_secret(NAME, "kube-system", body={"preconditions": {"uid": made.metadata.uid}})
    assert NAME not in secrets_of(scene)


def test_a_token_whose_values_are_sent_encoded_is_no_exception(scene: Scene, minter: client.ApiClient) -> None:
    secret = token_secret(auth_extra_groups=KUBEADM_GROUP)
    data = {key: base64.b64encode(value.encode()).decode() for key, value in secret.pop("stringData").items()}
    core = client.CoreV1Api(minter)
    refused = refusal_of(lambda _: core.create_namespaced_secret("kube-system", {**secret, "data": data}), minter)
    assert refused.status == 422
    assert "is of the group" in refused.body
    assert NAME not in secrets_of(scene)


REFUSED_SECRETS: dict[str, tuple[dict[str, str], str]] = {
    "a Secret of any kind": ({"kind": "Opaque"}, "makes bootstrap tokens alone"),
    "a name that is no token's": ({"name": "e2e-other"}, "is named bootstrap-token-"),
    "a name with more than a token's id": ({"name": f"{NAME}x"}, "is named bootstrap-token-"),
    "kubeadm's group": ({"auth_extra_groups": KUBEADM_GROUP}, "is of the group"),
    "kubeadm's group beside ours": ({"auth_extra_groups": f"{GROUP},{KUBEADM_GROUP}"}, "is of the group"),
    "a group of control planes beside ours": ({"auth_extra_groups": f"{GROUP},{MASTERS_GROUP}"}, "is of the group"),
    "no group": ({"leave_out": "auth-extra-groups"}, "is of the group"),
    "an empty group": ({"auth_extra_groups": ""}, "is of the group"),
    "the usage to sign": ({"usage_bootstrap_signing": "true"}, "above all no signing"),
    "the usage to sign, said oddly": ({"usage_bootstrap_signing": "false"}, "above all no signing"),
    "a value that nobody knows": ({"password": "x"}, "above all no signing"),
    "no expiration": ({"leave_out": "expiration"}, "expires within 30 minutes"),
    "an empty expiration": ({"expiration": ""}, "expires within 30 minutes"),
    "an expiration without a zone": ({"expiration": "2026-01-02T03:19:05"}, "expires within 30 minutes"),
    "an expiration that is none": ({"expiration": "some time next week."}, "regrow-mint"),
    "an expiration of letters": ({"expiration": "YYYY-MM-DDTHH:MM:SSZ"}, "regrow-mint"),
}


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("what", REFUSED_SECRETS)
def test_the_minter_may_not_make_a_token_with(scene: Scene, minter: client.ApiClient, what: str) -> None:
    changed, because = REFUSED_SECRETS[what]
    before = secrets_of(scene)
    secret = token_secret(**changed)
    refused = refusal_of(lambda api: client.CoreV1Api(api).create_namespaced_secret("kube-system", secret), minter)
    assert refused.status == 422
    assert because in refused.body
    assert secrets_of(scene) == before


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("minutes", [31, 60, 120, 60 * 24 * 365])
def test_the_minter_may_not_make_a_token_that_lives_longer_than_half_an_hour(
    scene: Scene, minter: client.ApiClient, minutes: int
) -> None:
    secret = token_secret(expiration=rfc3339(timedelta(minutes=minutes)))
    refused = refusal_of(lambda api: client.CoreV1Api(api).create_namespaced_secret("kube-system", secret), minter)
    assert refused.status == 422
    assert "expires within 30 minutes" in refused.body
    assert NAME not in secrets_of(scene)


@pytest.mark.usefixtures("swept")
def test_the_minter_may_not_plant_a_service_account_token(scene: Scene, minter: client.ApiClient) -> None:
    planted = {
        "metadata": {"name": "e2e-planted", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    }
    refused = refusal_of(lambda api: client.CoreV1Api(api).create_namespaced_secret("kube-system", planted), minter)
    assert refused.status == 422
    assert "makes bootstrap tokens alone" in refused.body
    assert "e2e-planted" not in secrets_of(scene)


@pytest.mark.usefixtures("swept")
def test_the_minter_may_not_delete_another_secret(scene: Scene, minter: client.ApiClient) -> None:
    scene.core.create_namespaced_secret("kube-system", {"metadata": {"name": "e2e-other"}, "stringData": {"a": "b"}})
    refused = refusal_of(lambda api: client.CoreV1Api(api).delete_namespaced_secret("e2e-other", "kube-system"), minter)
    assert refused.status == 422
    assert "deletes bootstrap tokens alone" in refused.body
    assert "e2e-other" in secrets_of(scene)


def sign_unseen(api: client.ApiClient, scope: str) -> Any:
    body = {"metadata": {"name": "e2e"}, "roleRef": {"kind": "ClusterRole", "name": scope}, "subjects": []}
    return client.RbacAuthorizationV1Api(api).create_cluster_role_binding(body)


MINTER_MAY_NOT: dict[str, Call] = {
    "read a token": lambda api: client.CoreV1Api(api).read_namespaced_secret(NAME, "kube-system"),
    "list Secrets": lambda api: client.CoreV1Api(api).list_namespaced_secret("kube-system"),
    "watch Secrets": lambda api: client.CoreV1Api(api).list_namespaced_secret("kube-system", watch=True),
    "change a Secret": lambda api: client.CoreV1Api(api).patch_namespaced_secret(NAME, "kube-system", {}),
    "delete Secrets by the dozen": lambda api: client.CoreV1Api(api).delete_collection_namespaced_secret("kube-system"),
    "make a Secret elsewhere": lambda api: client.CoreV1Api(api).create_namespaced_secret("default", token_secret()),
    "list Nodes": lambda api: client.CoreV1Api(api).list_node(),
    "delete a Node": lambda api: client.CoreV1Api(api).delete_node("e2e-node"),
    "see certificate requests": lambda api: client.CertificatesV1Api(api).list_certificate_signing_request(),
    "read another ConfigMap": lambda api: client.CoreV1Api(api).read_namespaced_config_map(
        "kubeadm-config", "kube-system"
    ),
    "have certificates approved unseen": lambda api: sign_unseen(api, UNSEEN),
    "lift its own policy": lambda api: client.AdmissionregistrationV1Api(api).delete_validating_admission_policy(
        "regrow-mint"
    ),
    "lift its policy's binding": lambda api: client.AdmissionregistrationV1Api(
        api
    ).delete_validating_admission_policy_binding("regrow-mint"),
}


@pytest.mark.parametrize("what", MINTER_MAY_NOT)
def test_the_minter_may_not(minter: client.ApiClient, what: str) -> None:
    assert refusal_of(MINTER_MAY_NOT[what], minter).status == 403


# --- the approver


def request_of(signer: str) -> dict[str, Any]:
    """A certificate request such as a person may send."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e")])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = signed.public_bytes(serialization.Encoding.PEM)
    spec = {"signerName": signer, "usages": ["client auth"], "request": base64.b64encode(pem).decode()}
    return {"metadata": {"generateName": "e2e-"}, "spec": spec}


@pytest.fixture
def persons_request(scene: Scene) -> Iterator[Any]:
    """A pending request for a certificate that is no kubelet's."""
    admin = client.CertificatesV1Api(scene.core.api_client)
    request = admin.create_certificate_signing_request(request_of("kubernetes.io/kube-apiserver-client"))
    yield request
    admin.delete_certificate_signing_request(request.metadata.name)


@pytest.mark.parametrize("decision", ["Approved", "Denied"])
def test_the_approver_decides_on_kubelets_certificates_alone(
    approver: client.ApiClient, persons_request: Any, decision: str
) -> None:
    condition = client.V1CertificateSigningRequestCondition(type=decision, status="True", reason="E2e", message="e2e")
    persons_request.status = client.V1CertificateSigningRequestStatus(conditions=[condition])
    refused = refusal_of(
        lambda api: client.CertificatesV1Api(api).replace_certificate_signing_request_approval(
            persons_request.metadata.name, persons_request
        ),
        approver,
    )
    assert refused.status == 403
    assert "kubernetes.io/kube-apiserver-client" in refused.body


CLIENT_SIGNER, SERVING_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
NODES, TOKENS = ("system:nodes", "system:authenticated"), ("system:bootstrappers", GROUP, "system:authenticated")
NOT_FOR_ITS_APPROVAL: dict[str, tuple[str, tuple[str, ...], str, dict[str, Any], str]] = {
    "a person's": ("e2e", TOKENS, CLIENT_SIGNER, {}, "has a token of Regrow"),
    "of a token that is in a group more": (
        "system:bootstrap:abcdef",
        (*TOKENS, "people"),
        CLIENT_SIGNER,
        {},
        "is in no other group",
    ),
    "a token's, to serve": ("system:bootstrap:abcdef", TOKENS, SERVING_SIGNER, {}, "for a node"),
    "a node's that is in a group more": (
        "system:node:e2e",
        (*NODES, "system:masters"),
        SERVING_SIGNER,
        {},
        "for a node",
    ),
    "to sign as well": (
        "system:bootstrap:abcdef",
        TOKENS,
        CLIENT_SIGNER,
        {"usages": ["client auth", "cert sign"]},
        "nothing but its one use",
    ),
    "for ten years": (
        "system:bootstrap:abcdef",
        TOKENS,
        CLIENT_SIGNER,
        {"expirationSeconds": 10 * 366 * 86_400},
        "no longer than a year",
    ),
}


def put_word(api: client.ApiClient, request: Any, word: str) -> Any:
    condition = client.V1CertificateSigningRequestCondition(type=word, status="True", reason="E2e", message="e2e")
    request.status = client.V1CertificateSigningRequestStatus(conditions=[condition])
    return client.CertificatesV1Api(api).replace_certificate_signing_request_approval(request.metadata.name, request)


@pytest.mark.parametrize("what", NOT_FOR_ITS_APPROVAL)
def test_the_approver_may_not_approve_what_its_policy_rules_out_though_it_may_deny_it(
    scene: Scene, approver: client.ApiClient, what: str
) -> None:
    """As its own code would, if it were wrong. Who asks is said by an administrator in that user's name."""
    user, groups, signer, changes, because = NOT_FOR_ITS_APPROVAL[what]
    body = request_of(signer)
    body["spec"] |= {"usages": ["server auth" if signer == SERVING_SIGNER else "client auth"]} | changes
    manifest = scene.cluster.world.place.directory / "not-for-approval.json"
    body |= {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    body["spec"]["request"] = client_csr("e2e") if signer == CLIENT_SIGNER else serving_csr("e2e", dns("e2e"))
    manifest.write_text(json.dumps(body))
    named = [f"--as={user}", *(f"--as-group={group}" for group in groups if group != "system:authenticated")]
    made = scene.cluster.kubectl("create", "-f", str(manifest), "--output=name", *named).strip()
    admin = client.CertificatesV1Api(scene.core.api_client)
    try:
        request = admin.read_certificate_signing_request(made.rpartition("/")[2])
        refused = refusal_of(lambda api: put_word(api, request, "Approved"), approver)
        assert refused.status == 422
        assert because in refused.body
        assert put_word(approver, request, "Denied").status.conditions[0].type == "Denied"
    finally:
        scene.cluster.kubectl("delete", made)


def impersonate(api: client.ApiClient) -> Any:
    return api.call_api(
        "/api/v1/nodes", "GET", header_params={"Impersonate-User": "admin", "Impersonate-Group": "system:masters"}
    )


APPROVER_MAY_NOT: dict[str, Call] = {
    "make a token": lambda api: client.CoreV1Api(api).create_namespaced_secret("kube-system", token_secret()),
    "read a Secret": lambda api: client.CoreV1Api(api).read_namespaced_secret(NAME, "kube-system"),
    "list Secrets": lambda api: client.CoreV1Api(api).list_secret_for_all_namespaces(),
    "ask for a certificate": lambda api: client.CertificatesV1Api(api).create_certificate_signing_request(
        request_of("kubernetes.io/kube-apiserver-client-kubelet")
    ),
    "delete a request": lambda api: client.CertificatesV1Api(api).delete_certificate_signing_request("e2e"),
    "issue a certificate itself": lambda api: client.CertificatesV1Api(api).patch_certificate_signing_request_status(
        "e2e", {}
    ),
    "change a Node": lambda api: client.CoreV1Api(api).patch_node("e2e-node", {}),
    "list Nodes": lambda api: client.CoreV1Api(api).list_node(),
    "delete a Node": lambda api: client.CoreV1Api(api).delete_node("e2e-node"),
    "be somebody else": impersonate,
}


@pytest.mark.parametrize("what", APPROVER_MAY_NOT)
def test_the_approver_may_not(approver: client.ApiClient, what: str) -> None:
    listed = client.CertificatesV1Api(approver).list_certificate_signing_request()
    assert listed.items is not None, "the credentials are good"
    assert refusal_of(APPROVER_MAY_NOT[what], approver).status == 403


def test_the_approver_may_not_change_what_a_request_asks_for(approver: client.ApiClient, persons_request: Any) -> None:
    name = persons_request.metadata.name
    other = {"spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet"}}
    refused = refusal_of(
        lambda api: client.CertificatesV1Api(api).patch_certificate_signing_request(name, other), approver
    )
    assert refused.status == 403


# --- a machine with its own token


@pytest.fixture
def joining(scene: Scene, minter: client.ApiClient) -> Iterator[client.ApiClient]:
    """The API server as a machine sees it that has a token and no certificate yet."""
    client.CoreV1Api(minter).create_namespaced_secret("kube-system", token_secret())
    content = published(scene, "mint")
    yield connection(content["server"], content["ca_data"], {"token": f"{TOKEN_ID}.{TOKEN_SECRET}"})
    client.CoreV1Api(minter).delete_namespaced_secret(NAME, "kube-system")


JOINING_MAY: dict[str, Call] = {
    "read how kubeadm made the cluster": lambda api: client.CoreV1Api(api).read_namespaced_config_map(
        "kubeadm-config", "kube-system"
    ),
    "read how kubelets are to run": lambda api: client.CoreV1Api(api).read_namespaced_config_map(
        "kubelet-config", "kube-system"
    ),
    "see its own requests": lambda api: client.CertificatesV1Api(api).list_certificate_signing_request(),
}
JOINING_MAY_NOT: dict[str, Call] = {
    "read the authorities' keys": lambda api: client.CoreV1Api(api).read_namespaced_secret(
        "kubeadm-certs", "kube-system"
    ),
    "read its own token": lambda api: client.CoreV1Api(api).read_namespaced_secret(NAME, "kube-system"),
    "list Secrets": lambda api: client.CoreV1Api(api).list_secret_for_all_namespaces(),
    "list Nodes": lambda api: client.CoreV1Api(api).list_node(),
    "create a Node": lambda api: client.CoreV1Api(api).create_node({"metadata": {"name": "e2e-node"}}),
    "make a token": lambda api: client.CoreV1Api(api).create_namespaced_secret("kube-system", token_secret()),
    "approve its own request": lambda api: client.CertificatesV1Api(api).replace_certificate_signing_request_approval(
        "e2e", {"metadata": {"name": "e2e"}, "spec": request_of("kubernetes.io/kubelet-serving")["spec"]}
    ),
}


@pytest.mark.parametrize("what", JOINING_MAY)
def test_a_joining_machine_may(joining: client.ApiClient, what: str) -> None:
    assert JOINING_MAY[what](joining) is not None


@pytest.mark.parametrize("what", JOINING_MAY_NOT)
def test_a_joining_machine_may_not(joining: client.ApiClient, what: str) -> None:
    assert refusal_of(JOINING_MAY_NOT[what], joining).status == 403
