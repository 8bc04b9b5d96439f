"""cloud-init's job: user data that starts with `#!` is run once in an instance's life, as root.

As there, a script counts as run from its first moment: a machine that dies in the middle does not run it again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

METADATA = "http://169.254.169.254/latest"
GIVE_UP_AFTER_S = 120.0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} cloud-init: {text}", flush=True)


def request(method: str, path: str, headers: dict[str, str]) -> bytes | None:
    """The answer, None if there is no such thing; tried again while the service does not answer."""
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            asked = urllib.request.Request(f"{METADATA}/{path}", method=method, headers=headers)  # noqa: S310
            with opener.open(asked, timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            reason: Exception = error
        except OSError as error:
            reason = error
        if time.monotonic() > deadline:
            raise SystemExit(f"cloud-init: {method} {path} at the metadata service failed: {reason}")
        time.sleep(0.2)


def run(script: bytes, directory: Path) -> int:
    """The script's exit code. What it prints goes to cloud-init's log and, with the rest of the boot, to ours."""
    file = directory / "user-data.txt"
    file.write_bytes(script)
    file.chmod(0o700)
    ours, its = os.pipe()
    # At a shutdown the script ends first: it may still have something to say, and dies of a pipe without a reader.
    signal.signal(signal.SIGTERM, lambda *_: None)
    process = subprocess.Popen([str(file)], cwd="/", stdout=its, stderr=its)
    os.close(its)
    with Path("/var/log/cloud-init-output.log").open("ab", buffering=0) as log:
        while chunk := os.read(ours, 65536):
            log.write(chunk)
            os.write(sys.stdout.fileno(), chunk)
    return process.wait()


def main() -> None:
    token = request("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "600"})
    if token is None:
        raise SystemExit("cloud-init: the metadata service gives no tokens (IMDSv2).")
    headers = {"X-aws-ec2-metadata-token": token.decode()}
    instance_id = request("GET", "meta-data/instance-id", headers)
    if instance_id is None:
        raise SystemExit("cloud-init: the metadata service does not know this machine.")
    directory = Path("/var/lib/cloud/instances") / instance_id.decode()
    if directory.exists():
        say("user data was run in an earlier life of this machine")
        return
    script = request("GET", "user-data", headers)
    directory.mkdir(parents=True)
    if not script or not script.startswith(b"#!"):
        say("no script in the user data")
        return
    started_s = time.monotonic()
    code = run(script, directory)
    say(f"user data ended with exit code {code} after {time.monotonic() - started_s:.1f} s")


if __name__ == "__main__":
    main()
