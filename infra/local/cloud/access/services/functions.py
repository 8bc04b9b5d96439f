"""Lambda: functions and the mappings from queues to them."""

from __future__ import annotations

from collections.abc import Iterable

from moto.awslambda.models import lambda_backends

from infra.local.cloud.access.access import Access, context_of, tags_under
from infra.local.cloud.access.calls import Call

_ACTIONS = {"Invoke": "InvokeFunction", "InvokeAsync": "InvokeFunction"}
"""Operations whose action has another name."""


def _on_function(call: Call) -> Iterable[Access]:
    """A function may be given by name, ARN or a part of the ARN; a qualifier is part of the resource."""
    given, _, within = call.params["FunctionName"].rpartition("function:")[2].partition(":")
    qualifier = call.params.get("Qualifier") or within
    arn = call.arn(f"function:{given}")
    functions = lambda_backends[call.account][call.region].list_functions()
    tags: dict[str, str] = next((each.tags for each in functions if each.function_name == given), {})
    yield Access(
        f"lambda:{_ACTIONS.get(call.operation, call.operation)}",
        f"{arn}:{qualifier}" if qualifier else arn,
        context_of(tags_under(["aws:ResourceTag"], tags)),
    )


def _on_mapping(call: Call) -> Iterable[Access]:
    yield Access(f"lambda:{call.operation}", call.arn(f"event-source-mapping:{call.params['UUID']}"))


OPERATIONS = {
    **dict.fromkeys(
        (
            "DeleteFunctionConcurrency",
            "GetFunction",
            "GetFunctionConcurrency",
            "GetFunctionConfiguration",
            "Invoke",
            "InvokeAsync",
            "PutFunctionConcurrency",
            "UpdateFunctionConfiguration",
        ),
        _on_function,
    ),
    **dict.fromkeys(("DeleteEventSourceMapping", "GetEventSourceMapping", "UpdateEventSourceMapping"), _on_mapping),
    **{
        name: lambda call: [Access(f"lambda:{call.operation}")] for name in ("ListEventSourceMappings", "ListFunctions")
    },
}
