"""Asking a target whether it is well: a TCP connection, or an HTTP or HTTPS request."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from infra.local.cloud.balancing.targets import Failure, HealthCheck, code_matches

TIMED_OUT = Failure("Target.Timeout", "Request timed out")
FAILED = Failure("Target.FailedHealthChecks", "Health checks failed")


def _any_certificate() -> ssl.SSLContext:
    # Elastic Load Balancing does not verify the certificates of targets.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_TLS = _any_certificate()


async def probe(check: HealthCheck, address: str | None, port: int) -> Failure | None:
    """One check; None if the target passed. What has no address answers nothing, not even with a refusal."""
    if address is None:
        await asyncio.sleep(check.timeout_s)
        return TIMED_OUT
    try:
        # Not wait_for: before Python 3.12 it loses a cancellation that comes with the answer, and its task never ends.
        async with asyncio.timeout(check.timeout_s):
            return await _ask(check, address, check.port or port)
    except TimeoutError:
        return TIMED_OUT
    except (OSError, ValueError, EOFError):
        return FAILED


async def _ask(check: HealthCheck, address: str, port: int) -> Failure | None:
    tls = _TLS if check.protocol in ("HTTPS", "TLS") else None
    reader, writer = await asyncio.open_connection(address, port, ssl=tls)
    try:
        if check.protocol not in ("HTTP", "HTTPS"):
            return None
        head = (f"GET {check.path} HTTP/1.1", f"Host: {address}:{port}", "User-Agent: ELB-HealthChecker/2.0")
        writer.write("\r\n".join((*head, "Connection: close", "", "")).encode())
        status = (await reader.readuntil(b"\r\n")).split()
        code = int(status[1])
        if code_matches(code, check.codes):
            return None
        return Failure("Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
