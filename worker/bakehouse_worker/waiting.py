"""The lease of a sender that waits for the API's answer. Part of station 3, submit.

While the body streams, its iterator renews the lease, so that an upload that hangs loses it. After the last byte nothing streams,
and the answer may take CREATE_TIMEOUT: a thread renews then, so that a sender that dies there is noticed within LEASE.
"""

from __future__ import annotations

import threading
from types import TracebackType

from bakehouse_worker.log import logger
from bakehouse_worker.runtime import Runtime
from bakehouse_worker.store import submissions
from bakehouse_worker.store.submissions import Sending

log = logger("submit")


class Waiting:
    """`with Waiting(runtime, sending):` around a create. Renews only once `closing` is committed."""

    def __init__(self, runtime: Runtime, sending: Sending) -> None:
        self._runtime = runtime
        self._sending = sending
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease of batch {sending.batch_id}", daemon=True)

    def __enter__(self) -> Waiting:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answered.set()
        self._thread.join()

    def _renew(self) -> None:
        lease = self._runtime.settings.lease
        while not self._answered.wait(lease / 4):
            try:
                submissions.keep_closing(self._runtime.database, self._sending, lease)
            except Exception as error:  # the database is away; if it stays so, the lease runs out, as it should
                log.warning("lease not renewed", batch=self._sending.batch_id, reason=type(error).__name__)
