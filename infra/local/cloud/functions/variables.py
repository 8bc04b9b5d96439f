"""The environment variables of a function, as Lambda's runtime sets them."""

from __future__ import annotations

from pathlib import Path

from infra.local.cloud.access import sessions
from infra.local.cloud.extension import REGION
from infra.local.cloud.functions.deployed import Deployed

_SESSION_S = 12 * 3600


def variables(function: Deployed, endpoint: str, code: Path, scratch: Path, log_stream: str) -> dict[str, str]:
    """Everything that the runtime and the handler see: the function's own, then those that Lambda reserves.

    The credentials are those of the function's role, assumed for this environment. `scratch` takes the place of /tmp.
    """
    session = sessions.of_function(function.name, function.arn, function.role, REGION, _SESSION_S)
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        **dict(function.variables),
        "_HANDLER": function.handler,
        "LAMBDA_TASK_ROOT": str(code),
        "PYTHONPATH": str(code),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }
