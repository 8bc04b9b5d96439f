"""What a control plane proves of its new cluster before it says that the cluster exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.node.failures import NodeError
from infra.node.initialise import JOINING_GROUPS, refuse_unseen_approval, wait_until_minting_is_confined

Answers = Callable[..., Path]
DENIED_BY_POLICY = (
    "The secrets \"regrow-probe\" is invalid: : ValidatingAdmissionPolicy 'regrow-mint' with binding 'regrow-mint' "
    "denied request: the minter makes bootstrap tokens alone"
)


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """A kubectl that answers one call after the other, the last answer for good; the folder has what it was given."""

    def answering(*answers: tuple[int, str, str]) -> Path:
        for place, (code, output, error) in enumerate(answers):
            (tmp_path / f"answer-{place}").write_text(f"cat > {tmp_path}/given-$1\necho '{output}'\n")
            with (tmp_path / f"answer-{place}").open("a") as script:
                script.write(f"cat >&2 <<'END'\n{error}\nEND\nexit {code}\n")
        program = tmp_path / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(
            f"#!/bin/sh\ncd {tmp_path}\nn=$(cat calls 2>/dev/null || echo 0)\necho $((n + 1)) > calls\n"
            f"answer=$n; [ $answer -lt {len(answers)} ] || answer={len(answers) - 1}\nexec sh answer-$answer $n\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return tmp_path

    return answering


def review(*, allowed: bool) -> tuple[int, str, str]:
    return 0, json.dumps({"status": {"allowed": allowed}}), ""


def test_a_cluster_that_approves_nobody_unseen_is_taken(kubectl: Answers) -> None:
    folder = kubectl(review(allowed=False))
    refuse_unseen_approval()
    asked = [json.loads(path.read_text())["spec"] for path in sorted(folder.glob("given-*"))]
    assert [spec["groups"][1] for spec in asked] == list(JOINING_GROUPS)
    assert {spec["resourceAttributes"]["subresource"] for spec in asked} == {"nodeclient"}


def test_a_cluster_that_approves_a_machine_unseen_is_never_published(kubectl: Answers) -> None:
    kubectl(review(allowed=False), review(allowed=True))
    with pytest.raises(NodeError, match=f"token of {JOINING_GROUPS[1]} .*delete the ClusterRoleBinding"):
        refuse_unseen_approval()


def test_an_api_server_that_is_not_there_yet_is_asked_again(kubectl: Answers) -> None:
    kubectl((1, "", "connection refused"), review(allowed=True))
    with pytest.raises(NodeError, match="unseen"):
        refuse_unseen_approval()


def test_the_policy_is_waited_for(kubectl: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    folder = kubectl((0, "secret/regrow-probe created (server dry run)", ""), (1, "", DENIED_BY_POLICY))
    wait_until_minting_is_confined()
    assert "not yet: the minter may still make any Secret" in capsys.readouterr().out
    assert json.loads((folder / "given-1").read_text())["kind"] == "Secret"


@pytest.mark.parametrize("error", ["connection refused", "secrets is forbidden: User cannot create resource"])
def test_no_other_refusal_is_taken_for_the_policy(kubectl: Answers, error: str) -> None:
    kubectl((1, "", error))
    with pytest.raises(NodeError, match=error[:10]):
        wait_until_minting_is_confined(within_s=0)
