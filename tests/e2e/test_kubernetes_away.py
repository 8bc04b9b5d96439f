"""While Kubernetes cannot be asked nothing is done, and everything heals once it can."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from infra.local.cloud.functions.faults import kill_function
from infra.local.cluster import wait_for
from infra.local.linux.cgroups import Cgroup
from tests.e2e.journal import Journal
from tests.e2e.scene import Scene, settings_of
from tests.e2e.sights import see_machine


def test_with_bad_credentials_a_dead_worker_is_held_and_with_good_ones_it_heals_by_itself(scene: Scene) -> None:
    victim = scene.workers()[0]
    before, passes = see_machine(scene, victim), scene.journal("remediate")
    with credentials(scene) as good:
        publish(scene, expired(scene, good))
        kill_function(scene.cluster.world.place.directory, scene.function("remediate"))  # it has the good ones in mind
        scene.kill(victim)
        await_held(passes, victim, "401 Unauthorized")
        publish(scene, "no kubeconfig at all")
        await_held(passes, victim, "does not hold a kubeconfig as the control plane publishes it")

        assert passes.lines(message="step") == []
        assert scene.case(victim) is None
        assert scene.place_in_group(victim) == "Terminating:Wait"
        assert see_machine(scene, victim) == before
    scene.await_healed(victim)


def test_while_the_control_plane_hangs_nothing_is_done_about_a_dead_worker(scene: Scene) -> None:
    victim = scene.workers()[0]
    passes, sweeps = scene.journal("remediate"), scene.journal("sweep")
    with frozen(scene, scene.control_plane()):
        scene.kill(victim)
        scene.sweep()
        await_held(passes, victim, "unknown: Kubernetes get Node: ReadTimeoutError")

        assert any("list Nodes" in line["held"] for line in sweeps.lines(message="sweep"))
        assert passes.lines(message="step") == []
        assert scene.case(victim) is None
        assert scene.state_of(victim) == "terminated"
        assert scene.place_in_group(victim) == "Terminating:Wait"
    scene.await_healed(victim)


def await_held(passes: Journal, victim: str, why: str) -> None:
    def told() -> bool:
        return any(why in line["reason"] for line in passes.lines(message="pass", machine=victim, verdict="held"))

    wait_for(f"a pass that holds {victim}: {why}", told, within_s=60)


@contextmanager
def frozen(scene: Scene, machine: str) -> Iterator[None]:
    """None of the machine's processes runs; its network card still answers."""
    group = Cgroup.of(scene.cluster.world.place.group, machine)
    group.freeze()
    try:
        yield
    finally:
        group.thaw()


@contextmanager
def credentials(scene: Scene) -> Iterator[str]:
    """What the control plane published for passes; there again at the end, whatever was published meanwhile."""
    name = settings_of(scene.cluster)["REGROW_KUBECONFIG_PATH"] + "/remediate"
    good: str = scene.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    try:
        yield good
    finally:
        publish(scene, good)


def publish(scene: Scene, value: str) -> None:
    name = settings_of(scene.cluster)["REGROW_KUBECONFIG_PATH"] + "/remediate"
    scene.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def expired(scene: Scene, good: str) -> str:
    """The same credentials with a certificate that the cluster's own authority signed, and that has ended."""
    content = json.loads(good)
    pki = scene.cluster.world.place.machine(scene.control_plane()).written / "etc/kubernetes/pki"
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    authority_key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), password=None)
    valid = x509.load_pem_x509_certificate(base64.b64decode(content["client_certificate_data"]))
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(valid.subject)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())  # type: ignore[arg-type]  # of the kinds that sign, kubeadm's is one
    )
    as_pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(as_pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content["client_certificate_data"] = base64.b64encode(certificate.public_bytes(as_pem)).decode()
    content["client_key_data"] = base64.b64encode(key_pem).decode()
    return json.dumps(content)
