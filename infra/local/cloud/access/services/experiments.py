"""AWS Fault Injection Service: its templates and experiments. What an experiment does, its own role must be allowed."""

from __future__ import annotations

from collections.abc import Iterable

from moto.fis.models import fis_backends

from infra.local.cloud.access.access import Access, context_of, request_tags, tags_under
from infra.local.cloud.access.calls import Call


def _create(call: Call) -> Iterable[Access]:
    """Also the actions that the template names are resources of it."""
    given = context_of(request_tags(call.params.get("tags") or {}))
    yield Access("fis:CreateExperimentTemplate", call.arn("experiment-template/*"), given)
    for action in sorted({each["actionId"] for each in call.params["actions"].values()}):
        yield Access("fis:CreateExperimentTemplate", call.arn(f"action/{action}"), given)


def _start(call: Call) -> Iterable[Access]:
    """The template is started, and the experiment that comes of it is tagged."""
    given = request_tags(call.params.get("tags") or {})
    for resource in (f"experiment-template/{call.params['experimentTemplateId']}", "experiment/*"):
        access = _access(call, resource)
        yield Access(access.action, access.resource, context_of(access.context, given))


def _on_template(call: Call) -> Iterable[Access]:
    yield _access(call, f"experiment-template/{call.params['id']}")


def _on_experiment(call: Call) -> Iterable[Access]:
    yield _access(call, f"experiment/{call.params['id']}")


def _access(call: Call, resource: str) -> Access:
    arn = call.arn(resource)
    held = fis_backends[call.account][call.region].tagger.get_tag_dict_for_resource(arn)
    return Access(f"fis:{call.operation}", arn, context_of(tags_under(["aws:ResourceTag"], held)))


OPERATIONS = {
    "CreateExperimentTemplate": _create,
    "StartExperiment": _start,
    **dict.fromkeys(("DeleteExperimentTemplate", "GetExperimentTemplate", "UpdateExperimentTemplate"), _on_template),
    **dict.fromkeys(("GetExperiment", "StopExperiment"), _on_experiment),
    **{name: lambda call: [Access(f"fis:{call.operation}")] for name in ("ListExperimentTemplates", "ListExperiments")},
}
