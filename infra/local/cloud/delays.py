"""How long AWS takes for what it does by itself. Two presets: `instant` to test quickly, `aws` to measure honestly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Delays:
    """Every wait that this AWS puts in by itself, in seconds. A figure names the preset that it was measured with."""

    name: str
    pending_s: float
    """From RunInstances or StartInstances until the machine is switched on."""
    shutting_down_s: float
    """At least this long in `shutting-down`; the operating system's own shutdown counts towards it."""
    shutting_down_skip_os_s: float
    """The same after TerminateInstances with SkipOsShutdown: the plug is pulled at once."""
    stopping_s: float
    """At least this long in `stopping`."""
    os_shutdown_grace_s: float
    """How long the operating system may take to end before the plug is pulled."""
    terminated_described_s: float
    """How long DescribeInstances still knows a terminated instance."""
    status_initializing_s: float
    """From `running` until the status checks pass."""
    status_check_s: float
    """Between two status checks of an instance; a second failure in a row makes it impaired."""
    autoscaling_notice_s: float
    """Until a group notices that one of its machines ended behind its back."""
    autoscaling_step_s: float
    """Between two steps that a group takes by itself."""
    autoscaling_retry_s: float
    """After a launch that failed, until the group tries again."""
    hook_second_s: float
    """How long one second of a lifecycle hook's timeout lasts. Other than 1 only in tests: the least is 30 s."""
    notice_second_s: float
    """How long one second of a Spot interruption's notice lasts. Other than 1 only in tests: the least is 2 min."""
    command_second_s: float
    """How long one second of a command's timeouts and of an agent's heartbeat lasts. Other than 1 only in tests."""
    deregistration_s: float
    """The deregistration delay of a target group for which nobody has set one."""
    eventbridge_s: float
    """From an event to its delivery to a rule's targets."""
    poller_s: float
    """From a message becoming visible to a queue mapping picking it up."""
    async_retry_s: tuple[float, float]
    """Before the first and second retry of an asynchronous invocation that failed."""

    @classmethod
    def named(cls, name: str) -> Delays:
        """The preset of this name; ValueError names the choices."""
        presets = {preset.name: preset for preset in (INSTANT, AWS)}
        if name not in presets:
            raise ValueError(f"There are no delays named '{name}'; choose one of: {', '.join(sorted(presets))}.")
        return presets[name]


INSTANT = Delays(
    name="instant",
    pending_s=0.0,
    shutting_down_s=0.0,
    shutting_down_skip_os_s=0.0,
    stopping_s=0.0,
    os_shutdown_grace_s=2.0,
    # Never shortened: proof of death rests on EC2 still knowing the machine.
    terminated_described_s=3600.0,
    status_initializing_s=0.0,
    status_check_s=1.0,
    autoscaling_notice_s=0.0,
    autoscaling_step_s=0.0,
    autoscaling_retry_s=1.0,
    hook_second_s=1.0,
    notice_second_s=1.0,
    command_second_s=1.0,
    deregistration_s=0.0,
    eventbridge_s=0.0,
    poller_s=0.0,
    async_retry_s=(1.0, 2.0),
)

AWS = Delays(
    name="aws",
    # Current-generation instances are commonly seen `running` some 10 s after RunInstances.
    pending_s=10.0,
    # Commonly seen; a clean Linux shutdown takes most of it.
    shutting_down_s=30.0,
    # EC2 user guide, "Terminate Amazon EC2 instances": without the OS shutdown it ends sooner; no figure is given.
    shutting_down_skip_os_s=3.0,
    stopping_s=30.0,
    # EC2 user guide: forced "after a few minutes".
    os_shutdown_grace_s=120.0,
    # EC2 user guide: a terminated instance stays visible "for a short while", usually under an hour.
    terminated_described_s=3600.0,
    # EC2 user guide: status checks run every minute, and a new instance needs a few of them.
    status_initializing_s=120.0,
    # EC2 user guide, "Status checks for Amazon EC2 instances": every minute. That two must fail is commonly seen, as
    # in AWS' own advice for alarms on them (two periods of a minute); so some 60 to 120 s.
    status_check_s=60.0,
    # EC2 status is looked at about once a minute: half of it on average.
    autoscaling_notice_s=30.0,
    autoscaling_step_s=1.0,
    # Auto Scaling user guide: a failed launch is tried again, less often each time, from about a minute on.
    autoscaling_retry_s=60.0,
    hook_second_s=1.0,
    notice_second_s=1.0,
    command_second_s=1.0,
    # Elastic Load Balancing user guides, "Deregistration delay": the default.
    deregistration_s=300.0,
    # EventBridge user guide: "about half a second" typically.
    eventbridge_s=0.5,
    # Lambda developer guide: the pollers long-poll, so a message is found as soon as it is visible.
    poller_s=0.2,
    # Lambda developer guide: one minute before the second attempt, two before the third.
    async_retry_s=(60.0, 120.0),
)
