"""What can go wrong, by what there is to do about it.

    RegrowError
    ├── RetryableError       the outside did not answer as it should: hold, look again later
    │   └── ConflictError    what we looked at has changed since: look again at once
    ├── PermanentError       no retry can mend it: the message goes to the dead letters
    ├── RefusedError         we could, but must not: a guard or another holder of a lease says no
    └── ConfigurationError   a person set something wrong: names the variable and the fix

An error of an API never says that a machine is dead. Edges turn their library's errors into these, so nothing
else in the project knows botocore's or the Kubernetes client's exceptions.
"""


class RegrowError(Exception):
    """Root of all errors that Regrow raises on purpose."""


class RetryableError(RegrowError):
    """An outside call failed in a way that may pass: throttling, time-outs, 5xx, refused credentials."""


class ConflictError(RetryableError):
    """A precondition did not hold: the object has changed, or is another one of the same name."""


class PermanentError(RegrowError):
    """The same input will fail in the same way each time."""


class RefusedError(RegrowError):
    """The act is possible and not allowed now; the message says by what."""


class ConfigurationError(RegrowError):
    """A setting is missing or wrong; the message names the variable and what it must be."""
