"""Structured log and metrics, by Powertools: one JSON line each, metrics in CloudWatch's embedded format."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit


class JournalEdge:
    """What a function tells of itself. Dimensions stay few: the cluster and the function, never a machine."""

    def __init__(self, *, cluster: str, function: str) -> None:
        self._logger = Logger(service=f"regrow-{function}")
        self._logger.append_keys(cluster=cluster)
        self._metrics = Metrics(namespace="Regrow", service=f"regrow-{function}")
        self._metrics.set_default_dimensions(cluster=cluster)

    def tell(self, what: str, **fields: object) -> None:
        self._logger.info(what, extra=fields)

    def count(self, what: str) -> None:
        self._metrics.add_metric(name=what, unit=MetricUnit.Count, value=1)

    def flush(self) -> None:
        if self._metrics.metric_set:  # an empty one would bring a warning into the log each time
            self._metrics.flush_metrics()
