"""What holds for machines holds on a host with version 2 of control groups too.

Checked on any host: in a mount namespace of its own the version 2 tree takes the place of what is mounted there. Its
controllers may belong to version 1, so this shows where processes go and how they freeze and end, not their limits.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AS_VERSION_2 = """
umount --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
before=$(cat /sys/fs/cgroup/cgroup.subtree_control)
code=0
"$@" || code=$?
for name in $(cat /sys/fs/cgroup/cgroup.subtree_control); do
    case " $before " in *" $name "*) ;; *) echo "-$name" > /sys/fs/cgroup/cgroup.subtree_control ;; esac
done
exit $code
"""
PROMISES = "killed or frozen or reboot or command_runs or start_that_fails or sees_itself"


def test_machines_keep_their_promises_on_version_2() -> None:
    tests = [sys.executable, "-m", "pytest", "-q", str(Path(__file__).with_name("test_machines.py")), "-k", PROMISES]
    alone = ["unshare", "--mount", "sh", "-c", AS_VERSION_2, "sh", *tests]
    done = subprocess.run(alone, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
