"""The database: threads that own connections, and calls that share a transaction.

A *lane* is one thread with one connection. SQLite gets one lane that writes, because two writing
connections can corrupt the WAL before SQLite 3.51.3, and two that read: one for the hot batched
reads, one for everything else. PostgreSQL gets a few of each. asyncio awaits futures and never
touches a connection; a `Batcher` turns many calls into one transaction.

No function that runs on a lane may do I/O other than SQL, and none commits by itself.

`database` is what is opened, `lanes` and `batches` are how it works, `faults` judges errors, `bell`
wakes other processes, `schema` registers the tables, `bulk` writes many rows; `sqlite` and
`postgres` are all that the two do differently. `pages` goes through long lists.
"""

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from ketchup.db.batches import BATCH_LIMIT, Batcher, Flush, Item, Result
from ketchup.db.bell import Bell, News, bell_of
from ketchup.db.bulk import (
    Write,
    addition,
    change,
    insert_new,
    insertion,
    insertion_of_new,
    write_many,
)
from ketchup.db.database import (
    DEFAULT_CAPACITY,
    Database,
    Location,
    PostgresUrl,
    SqliteFile,
    engine_of,
)
from ketchup.db.faults import Fault, fault_of
from ketchup.db.pages import LOOK_AT_MOST, Columns, read_page
from ketchup.db.schema import (
    CHURNS,
    distinct_by_index,
    lock_names,
    metadata,
    now,
    partial_index,
    storable,
)

# Layers above name these three types without knowing the library behind it.
__all__ = [
    "BATCH_LIMIT",
    "CHURNS",
    "DEFAULT_CAPACITY",
    "LOOK_AT_MOST",
    "Batcher",
    "Bell",
    "Columns",
    "Connection",
    "Database",
    "Engine",
    "Fault",
    "Flush",
    "IntegrityError",
    "Item",
    "Location",
    "News",
    "PostgresUrl",
    "Result",
    "SqliteFile",
    "Write",
    "addition",
    "bell_of",
    "change",
    "distinct_by_index",
    "engine_of",
    "fault_of",
    "insert_new",
    "insertion",
    "insertion_of_new",
    "lock_names",
    "metadata",
    "now",
    "partial_index",
    "read_page",
    "storable",
    "write_many",
]
