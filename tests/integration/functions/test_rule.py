"""The rule in front of intake lets through exactly what intake makes something of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from moto.events.models import EventPattern

from functions.events import PATTERN, Hint, read_event

EVENTS = Path(__file__).parents[3] / "events"


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda path: path.stem)
def test_intake_is_woken_by_what_it_orders_a_look_for_and_by_nothing_else(path: Path) -> None:
    event = json.loads(path.read_text())
    woken = EventPattern.load(json.dumps(PATTERN)).matches_event(event)
    assert woken == isinstance(read_event(event), Hint)
