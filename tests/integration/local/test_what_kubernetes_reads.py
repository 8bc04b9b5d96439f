"""What is approved by its bytes is signed for those names alone: Kubernetes' own code reads the same requests."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from functions.cluster.joining import NODE_USER_PREFIX, NODES_GROUP
from functions.edges.keys import wrong_with_key
from functions.join.names import names_of
from functions.join.pkcs10 import DNS_NAME, IP_ADDRESS, Asked, Wrong, read_client_request, read_serving_request
from infra.local.building import toolchain
from infra.local.building.build import SOURCES
from infra.local.building.compiling import Target, compile_target
from infra.local.drills.csrs import a_key, block, client_csr, dns, ip, serving_csr, signed, spec
from infra.local.progress import Progress
from tests.unit.functions.builders import ONE
from tests.unit.functions.join.approve.cluster import ADDRESS, PRIVATE_NAME, a_machine
from tests.unit.functions.join.approve.test_client_requests import CONVICTING, DENIED, EVIL
from tests.unit.functions.join.approve.test_serving_requests import GOOD, STRANGE_FORMS, STRANGE_NAMES

QUIET = Progress(io.StringIO())
NAMES = names_of(a_machine(), ONE)
MUTATIONS = 3000


@dataclass(frozen=True)
class Request:
    request: str
    serving: bool

    def by_us(self) -> Asked | None:
        """What the approver would let through, None when it would not."""
        asked = (read_serving_request if self.serving else read_client_request)(self.request, ONE)
        if isinstance(asked, Wrong) or not set(asked.names) <= NAMES or wrong_with_key(asked.der, asked.key):
            return None
        return asked


Kubernetes = Callable[[Iterable[Request]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the very modules that the local world's API server is built from."""
    folder = tmp_path_factory.mktemp("certificate_requests")
    (sources := folder / "reading").mkdir()
    (temporary := folder / "tmp").mkdir()
    for file in (SOURCES / "kubernetes" / "go.mod", SOURCES / "kubernetes" / "go.sum"):
        shutil.copy(file, sources)
    shutil.copy(Path(__file__).with_name("certificate_requests") / "main.go", sources)
    environment = toolchain.go_environment(toolchain.find_go(QUIET), temporary)
    compile_target(Target("reading"), folder, folder, environment, QUIET)
    return folder / "kube"


@pytest.fixture(scope="module")
def kubernetes(program: Path) -> Kubernetes:
    def read(requests: Iterable[Request]) -> list[dict[str, Any]]:
        usages = {False: ["digital signature", "client auth"], True: ["digital signature", "server auth"]}
        asked = [{"request": one.request, "serving": one.serving, "usages": usages[one.serving]} for one in requests]
        done = subprocess.run([program, "read"], input=json.dumps(asked), check=True, capture_output=True, text=True)
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    return read


def is_go_base64(text: str) -> bool:
    """Whether it can be in an object of the API at all."""
    try:
        return bool(b64decode(text, validate=True))
    except ValueError:
        return False


def assert_signed_for_the_same(requests: list[Request], kubernetes: Kubernetes) -> int:
    """Assert that Kubernetes sees in what we let through what we see in it; return how many requests that is."""
    answers = zip(requests, kubernetes(requests), strict=True)
    let_through = [(ours, seen) for one, seen in answers if (ours := one.by_us())]
    for ours, seen in let_through:
        assert seen == {
            "refused": "",
            "common_name": f"{NODE_USER_PREFIX}{ONE}",
            "organizations": [NODES_GROUP],
            "names": [content.decode() for tag, content in ours.names if tag == DNS_NAME] or None,
            "addresses": [content.hex() for tag, content in ours.names if tag == IP_ADDRESS] or None,
            "key": ours.key.hex(),
        }
    return len(let_through)


def test_c00_s00_requests_as_kubernetes_makes_them_pass(program: Path, kubernetes: Kubernetes) -> None:
    made = subprocess.run([program, "make", ONE, ONE, PRIVATE_NAME, ADDRESS], check=True, capture_output=True)
    stock = json.loads(made.stdout)
    requests = [Request(stock["client"], serving=False), Request(stock["serving"], serving=True)]
    assert assert_signed_for_the_same(requests, kubernetes) == 2
    assert kubernetes(requests)[1]["names"] == [ONE, PRIVATE_NAME]


def test_our_own_samples_are_such_as_kubernetes_signs(kubernetes: Kubernetes) -> None:
    requests = [Request(client_csr(ONE), serving=False), Request(serving_csr(ONE, *GOOD), serving=True)]
    assert assert_signed_for_the_same(requests, kubernetes) == 2


def test_no_hostile_sample_is_signed_for_anything_but_what_we_see(kubernetes: Kubernetes) -> None:
    clients = [Request(csr, serving=False) for csr in (CONVICTING | DENIED).values() if is_go_base64(csr)]
    forms = [Request(csr, serving=True) for csr in STRANGE_FORMS.values()]
    names = [Request(serving_csr(ONE, name, *GOOD), serving=True) for name in STRANGE_NAMES.values()]
    assert assert_signed_for_the_same(clients, kubernetes) == 0
    assert assert_signed_for_the_same([*forms, *names], kubernetes) == 1  # whose names lack the main ones


def test_without_the_strict_reading_kubernetes_would_sign_for_another_node(kubernetes: Kubernetes) -> None:
    """The attacks are real: each of these passes every check of Kubernetes, with the other node's name."""
    attacks = [
        csr for name, csr in CONVICTING.items() if name.split()[0] in ("c01", "c03", "c10", "c11") and is_go_base64(csr)
    ]
    seen = kubernetes([Request(csr, serving=False) for csr in attacks])
    assert {(one["common_name"], one["refused"]) for one in seen} == {(f"{NODE_USER_PREFIX}{EVIL}", "")}
    assert len(attacks) == 7


@pytest.mark.parametrize("serving", [False, True])
def test_requests_changed_at_random_and_signed_anew_are_signed_for_what_we_see(
    serving: bool, kubernetes: Kubernetes
) -> None:
    chance = random.Random(1)  # noqa: S311 - the same changes in each run
    whole = serving_csr(ONE, dns(ONE), dns(PRIVATE_NAME), ip(ADDRESS)) if serving else client_csr(ONE)
    stock = Request(whole, serving)
    asked = stock.by_us()
    assert asked is not None
    info = x509.load_der_x509_csr(asked.der).tbs_certrequest_bytes
    requests = [stock]
    for _ in range(MUTATIONS):
        changed = bytearray(info)
        for _ in range(chance.randint(1, 2)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        requests.append(Request(spec(block(signed(bytes(changed), a_key()))), serving))
    assert assert_signed_for_the_same(requests, kubernetes) > 0
