"""Why a dead machine's Node stays until its volumes are released. Takes seven minutes, most of them Kubernetes' own."""

from __future__ import annotations

from infra.local.drills.volume import judge_lines
from infra.local.drills.volume_unhealed import delete_the_node_first
from tests.e2e.scene import Scene

AT_LEAST_S = 330.0
"""Kubernetes waits for six minutes (attach-detach controller, ReconcilerMaxWaitForUnmountDuration)."""


def test_a_node_that_is_deleted_before_its_volume_is_released_makes_kubernetes_wait_for_six_minutes(
    scene: Scene,
) -> None:
    found = delete_the_node_first(scene.cluster, print)
    assert found.waited_s > AT_LEAST_S
    findings = judge_lines(found.lines, first=found.lines[0].writer, second=found.lines[-1].writer)
    assert [finding for finding in findings if not finding.kept] == []
    scene.sweep()
    scene.await_healed(found.victim)
