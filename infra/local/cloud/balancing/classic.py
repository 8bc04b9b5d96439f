"""Classic load balancers: moto's, where an instance is registered or not, whoever registered it."""

from __future__ import annotations

from collections.abc import Iterable

from moto.elb import models
from moto.elb.exceptions import LoadBalancerNotFoundError
from moto.elb.models import ELBBackend, LoadBalancer

from infra.local.cloud.extension import put_in_place


class ClassicELB(ELBBackend):
    """moto keeps what Auto Scaling registers apart, so that nobody else could deregister it; AWS does not."""

    def register_instances(
        self,
        load_balancer_name: str,
        instance_ids: Iterable[str],
        from_autoscaling: bool = False,  # noqa: ARG002 - moto's
    ) -> LoadBalancer:
        balancer = self._existing(load_balancer_name)
        known = balancer.instance_sparse_ids
        balancer.instance_sparse_ids = [*known, *(each for each in instance_ids if each not in known)]
        return balancer

    def deregister_instances(
        self,
        load_balancer_name: str,
        instance_ids: Iterable[str],
        from_autoscaling: bool = False,  # noqa: ARG002 - moto's
    ) -> LoadBalancer:
        """An instance that is not registered is no error."""
        balancer, gone = self._existing(load_balancer_name), set(instance_ids)
        balancer.instance_sparse_ids = [each for each in balancer.instance_sparse_ids if each not in gone]
        return balancer

    def _existing(self, name: str) -> LoadBalancer:
        if name not in self.load_balancers:
            raise LoadBalancerNotFoundError(name)
        return self.load_balancers[name]


def install() -> None:
    """Before the first backend is made."""
    put_in_place(models.elb_backends, ClassicELB)
