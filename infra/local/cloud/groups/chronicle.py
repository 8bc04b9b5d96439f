"""What the groups of a region did: kept as scaling activities, told as events and by notifications."""

from __future__ import annotations

from moto.core.utils import utcnow

from infra.local.cloud.events.happenings import (
    ActionNews,
    ActivityNews,
    Place,
    Publish,
    activity_ended,
    lifecycle_action,
)
from infra.local.cloud.groups.activities import Activity
from infra.local.cloud.groups.group import Group
from infra.local.cloud.groups.hooks import LifecycleAction
from infra.local.cloud.groups.members import Member
from infra.local.cloud.groups.notifications import Notifications


class Chronicle:
    """Called with the backend's lock held; `publish` returns at once."""

    def __init__(self, publish: Publish, place: Place, notifications: Notifications) -> None:
        self._publish = publish
        self._place = place
        self._notifications = notifications
        self.activities: list[Activity] = []

    def begin(self, group: Group, description: str, cause: str, member: Member | None = None) -> Activity:
        """Note a new activity of the group."""
        activity = Activity(group.name, group.arn, description, cause)
        if member is not None:
            activity.locate(member.subnet_id, member.availability_zone)
        self.activities.append(activity)
        return activity

    def waits(self, member: Member, action: LifecycleAction) -> None:
        """The machine entered its wait state for this action."""
        group, hook = member.auto_scaling_group, action.hook
        ends = ("EC2", "AutoScalingGroup") if hook.launching else ("AutoScalingGroup", "EC2")
        news = ActionNews(
            token=action.token,
            group=group.name,
            group_arn=group.arn,
            hook=hook.name,
            instance_id=member.instance_id,
            transition=hook.lifecycle_transition,
            metadata=hook.notification_metadata,
            origin=ends[0],
            destination=ends[1],
        )
        self._publish(lifecycle_action(self._place, news, utcnow()))
        self._notifications.tell_waiting(news, hook)

    def end_for(self, member: Member, transition: str, failure: str | None = None) -> None:
        """What was under way for the machine has ended; nothing happens when nothing was."""
        activity, member.activity = member.activity, None
        if activity is not None:
            self.end(member.auto_scaling_group, activity, transition, member, failure)

    def end(
        self,
        group: Group,
        activity: Activity,
        transition: str,
        member: Member | None = None,
        failure: str | None = None,
    ) -> None:
        """The activity has ended, well unless `failure` says why not."""
        activity.end(failure)
        news = ActivityNews(
            activity_id=activity.activity_id,
            request_id=activity.request_id,
            group=group.name,
            group_arn=group.arn,
            instance_id=member.instance_id if member else "",
            transition=transition,
            successful=failure is None,
            description=activity.description,
            cause=activity.cause,
            status_message=activity.status_message,
            zone=member.availability_zone if member else "",
            subnet_id=member.subnet_id if member else "",
            started=activity.start_time,
            ended=activity.end_time or utcnow(),
        )
        self._publish(activity_ended(self._place, news))
        self._notifications.tell_ended(news, group.topics)
