"""Command documents: schema version 2.2 with one step, `aws:runShellScript` (Systems Manager user guide, "Schemas")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.commands.refusals import InvalidDocumentError, InvalidParametersError

SCHEMA = "2.2"
ACTION = "aws:runShellScript"
EXECUTION_TIMEOUT_S = 3600
"""Where the step says nothing ("Command document plugin reference")."""

Values = Mapping[str, Sequence[str]]
"""Each parameter's values, as SendCommand has them: a String has one."""

_REFERENCE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Parameter:
    """`default` is None where whoever sends a command must give a value."""

    name: str
    several: bool
    default: Sequence[str] | None
    allowed_values: frozenset[str] | None
    allowed_pattern: re.Pattern[str] | None

    @classmethod
    def parse(cls, name: str, given: Mapping[str, Any]) -> Parameter:
        kind = given.get("type")
        if kind not in ("String", "StringList"):
            raise InvalidDocumentError(f"Parameter {name} is of type {kind}, which the local AWS does not know.")
        default, allowed, pattern = given.get("default"), given.get("allowedValues"), given.get("allowedPattern")
        if default is not None:
            default = [str(each) for each in default] if kind == "StringList" else [str(default)]
        return cls(
            name=name,
            several=kind == "StringList",
            default=default,
            allowed_values=None if allowed is None else frozenset(map(str, allowed)),
            allowed_pattern=None if pattern is None else re.compile(pattern),
        )

    def checked(self, given: Sequence[str] | None) -> Sequence[str]:
        """The values that a command has, or InvalidParameters. The document's own default needs no check."""
        if given is None:
            if self.default is None:
                raise InvalidParametersError(f"Parameter {self.name} is required.")
            return self.default
        if not self.several and len(given) != 1:
            raise InvalidParametersError(f"Parameter {self.name} takes one value, not {len(given)}.")
        for value in given:
            if self.allowed_values is not None and value not in self.allowed_values:
                allowed = ", ".join(sorted(self.allowed_values))
                raise InvalidParametersError(f"Parameter {self.name} has a value that is none of: {allowed}.")
            if self.allowed_pattern is not None and not self.allowed_pattern.fullmatch(value):
                pattern = self.allowed_pattern.pattern
                raise InvalidParametersError(f"Parameter {self.name} has a value that does not match {pattern}.")
        return given


@dataclass(frozen=True)
class CommandDocument:
    """`content` is what the agent gets: it puts the values in and runs the step itself."""

    step: str
    parameters: Mapping[str, Parameter]
    content: Mapping[str, Any]

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> CommandDocument:
        """InvalidDocument for one that cannot be run here."""
        steps = content.get("mainSteps") or []
        if str(content.get("schemaVersion")) != SCHEMA or [step.get("action") for step in steps] != [ACTION]:
            raise InvalidDocumentError(f"The local AWS runs documents of schema {SCHEMA} with one step, {ACTION}.")
        declared = (content.get("parameters") or {}).items()
        parameters = {name: Parameter.parse(name, given) for name, given in declared}
        return cls(str(steps[0].get("name", "")), parameters, content)

    def values(self, given: Values) -> Values:
        """What the command runs with, or InvalidParameters."""
        if unknown := given.keys() - self.parameters.keys():
            raise InvalidParametersError(f"The document has no parameter {sorted(unknown)[0]}.")
        return {name: parameter.checked(given.get(name)) for name, parameter in self.parameters.items()}

    def execution_timeout_s(self, values: Values) -> int:
        """How long the script may run: a number, or a reference to a parameter."""
        text = str(self.content["mainSteps"][0].get("inputs", {}).get("timeoutSeconds", EXECUTION_TIMEOUT_S))
        filled = _REFERENCE.sub(lambda found: "".join(values.get(found[1], [found[0]])), text)
        if not filled.isdigit():
            raise InvalidParametersError(f"timeoutSeconds is {filled!r}, which is no number of seconds.")
        return int(filled)
