"""The SSM Agent's job: asks Systems Manager for commands under the machine's own role and runs them as root.

Speaks the message delivery service's protocol (`ec2messages`) as the real agent does. A machine without a role, or with
one that does not allow it, has no agent as far as Systems Manager knows: this one asks again from time to time. It
begins nothing that the service does not confirm, so a command that came too late, or twice, is not run.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    from infra.node.failures import NodeError, UnreachableError
    from infra.node.metadata import Metadata
    from infra.node.signing import sign
else:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from node.failures import NodeError, UnreachableError
    from node.metadata import Metadata
    from node.signing import sign

AGENT = {"AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "AgentStatus": "Active"}
STATE = Path("/var/lib/amazon/ssm")
HEARTBEAT_S = 300.0
"""As the real agent's `HealthFrequencyMinutes`."""
ANSWER_WITHIN_S = 35.0
"""The service holds a request for messages for some 20 s."""
AFTER_FAILURE_S = 1.0
AFTER_REFUSAL_S, LONGEST_AFTER_REFUSAL_S = 30.0, 1800.0
"""A role that lacks the right may get it; each refusal doubles the pause."""
VISIBILITY_S = 10
AT_ONCE = 5
"""Commands that run at the same time (`CommandWorkersLimit`)."""
MOST_OUTPUT, MOST_ERROR = 24_000, 8_000
"""Characters that Systems Manager keeps."""
ENDED_BY_US = 137
"""The exit code that the real agent tells of a script that it has ended itself."""

_REFERENCE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class RefusedError(Exception):
    """The service said no; the text has its code."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} ssm-agent: {text}", flush=True)


class Service:
    """The two services that an agent calls, signed with the role's credentials of the moment."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self.identity = metadata.identity()

    def call(self, service: str, target: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """RefusedError, OSError when nothing usable answers, NodeError when there are no credentials."""
        region = self.identity.region
        url = os.environ.get("AWS_ENDPOINT_URL") or f"https://{service}.{region}.amazonaws.com"
        body = json.dumps(arguments).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        signed = sign(
            self._metadata.credentials(),
            service=service,
            region=region,
            host=urlsplit(url).netloc,
            headers=headers,
            body_sha256=hashlib.sha256(body).hexdigest(),
            now=time.gmtime(),
        )
        request = urllib.request.Request(url.rstrip("/") + "/", data=body, headers=signed, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:  # noqa: S310
                found: dict[str, Any] = json.loads(answer.read() or b"{}")
                return found
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise
            raise RefusedError(error.read().decode(errors="replace")) from error

    def message(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self.call("ec2messages", f"EC2WindowsMessageDeliveryService.{operation}", arguments)

    def register(self) -> None:
        said = {
            **AGENT,
            "InstanceId": self.identity.instance_id,
            "PlatformType": "Linux",
            "PlatformName": platform.system(),
            "PlatformVersion": platform.release(),
            "IPAddress": self.identity.address,
            "ComputerName": socket.gethostname(),
        }
        self.call("ssm", "AmazonSSM.UpdateInstanceInformation", said)


@dataclass
class Run:
    """One script. `cancelled` may be set before it has begun."""

    message_id: str
    process: subprocess.Popen[bytes] | None = None
    cancelled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cancel(self) -> None:
        with self.lock:
            self.cancelled = True
            if self.process is not None:
                end(self.process)


class Agent:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._runs: dict[str, Run] = {}
        self._free = threading.Semaphore(AT_ONCE)

    def work(self) -> None:
        """Registers and takes messages, for as long as the machine lives."""
        registered_s, refusals = -HEARTBEAT_S, 0
        while True:
            try:
                if time.monotonic() - registered_s >= HEARTBEAT_S:
                    self._service.register()
                    registered_s = time.monotonic()
                    say("registered")
                self._take()
                refusals = 0
            except RefusedError as error:
                pause_s = min(AFTER_REFUSAL_S * 2**refusals, LONGEST_AFTER_REFUSAL_S)
                refusals += 1
                say(f"refused, again in {pause_s:.0f} s: {error}")
                time.sleep(pause_s)
            except (OSError, ValueError, UnreachableError) as error:
                say(f"no usable answer: {error}")
                time.sleep(AFTER_FAILURE_S)
            except NodeError as error:
                say(f"no credentials: {error}")
                time.sleep(AFTER_REFUSAL_S)

    def _take(self) -> None:
        answer = self._service.message(
            "GetMessages",
            Destination=self._service.identity.instance_id,
            MessagesRequestId=str(uuid4()),
            VisibilityTimeoutInSeconds=VISIBILITY_S,
        )
        for message in answer["Messages"]:
            name, payload = message["MessageId"], json.loads(message["Payload"])
            try:
                self._service.message("AcknowledgeMessage", MessageId=name)
            except RefusedError as error:
                say(f"{name} is not run: {error}")
                continue
            if message["Topic"].startswith("aws.ssm.cancelCommand"):
                if run := self._runs.get(payload["CancelMessageId"]):
                    run.cancel()
                continue
            run = self._runs[name] = Run(name)
            threading.Thread(target=self._perform, args=(run, payload), daemon=True).start()

    def _perform(self, run: Run, payload: dict[str, Any]) -> None:
        say(f"{run.message_id} begins: {payload['DocumentName']}")
        step = payload["DocumentContent"]["mainSteps"][0]
        with self._free:
            try:
                outcome = execute(run, step["inputs"], payload["Parameters"], self._service.identity.instance_id)
            except Exception as error:  # whatever it is, the service must hear of an end
                outcome = {"status": "Failed", "code": 1, "standardOutput": "", "standardError": repr(error)}
        say(f"{run.message_id} ended: {outcome['status']}, exit code {outcome['code']}")
        reply = {"documentStatus": outcome["status"], "runtimeStatus": {step["name"]: outcome}}
        self._reply(run.message_id, json.dumps(reply))
        del self._runs[run.message_id]

    def _reply(self, message_id: str, payload: str) -> None:
        reply_id = str(uuid4())
        while True:
            try:
                self._service.message("SendReply", MessageId=message_id, Payload=payload, ReplyId=reply_id)
            except RefusedError as error:
                say(f"nobody waits for {message_id}: {error}")
                return
            except (OSError, ValueError, NodeError) as error:
                say(f"the reply to {message_id} is not delivered yet: {error}")
                time.sleep(AFTER_FAILURE_S)
            else:
                return


def execute(run: Run, inputs: dict[str, Any], parameters: dict[str, Any], instance_id: str) -> dict[str, Any]:
    """Runs the step's script to its end, or ends it with all that it has started."""
    within_s = float(filled(str(inputs.get("timeoutSeconds", 3600)), parameters))
    STATE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATE) as directory:
        script, output, error = (Path(directory) / name for name in ("_script.sh", "stdout", "stderr"))
        script.write_text("\n".join(script_lines(inputs["runCommand"], parameters)) + "\n")
        with output.open("wb") as out, error.open("wb") as err, run.lock:
            if not run.cancelled:
                run.process = subprocess.Popen(
                    ["sh", str(script)],
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, "AWS_SSM_INSTANCE_ID": instance_id},
                    start_new_session=True,
                )
        late = False
        code = ENDED_BY_US
        if run.process is not None:
            try:
                code = run.process.wait(within_s)
            except subprocess.TimeoutExpired:
                late = True
                end(run.process)
                run.process.wait()
        status = "Cancelled" if run.cancelled else "TimedOut" if late else "Success" if code == 0 else "Failed"
        return {
            "status": status,
            "code": ENDED_BY_US if late or run.cancelled else code,
            "standardOutput": beginning(output, MOST_OUTPUT),
            "standardError": beginning(error, MOST_ERROR),
        }


def script_lines(given: list[str] | str, parameters: dict[str, Any]) -> list[str]:
    """The script, each reference replaced by its parameter's value. A list may stand where all the lines would."""
    if isinstance(given, list):
        return [filled(line, parameters) for line in given]
    whole = _REFERENCE.fullmatch(given.strip())
    value = parameters.get(whole[1]) if whole else None
    return value if isinstance(value, list) else [filled(given, parameters)]


def filled(text: str, parameters: dict[str, Any]) -> str:
    """Values are put in as they are and not looked through for references again."""

    def value(found: re.Match[str]) -> str:
        held = parameters.get(found[1], found[0])
        return json.dumps(held) if isinstance(held, list) else str(held)

    return _REFERENCE.sub(value, text)


def beginning(file: Path, characters: int) -> str:
    """No more is read than may be sent; a character has at most four bytes."""
    if not file.exists():
        return ""
    with file.open("rb") as content:
        return content.read(4 * characters).decode(errors="replace")[:characters]


def end(process: subprocess.Popen[bytes]) -> None:
    """With everything of its session that it has not put into one of its own."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main() -> None:
    while True:
        try:
            service = Service(Metadata())
        except NodeError as error:
            say(f"this machine does not know who it is: {error}")
            time.sleep(AFTER_REFUSAL_S)
        else:
            Agent(service).work()


if __name__ == "__main__":
    main()
