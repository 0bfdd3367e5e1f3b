"""Lanes: threads that each own one connection and do one transaction after the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ketchup.db.faults import Fault, fault_of
from ketchup.errors import Unavailable

Result = TypeVar("Result")

COLLISION_TRIES: Final = 10
BUSY: Final = "the service is busy; try again shortly"
DOWN: Final = "the store is unavailable; try again shortly"


class Raised:
    """A call's exception, carried as a value from a lane to the event loop."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Lane:
    """One thread, one connection, one job at a time, in order."""

    def __init__(
        self, name: str, engine: Engine, *, after: Callable[[Connection], None] | None = None
    ) -> None:
        """Start the thread. `after` is called behind each commit, and must not raise."""
        self._engine = engine
        self._after = after
        self._connection: Connection | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._is_busy = False
        self._refusing = False
        self._finished = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def require_open(self) -> None:
        """Raise Unavailable once the lane is being closed."""
        if self._refusing:
            raise Unavailable(DOWN)

    @property
    def waiting(self) -> int:
        """How many jobs are in the queue."""
        return self._jobs.qsize()

    @property
    def load(self) -> int:
        """How many jobs are in the queue or being done."""
        return self.waiting + self._is_busy

    def put(self, job: Callable[[], None]) -> None:
        """Queue a job: on the event loop after `require_open`, or from another job at any time."""
        self._jobs.put(job)

    def attempt(self, work: Callable[[Connection], Result]) -> Result | Raised:
        """Run `work` in one transaction; on the lane's own thread only."""
        try:
            result = self._transact(work)
        except DBAPIError as error:
            fault = fault_of(error)
            if fault is Fault.MISTAKE:
                return Raised(error)
            if fault is Fault.DOWN:
                self._discard()
            unavailable = Unavailable(DOWN)
            unavailable.__cause__ = error
            return Raised(unavailable)
        except Exception as error:  # noqa: BLE001 it is raised again where the call is awaited
            return Raised(error)
        if self._after is not None:
            self._after(self._connected())
        return result

    def _transact(self, work: Callable[[Connection], Result]) -> Result:
        tries = 0
        while True:
            was_open, committing = self._connection is not None, False
            try:
                connection = self._connected()
                with connection.begin():
                    result = work(connection)
                    committing = True
            except DBAPIError as error:
                tries += 1
                if was_open and error.connection_invalidated and not committing:
                    # The server was restarted since we last spoke to it: nothing was committed.
                    self._discard()
                # Of two transactions that met, the one that was undone goes on when the other has.
                elif fault_of(error) is not Fault.COLLISION or tries == COLLISION_TRIES:
                    raise
            else:
                return result

    def refuse(self) -> None:
        """Take no new calls; on the event loop, so that none can slip in behind the end."""
        self._refusing = True

    def finish(self) -> None:
        """Wait until what was queued has run, then end the thread."""
        self._jobs.put(self._end)
        self._thread.join()

    def _end(self) -> None:
        # A batch may have put its rest behind this job.
        if self._jobs.empty():
            self._finished = True
        else:
            self._jobs.put(self._end)

    def _run(self) -> None:
        while not self._finished:
            job = self._jobs.get()
            self._is_busy = True
            job()
            self._is_busy = False
        self._discard()
        self._engine.dispose()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except DBAPIError:
                connection.invalidate()
