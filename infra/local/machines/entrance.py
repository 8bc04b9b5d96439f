"""The way into a machine that runs, as an operator at its console would come in: past network and login."""

from __future__ import annotations

import os
from collections.abc import Sequence

from infra.local.linux import namespaces
from infra.local.linux.cgroups import Cgroup
from infra.local.machines.files import ENVIRONMENT


def into_machine(cgroup: Cgroup, pid: int, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` as root inside, for a caller in the world's namespaces.

    `pid` is the machine's first process. What is run belongs to the machine: it freezes and dies with it.
    """
    environment = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    clean = ["env", "-i", "HOME=/root", f"TERM={os.environ.get('TERM', 'dumb')}", *environment, *argv]
    return namespaces.in_machine(pid, cgroup.entering(settled=True), clean)
