"""The baseline: the same service written the usual way, with FastAPI, pydantic and an async ORM.

A session and a transaction per request, from the pool that SQLAlchemy gives a file database, with
aiosqlite below. It answers the same bytes, and its rows go to the same tables with the same
constraints, indexes and durability: the ORM classes are mapped on Ketchup's own tables. The one
departure from a first draft is `BEGIN IMMEDIATE` for writes: without it, SQLite refuses a
transaction that has read before it writes whenever another one was quicker, and nothing would be
left to measure.

Annotations are not postponed here: FastAPI reads those of the functions inside `create_app`.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import Depends, FastAPI, Header, HTTPException, Query
from pydantic import AnyHttpUrl, BaseModel, Field
from sqlalchemy import Connection, event, select, update
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped

from bench import rows
from bench.serving import runner, serve
from ketchup import credits
from ketchup.clock import Micros, SystemClock, iso
from ketchup.data_folder import paths
from ketchup.db import metadata
from ketchup.ids import WorkspaceId
from ketchup.money import Credits, decimal
from ketchup.tasks import table
from ketchup.workspaces import Pepper, digest, keys, tenants

PRICES: Final = {"google/gempix2": 500_000, "google/gemini-2.5-flash-image": 250_000}
CLOCK: Final = SystemClock()


class Base(DeclarativeBase):
    metadata = metadata


class Workspace(Base):
    __table__ = tenants.workspace
    id: Mapped[str]
    status: Mapped[str]


class ApiKey(Base):
    __table__ = keys.api_key
    id: Mapped[str]
    workspace_id: Mapped[str]
    digest: Mapped[bytes]
    revoked_at: Mapped[int | None]
    expires_at: Mapped[int | None]


class Account(Base):
    __table__ = credits.account
    workspace_id: Mapped[str]
    balance: Mapped[int]
    held: Mapped[int]


class Task(Base):
    __table__ = table.task
    id: Mapped[str]
    workspace_id: Mapped[str]
    status: Mapped[str]
    result: Mapped[str | None]
    consumed: Mapped[int]
    reason: Mapped[str | None]
    created_at: Mapped[int]


class Hold(Base):
    __table__ = credits.hold_table


class Generation(BaseModel):
    model: str
    prompt: str = Field(min_length=1, max_length=20_000)
    images: list[AnyHttpUrl] = Field(default=[], max_length=4)
    callback_url: AnyHttpUrl | None = None
    aspect_ratio: str | None = None
    image_size: Literal["1K", "2K", "4K"] | None = None
    n: int = Field(default=1, ge=1, le=8)
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    output_format: Literal["png", "jpeg", "webp"] | None = None


class Created(BaseModel):
    task_id: str


class CreatedEnvelope(BaseModel):
    code: int = 0
    message: str = "ok"
    data: Created


class Image(BaseModel):
    image: str


class StatusReason(BaseModel):
    message: str | None


class TaskView(BaseModel):
    task_id: str
    status: str
    result: list[Image] | None
    consumed: str
    created_at: str
    status_reason: StatusReason


class TaskEnvelope(BaseModel):
    code: int = 0
    message: str = "ok"
    data: TaskView


def create_app(folder: Path) -> FastAPI:  # noqa: C901 one function, as in FastAPI's own guides
    """Build the application on a prepared folder."""
    reads = _sessions(folder, begin="BEGIN")
    writes = _sessions(folder, begin="BEGIN IMMEDIATE")
    pepper = Pepper(bytes.fromhex(paths(folder).secret_key.read_text().strip()))
    app = FastAPI()

    async def reading() -> AsyncIterator[AsyncSession]:
        async with reads() as session:
            yield session

    async def writing() -> AsyncIterator[AsyncSession]:
        async with writes() as session, session.begin():
            yield session

    async def authenticate(session: AsyncSession, authorization: str) -> ApiKey:
        secret = authorization.removeprefix("Bearer ")
        found = await session.scalar(
            select(ApiKey)
            .join(Workspace, Workspace.id == ApiKey.workspace_id)
            .where(
                ApiKey.digest == digest(pepper, secret),
                ApiKey.revoked_at.is_(None),
                Workspace.status == "active",
            )
        )
        if found is None or (found.expires_at is not None and found.expires_at <= CLOCK.now()):
            raise HTTPException(401, "Invalid API key")
        return found

    async def writer(
        session: Annotated[AsyncSession, Depends(writing, scope="function")],
        authorization: Annotated[str, Header()],
    ) -> tuple[AsyncSession, ApiKey]:
        return session, await authenticate(session, authorization)

    async def reader(
        session: Annotated[AsyncSession, Depends(reading)],
        authorization: Annotated[str, Header()],
    ) -> tuple[AsyncSession, ApiKey]:
        return session, await authenticate(session, authorization)

    @app.post("/api/image/gen")
    async def create(
        wanted: Generation, caller: Annotated[tuple[AsyncSession, ApiKey], Depends(writer)]
    ) -> CreatedEnvelope:
        session, key = caller
        price = PRICES[wanted.model] * wanted.n
        guarded = await session.execute(
            update(Account)
            .where(
                Account.workspace_id == key.workspace_id,
                Account.balance - Account.held >= price,
            )
            .values(held=Account.held + price)
            .returning(Account.held)
        )
        if guarded.scalar() is None:
            raise HTTPException(402, "insufficient credits")
        task = Task(**_row(wanted, key, price))
        session.add(task)
        session.add(
            Hold(
                task_id=task.id,
                workspace_id=key.workspace_id,
                amount=price,
                created_at=task.created_at,
            )
        )
        await session.flush()
        return CreatedEnvelope(data=Created(task_id=task.id))

    @app.get("/api/task/query")
    async def query(
        task_id: Annotated[str, Query(max_length=64)],
        caller: Annotated[tuple[AsyncSession, ApiKey], Depends(reader)],
    ) -> TaskEnvelope:
        session, key = caller
        task = await session.scalar(
            select(Task).where(Task.id == task_id, Task.workspace_id == key.workspace_id)
        )
        if task is None:
            raise HTTPException(404, "task not found")
        return TaskEnvelope(data=_view(task))

    return app


def _sessions(folder: Path, *, begin: str) -> async_sessionmaker[AsyncSession]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{paths(folder).database}")
    _set_up(engine, begin)
    return async_sessionmaker(engine, expire_on_commit=False)


def _set_up(engine: AsyncEngine, begin: str) -> None:
    def pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 any driver's connection
        # SQLAlchemy's own recipe for SQLite: the driver must not begin transactions by itself.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=60000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("PRAGMA cache_size=-32768")
        cursor.close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", pragmas)
    event.listen(engine.sync_engine, "begin", start)


def _row(wanted: Generation, key: ApiKey, price: int) -> dict[str, object]:
    options = wanted.model_dump(
        include={"aspect_ratio", "image_size", "n", "seed", "output_format"}, exclude_defaults=True
    )
    return rows.pending(WorkspaceId(key.workspace_id), CLOCK.now()) | {
        "key_id": key.id,
        "model": wanted.model,
        "prompt": wanted.prompt,
        "images": msgspec.json.encode([str(image) for image in wanted.images]).decode(),
        "callback_url": str(wanted.callback_url) if wanted.callback_url else None,
        "options": msgspec.json.encode(options).decode(),
        "price": price,
    }


def _view(task: Task) -> TaskView:
    names = None if task.result is None else msgspec.json.decode(task.result, type=list[str])
    return TaskView(
        task_id=task.id,
        status=task.status,
        result=None if names is None else [Image(image=f"{BASE_URL}/{name}") for name in names],
        consumed=decimal(Credits(task.consumed), 8),
        created_at=iso(Micros(task.created_at)),
        status_reason=StatusReason(message=task.reason),
    )


BASE_URL: Final = "http://127.0.0.1"


if __name__ == "__main__":
    with runner() as loop:
        loop.run(serve(create_app(Path(sys.argv[1])), "httptools"))
