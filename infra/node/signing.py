"""AWS Signature Version 4 for the calls that a machine makes: no query string, and no path that needs escaping."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Credentials:
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)


def sign(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    host: str,
    headers: dict[str, str],
    body_sha256: str,
    now: time.struct_time,
    method: str = "POST",
    path: str = "/",
) -> dict[str, str]:
    """All headers for the request, the given ones included. `body_sha256` is in hexadecimal, `now` in UTC."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", now)
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    signed = {name.lower(): value for name, value in headers.items()}
    signed.update({"host": host, "x-amz-date": moment, "x-amz-security-token": credentials.session_token})
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            path,
            "",
            *(f"{name}:{signed[name].strip()}" for name in sorted(signed)),
            "",
            names,
            body_sha256,
        ]
    )
    text = "\n".join([ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed
