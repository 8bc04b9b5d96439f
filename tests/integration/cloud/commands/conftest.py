from __future__ import annotations

import dataclasses

import pytest

from infra.local.cloud.delays import Delays
from tests.integration.cloud.machines.rig import QUICK, aws

__all__ = ["aws"]


@pytest.fixture
def delays() -> Delays:
    """A command's shortest delivery timeout, 30 s, lasts 0.3 s, and an agent is lost after 6 s."""
    return dataclasses.replace(QUICK, command_second_s=0.01)
