"""The functions: which environment runs an invocation, when one starts cold, and when one is thrown away."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from moto.awslambda.exceptions import UnknownFunctionException

from infra.local.cloud.functions.asynchronous import AsynchronousQueue
from infra.local.cloud.functions.deployed import Deployed, deployed
from infra.local.cloud.functions.emulation import Answer, Emulator, Environment
from infra.local.cloud.functions.function_log import FunctionLog
from infra.local.cloud.functions.invocation import Invocation, ThrottledError
from infra.local.cloud.functions.packages import Packages
from infra.local.cloud.functions.variables import variables

log = logging.getLogger(__name__)

# Lambda's limit for an account, shared by all functions without a reservation.
ACCOUNT_CONCURRENCY = 1000
_REAPER_PERIOD_S = 0.5


@dataclass(eq=False)
class _Running:
    """An environment with what it was made from."""

    id: str
    made_from: Deployed
    environment: Environment
    log: FunctionLog
    scratch: Path
    busy: bool = True
    idle_since: float = 0.0
    killed: threading.Event = field(default_factory=threading.Event)

    def end(self) -> None:
        self.environment.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Functions:
    """Runs what is deployed in moto's Lambda. Thread-safe; each invocation occupies the calling thread."""

    def __init__(
        self,
        state: Path,
        endpoint: str,
        emulator: Emulator,
        retry_after_s: tuple[float, float] = (60.0, 120.0),
        idle_s: float = 300.0,
    ) -> None:
        """`state` is the world's directory, `endpoint` where the functions reach AWS.

        `retry_after_s`: before the retries of asynchronous invocations. `idle_s`: how long a warm environment is kept.
        """
        self._state = state
        self._endpoint = endpoint
        self._emulator = emulator
        self._idle_s = idle_s
        self._packages = Packages(state / "functions" / "packages")
        self._pool: dict[str, list[_Running]] = {}
        self._starting: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        # One thread for life starts all emulators: they end when it does (see Environment.start).
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="emulators")
        self._reaper = threading.Thread(target=self._reap, name="environments", daemon=True)
        self._queue = AsynchronousQueue(self.invoke, retry_after_s)

    def start(self) -> None:
        self._reaper.start()

    def stop(self) -> None:
        """Kill every environment, whatever it does, and take no more invocations."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._queue.stop()
        with self._lock:
            everything = [running for pool in self._pool.values() for running in pool]
            self._pool.clear()
        for running in everything:
            running.end()
        self._starter.shutdown()
        if self._reaper.ident is not None:
            self._reaper.join()

    def invoke(self, name_or_arn: str, payload: bytes, asynchronous: bool = False) -> Invocation:
        """Run the function; an asynchronous one is only queued, and retried as Lambda does.

        ThrottledError when its concurrency is used up, PackageRefusedError when its code is not what was deployed,
        moto's UnknownFunctionException when there is no such function.
        """
        function = deployed(name_or_arn)
        if asynchronous:
            return Invocation(request_id=self._queue.put(function.arn, payload))
        running, cold = self._take(function)
        request_id = str(uuid4())
        try:
            return self._run(running, cold, payload, request_id)
        finally:
            self._give_back(running)

    def prepare(self, name_or_arn: str) -> None:
        """Unpack the function's package ahead of its first invocation, as Lambda does while a function is Pending."""
        function = deployed(name_or_arn)
        self._packages.unpacked(function.name, function.code, function.code_sha256)

    def kill_running(self, function: str) -> int:
        """SIGKILL every environment of the function that is at work, as a crash of its host would. Returns how many."""
        name = deployed(function).name
        with self._lock:
            victims = [running for running in self._pool.get(name, []) if running.busy]
        for running in victims:
            running.killed.set()
            running.environment.kill()
        return len(victims)

    def running(self) -> dict[str, int]:
        """How many environments of each function exist, at work or warm."""
        with self._lock:
            return {name: len(pool) for name, pool in self._pool.items() if pool}

    def _take(self, function: Deployed) -> tuple[_Running, bool]:
        with self._lock:
            if self._stopping.is_set():
                raise ThrottledError(function.name, "the functions are being stopped")
            pool = self._pool.setdefault(function.name, [])
            busy = sum(running.busy for running in pool) + self._starting[function.name]
            limit = ACCOUNT_CONCURRENCY if function.reserved_concurrency is None else function.reserved_concurrency
            if busy >= limit:
                raise ThrottledError(function.name, f"{busy} of {limit} concurrent executions are in use")
            for running in reversed(pool):
                if not running.busy and running.made_from == function and running.environment.alive:
                    running.busy = True
                    return running, False
            self._starting[function.name] += 1
        try:
            return self._started(function), True
        finally:
            with self._lock:
                self._starting[function.name] -= 1

    def _started(self, function: Deployed) -> _Running:
        running = self._made(function)
        try:
            self._starter.submit(running.environment.start).result()
            with self._lock:
                if self._stopping.is_set():
                    raise ThrottledError(function.name, "the functions are being stopped")
                self._pool.setdefault(function.name, []).append(running)
        except BaseException:
            running.end()
            raise
        return running

    def _made(self, function: Deployed) -> _Running:
        environment_id = uuid4().hex
        code = self._packages.unpacked(function.name, function.code, function.code_sha256)
        scratch = self._state / "functions" / "scratch" / environment_id
        scratch.mkdir(parents=True)
        file = self._state / "log" / "functions" / f"{function.name}.log"
        function_log = FunctionLog(function.name, function.version, environment_id, file)
        environment = Environment(
            self._emulator,
            function.handler,
            code,
            variables(function, self._endpoint, code, scratch, function_log.stream),
            function.timeout_s,
            function_log.line,
        )
        return _Running(environment_id, function, environment, function_log, scratch)

    def _run(self, running: _Running, cold: bool, payload: bytes, request_id: str) -> Invocation:
        running.log.begin(request_id)
        began = time.monotonic()
        answer = running.environment.invoke(payload or b"{}", request_id)
        duration_s = time.monotonic() - began
        if answer.broken:
            # Its last lines are read to the end before the report is written.
            running.killed.set()
            running.environment.kill()
        init_s = running.environment.init_s if cold else None
        tail = running.log.end(request_id, duration_s, running.made_from.memory_mb, init_s, _verdict(answer))
        return Invocation(
            payload=answer.payload,
            error=answer.error,
            log=tail,
            cold=cold,
            duration_s=duration_s,
            init_s=init_s,
            environment_id=running.id,
            request_id=request_id,
        )

    def _give_back(self, running: _Running) -> None:
        usable = not running.killed.is_set() and running.environment.alive and not self._outdated(running)
        with self._lock:
            running.busy = False
            running.idle_since = time.monotonic()
            pool = self._pool.get(running.made_from.name, [])
            if usable and running in pool:
                return
            if running in pool:
                pool.remove(running)
        running.end()

    def _outdated(self, running: _Running) -> bool:
        try:
            return deployed(running.made_from.arn) != running.made_from
        except UnknownFunctionException:
            return True

    def _reap(self) -> None:
        while not self._stopping.wait(_REAPER_PERIOD_S):
            with self._lock:
                waiting = [running for pool in self._pool.values() for running in pool if not running.busy]
            now = time.monotonic()
            for running in waiting:
                if now - running.idle_since > self._idle_s or self._outdated(running):
                    self._retire(running)

    def _retire(self, running: _Running) -> None:
        with self._lock:
            pool = self._pool.get(running.made_from.name, [])
            if running.busy or running not in pool:
                return
            pool.remove(running)
        running.end()


def _verdict(answer: Answer) -> str:
    if b"Task timed out after" in answer.payload and answer.broken:
        return "\tStatus: timeout"
    return f"\tStatus: error\tError Type: {answer.error}" if answer.broken else ""
