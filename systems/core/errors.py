"""Every error a user can meet, as one tree.

AeError                      what failed, and the next thing to do
├── UsageError               exit 2   a wrong argument, name or file
├── ClaimNotMet              exit 3   `ae check` only
├── PrerequisiteError        exit 4   something this machine lacks
├── MeasurementInvalid       exit 5   a run that cannot be believed
├── NodeUnreachable          exit 6   a machine reached by SSH
├── ServerFailed             exit 1   a server process died or never became ready
└── RequestRejected          exit 1   one request cannot be served; carries its HTTP status
    ├── BadRequest           400
    ├── PromptTooLong        400
    ├── QueueFull            429
    └── OutOfMemory          503

`assert` is kept for invariants of our own; bad input always raises one of these.
"""

from __future__ import annotations

from typing import ClassVar


class AeError(Exception):
    """An expected failure: `what` went wrong and how to `fix` it, in two plain sentences."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what} {fix}".strip())
        self.what = what
        self.fix = fix


class UsageError(AeError):
    """A wrong argument, name or file."""

    exit_code = 2


class ClaimNotMet(AeError):
    """At least one claim that can be tested here was not met."""

    exit_code = 3


class PrerequisiteError(AeError):
    """Something this machine lacks: a package, a compiler, a GPU, disk."""

    exit_code = 4


class MeasurementInvalid(AeError):
    """A measurement ran but cannot be believed; the reason carries the remedy."""

    exit_code = 5


class NodeUnreachable(AeError):
    """A machine reached by SSH does not answer."""

    exit_code = 6


class ServerFailed(AeError):
    """A server process died or never became ready."""


class RequestRejected(AeError):
    """One request cannot be served; the engine lives on."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"


class BadRequest(RequestRejected):
    """A field that is wrong or not supported."""

    status = 400
    kind = "invalid_request_error"


class PromptTooLong(BadRequest):
    """Prompt plus max_tokens exceed the context window or the KV memory."""


class QueueFull(RequestRejected):
    """More live requests than the server was told to hold."""

    status = 429
    kind = "rate_limit_error"


class OutOfMemory(RequestRejected):
    """The machine ran out of memory while serving this request."""

    status = 503
