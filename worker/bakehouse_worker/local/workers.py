"""Several workers under one command, for hosts without a process manager: each queue in a process of its own, restarted if it dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from bakehouse_worker import log, schema
from bakehouse_worker.local.home import prepare_home
from bakehouse_worker.local.supervise import Child, Supervisor
from bakehouse_worker.runtime import make
from bakehouse_worker.settings import Settings
from bakehouse_worker.store.database import reach

#: Seconds beyond STOP_GRACE that a worker has to end.
MARGIN = 5.0


def keep(queues: Sequence[str], concurrency: int | None, settings: Settings) -> None:
    """Run a worker per queue until interrupted. Raises ConfigurationError at once if the database cannot be used."""
    log.configure()
    prepare_home(settings.data_dir)
    database = make(settings).database
    reach(database)
    schema.ensure(database, auto_migrate=settings.auto_migrate)
    database.close()
    supervisor = Supervisor()
    some = [] if concurrency is None else ["--concurrency", str(concurrency)]
    try:
        for queue in dict.fromkeys(queues):
            argv = [sys.executable, "-m", "bakehouse_worker", "worker", "--queues", queue, *some]
            supervisor.start(Child(queue, argv, dict(os.environ), None))
        while True:
            supervisor.tend()
            time.sleep(0.5)
    except KeyboardInterrupt:
        log.logger("worker").info("stopping", queues=list(queues), seconds=settings.stop_grace)
    finally:
        supervisor.stop(settings.stop_grace + MARGIN)
