"""A CloudFormation stack that is as its template says, or an error that names the resource in the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from infra.deployment.failure import DeploymentError

Say = Callable[[str], None]
SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
EMPTY_SHELL = ("ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS")
WAIT_S = 1800.0
NAMED_ROLES = ["CAPABILITY_NAMED_IAM"]


def ensure_stack(
    cloudformation: Any, name: str, template: str, parameters: Mapping[str, str], say: Say
) -> dict[str, str]:
    """Create the stack, update it, or find it fitting; its outputs."""
    stack = describe(cloudformation, name)
    if stack is not None and stack["StackStatus"].endswith("_IN_PROGRESS"):
        say(f"stack {name} is busy ({stack['StackStatus']}): waiting")
        stack = settled(cloudformation, name)
    if stack is not None and stack["StackStatus"] in EMPTY_SHELL:
        say(f"stack {name} is the shell of a failed creation: deleting it")
        remove_stack(cloudformation, name, say)
        stack = None
    wanted = [{"ParameterKey": key, "ParameterValue": value} for key, value in sorted(parameters.items())]
    arguments = {
        "StackName": name,
        "TemplateBody": template,
        "Parameters": wanted,
        "Capabilities": NAMED_ROLES,
    }
    if stack is None:
        say(f"creating stack {name}")
        cloudformation.create_stack(**arguments)
    elif fits(cloudformation, stack, template, parameters):
        say(f"stack {name} fits")
        return outputs(stack)
    else:
        say(f"updating stack {name}")
        try:
            cloudformation.update_stack(**arguments)
        except ClientError as refusal:
            if "No updates are to be performed" not in str(refusal):
                raise
    stack = settled(cloudformation, name)
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise DeploymentError(f"stack {name} ended as {stack['StackStatus']}: {first_failure(cloudformation, name)}")
    return outputs(stack)


def remove_stack(cloudformation: Any, name: str, say: Say) -> None:
    """Delete the stack and wait until it is gone. One that is not there is gone."""
    stack = describe(cloudformation, name)
    if stack is None:
        say(f"stack {name} is not there")
        return
    stack_id = stack["StackId"]  # a deleted stack still answers to its id
    say(f"deleting stack {name}")
    cloudformation.delete_stack(StackName=name)
    gone = settled(cloudformation, stack_id, may_vanish=True)
    if gone and gone["StackStatus"] != "DELETE_COMPLETE":
        raise DeploymentError(f"stack {name} ended as {gone['StackStatus']}: {first_failure(cloudformation, stack_id)}")


def describe(cloudformation: Any, name: str) -> dict[str, Any] | None:
    try:
        found = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as refusal:
        if "does not exist" in str(refusal):
            return None
        raise
    live = [stack for stack in found if stack["StackStatus"] != "DELETE_COMPLETE"]
    return live[0] if live else None


def settled(cloudformation: Any, name: str, *, may_vanish: bool = False) -> dict[str, Any]:
    """The stack once nothing is in progress; an empty answer for one that vanished where that is allowed."""
    deadline = time.monotonic() + WAIT_S
    pause_s = 0.2
    while True:
        stack = describe(cloudformation, name)
        if stack is None:
            if may_vanish:
                return {}
            raise DeploymentError(f"stack {name} vanished while it was being made; deploy again")
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            return stack
        if time.monotonic() >= deadline:
            raise DeploymentError(f"stack {name} is still {stack['StackStatus']} after {WAIT_S:.0f} s; see its events")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 5.0)


def fits(cloudformation: Any, stack: Mapping[str, Any], template: str, parameters: Mapping[str, str]) -> bool:
    """Whether an update would change nothing: settled, same template, same parameters where we name them."""
    if stack["StackStatus"] not in SETTLED or stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE":
        return False
    given = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])}
    if any(given.get(key) != value for key, value in parameters.items()):
        return False
    body = cloudformation.get_template(StackName=stack["StackName"], TemplateStage="Original")["TemplateBody"]
    return bool(body == template)


def outputs(stack: Mapping[str, Any]) -> dict[str, str]:
    return {entry["OutputKey"]: entry["OutputValue"] for entry in stack.get("Outputs", [])}


def first_failure(cloudformation: Any, name: str) -> str:
    """The event that began it: later failures are mostly cancellations because of the first."""
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    failed = [event for event in reversed(events) if event["ResourceStatus"].endswith("_FAILED")]
    if not failed:
        return "no event says why"
    first = failed[0]
    return f"{first['LogicalResourceId']} ({first['ResourceType']}): {first.get('ResourceStatusReason', 'no reason')}"
