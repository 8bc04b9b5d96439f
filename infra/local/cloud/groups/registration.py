"""A group's members in the target groups and classic load balancers that are attached to it."""

from __future__ import annotations

import logging

from moto.elb.models import ELBBackend
from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend

from infra.local.cloud.groups.members import Member

log = logging.getLogger(__name__)


class Registration:
    """Registers on entry into service, deregisters before the terminate hooks, as Auto Scaling does.

    It does not wait for the deregistration delay, which Auto Scaling does.
    """

    def __init__(self, elbv2: ELBv2Backend, elb: ELBBackend) -> None:
        self._elbv2 = elbv2
        self._elb = elb

    def register(self, member: Member) -> None:
        """Into every attached target group, at the target group's port, and into every classic load balancer."""
        group = member.auto_scaling_group
        if group.suspended("AddToLoadBalancer"):
            return
        for arn in group.target_group_arns:
            try:
                port = self._elbv2.target_groups[arn].port
                self._elbv2.register_targets(arn, [{"Id": member.instance_id, "Port": port}])
            except (ELBClientError, KeyError) as error:
                log.warning("%s was not registered with %s: %s", member.instance_id, arn, error)
        for name in group.load_balancer_names:
            if name in self._elb.load_balancers:
                self._elb.register_instances(name, [member.instance_id])
            else:
                log.warning("%s was not registered with %s: there is no such load balancer", member.instance_id, name)

    def deregister(self, member: Member, arns: list[str] | None = None) -> None:
        """Out of these target groups, or of all attached ones and of all classic load balancers; no error where it
        is not in.
        """
        for arn in member.auto_scaling_group.target_group_arns if arns is None else arns:
            target_group = self._elbv2.target_groups.get(arn)
            if target_group is not None and member.instance_id in target_group.targets:
                self._elbv2.deregister_targets(arn, [{"Id": member.instance_id}])
        for name in member.auto_scaling_group.load_balancer_names if arns is None else ():
            if name in self._elb.load_balancers:
                self._elb.deregister_instances(name, [member.instance_id])
