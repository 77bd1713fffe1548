"""What can go wrong between the workers and the world. The producer's errors (`bakehouse.errors`) serve here too.

GatewayError
├── Refused        the API gave a definite answer: no. Nothing was created
├── Unanswered     connection lost, time out or 5xx: nobody knows whether it was done
└── Truncated      a stream of results broke before its end

SendingStopped     raised inside a body that must not be completed: the lease was lost or the sender stalled
WorkerStops        raised by work in hand when its worker was told to stop: what is held is handed back at once
"""


class GatewayError(Exception):
    """Something between us and the API. The message never holds a prompt, an answer or a key."""


class Refused(GatewayError):
    """A definite refusal. `retry_after` is seconds, if the API named any; `code` is `error.details.error_code`."""

    def __init__(
        self, status: int, error_type: str, message: str, *, retry_after: float | None = None, code: str | None = None
    ) -> None:
        super().__init__(f"{status} {error_type}: {message}")
        self.status = status
        self.error_type = error_type
        self.message = message
        self.retry_after = retry_after
        self.code = code


class Unanswered(GatewayError):
    """No definite answer. What was asked may have been done."""


class Truncated(GatewayError):
    """A stream of results broke; what was read of it stands, and reading it again doubles nothing."""


class SendingStopped(Exception):
    """The body of a create must not be completed. Raised by the body's own iterator, so no server has all of it."""


class WorkerStops(Exception):
    """This worker was told to stop. What it holds is handed back, and nothing counts as failed."""
