"""CloudWatch's metrics and logs."""

from __future__ import annotations

from collections.abc import Iterable

from infra.local.cloud.access.access import Access, context_of
from infra.local.cloud.access.calls import Call


def _no_resource(call: Call) -> Iterable[Access]:
    yield Access(f"{call.service}:{call.operation}")


def _put_metrics(call: Call) -> Iterable[Access]:
    yield Access("cloudwatch:PutMetricData", "*", context_of({"cloudwatch:namespace": call.params["Namespace"]}))


def _on_group(call: Call) -> Iterable[Access]:
    """A group or one stream of it: in either case the resource ends with a stream, whose name may be empty."""
    group, stream = call.params.get("logGroupName", ""), call.params.get("logStreamName", "")
    yield Access(f"logs:{call.operation}", call.arn(f"log-group:{group}:log-stream:{stream}"))


METRICS = {
    "PutMetricData": _put_metrics,
    **dict.fromkeys(("GetMetricData", "GetMetricStatistics", "ListMetrics"), _no_resource),
}
LOGS = {
    **dict.fromkeys(
        (
            "CreateLogGroup",
            "CreateLogStream",
            "DescribeLogGroups",
            "DescribeLogStreams",
            "FilterLogEvents",
            "GetLogEvents",
            "PutLogEvents",
            "PutRetentionPolicy",
        ),
        _on_group,
    ),
}
