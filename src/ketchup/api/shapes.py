"""What goes in and out of the admin API as JSON, and the parameters of the customers' lists.

Money is a decimal string and a time an RFC 3339 string, in both directions. Unknown fields and
parameters are refused: a typing error must not be taken for a default. What customers are answered
is in `views`, or beside its routes.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from ketchup import clock, money
from ketchup.clock import Micros
from ketchup.credits import Account, Audit
from ketchup.money import Credits
from ketchup.tasks import Status
from ketchup.usage import By
from ketchup.webhooks import DeliveryState
from ketchup.workspaces import (
    MAX_NETWORKS,
    ApiKey,
    Environment,
    Plan,
    Scope,
    Workspace,
    WorkspaceStatus,
)


def _read_amount(value: Any) -> Credits:  # noqa: ANN401 whatever the caller sent
    if not isinstance(value, str):
        raise ValueError('must be a decimal string such as "100.000000"')  # noqa: TRY004 pydantic reports only this
    return money.parse(value)


def _read_time(value: Any) -> Micros | None:  # noqa: ANN401 whatever the caller sent
    if value is None:
        return None
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError(_NOT_A_TIME)
    try:
        at = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(_NOT_A_TIME) from error
    return Micros((at - _EPOCH) // timedelta(microseconds=1))


def _read_day(value: Any) -> Any:  # noqa: ANN401 whatever the caller sent
    # Seconds since 1970 would be read as a day, too.
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("must be a day such as 2030-01-31")
    return value


def _read_whole(value: Any) -> Any:  # noqa: ANN401 whatever the caller sent
    # JSON has one kind of number: 16.0 is 16.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise ValueError("must have visible ASCII characters only")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_VISIBLE: Final = re.compile(r"[!-~]*", re.ASCII)
_VISIBLE_SCHEMA: Final = {"pattern": "^[!-~]*$"}
_NOT_A_TIME: Final = "must be a time with its zone, such as 2030-01-31T12:00:00Z"
_DECIMAL_SCHEMA: Final = {"type": "string", "examples": ["100.000000"]}
_TIME_SCHEMA: Final = {"type": "string", "format": "date-time"}

AmountIn = Annotated[
    Credits,
    BeforeValidator(_read_amount),
    WithJsonSchema({**_DECIMAL_SCHEMA, "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,6}0{0,2})?$"}),
]
TimeIn = Annotated[
    Micros | None,
    BeforeValidator(_read_time),
    WithJsonSchema({"anyOf": [_TIME_SCHEMA, {"type": "null"}]}),
]
# The feature judges names; the document only says how.
Name = Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": 200})]
Note = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
PlanName = Annotated[str, Field(json_schema_extra={"examples": ["free", "pro", "scale"]})]
NetworkName = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)]
ModelName = Annotated[
    str,
    Field(min_length=1, max_length=200, json_schema_extra=_VISIBLE_SCHEMA),
    AfterValidator(_visible),
]

AmountOut = Annotated[
    Credits, PlainSerializer(money.decimal, return_type=str), WithJsonSchema(_DECIMAL_SCHEMA)
]
TimeOut = Annotated[
    Micros, PlainSerializer(clock.iso, return_type=str), WithJsonSchema(_TIME_SCHEMA)
]


def _read_groups(value: Any) -> Any:  # noqa: ANN401 whatever the caller sent
    # A parameter that may come several times is always a list here.
    parts = [value] if isinstance(value, str) else value
    return [name for part in parts for name in part.split(",") if name]


GroupBy = Annotated[
    frozenset[By],
    BeforeValidator(_read_groups),
    WithJsonSchema({"type": "string", "examples": ["day,model"]}),
]
Id = Annotated[
    str, Field(max_length=40, json_schema_extra=_VISIBLE_SCHEMA), AfterValidator(_visible)
]
Day = Annotated[date, BeforeValidator(_read_day)]


Whole = Annotated[int, BeforeValidator(_read_whole)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewWorkspace(_Request):
    """A workspace to create. Without a plan it gets the default one."""

    name: Name
    plan: PlanName | None = None


class WorkspaceChange(_Request):
    """What to change about a workspace: its status, its plan, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("status", "plan")
            ]
        }
    )

    status: WorkspaceStatus | None = Field(
        default=None, description="The keys of a suspended workspace do not work."
    )
    plan: PlanName | None = None


class NewKeyRequest(_Request):
    """An API key to create. Left out or null: every scope, model and address, and no cap."""

    name: Name
    environment: Environment = Environment.LIVE
    expires_at: TimeIn = Field(
        default=None, description="Left out: after the days of the settings; null: never."
    )
    scopes: list[Scope] | None = Field(default=None, min_length=1, max_length=len(Scope))
    models: list[ModelName] | None = Field(default=None, min_length=1, max_length=100)
    networks: list[NetworkName] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NETWORKS,
        description="Where its requests may come from.",
        examples=[["203.0.113.0/24", "2001:db8::/48"]],
    )
    day_cap: AmountIn | None = Field(
        default=None, description="Credits that its tasks may cost in a day, in UTC."
    )
    month_cap: AmountIn | None = Field(
        default=None, description="Credits that its tasks may cost in a calendar month, in UTC."
    )


class KeyRotation(_Request):
    """For how many hours the key goes on working beside its successor."""

    overlap_hours: Literal[0, 1, 24, 168] = 24


class Rotation(_Request):
    """How long the webhook secret before signs along, so that receivers can change over."""

    overlap_hours: Whole = Field(default=24, ge=0, le=168, strict=True)
    secret: str | None = Field(
        default=None,
        max_length=100,
        description="A secret of your own, `whsec_` and the base64 of 24 to 64 bytes.",
    )


class ProviderKeyRequest(_Request):
    """A provider's key to keep."""

    key: str = Field(min_length=1, max_length=4096)


class ReceiverTest(_Request):
    """Where to send a test delivery."""

    url: str = Field(max_length=2048, examples=["https://example.com/hooks/ketchup"])


class OriginChoice(_Request):
    """A receiver, as the list of destinations names it."""

    origin: str = Field(min_length=1, max_length=2048, examples=["https://example.com:443"])


class Grant(_Request):
    """Credits to give, or to take back when negative."""

    amount: AmountIn
    note: Note | None = None


class TaskFilter(_Request):
    """Which tasks to list. Times count to the millisecond."""

    limit: int = Field(default=20, ge=1, le=100)
    before: str | None = Field(
        default=None, max_length=40, description="`next` of the page before this one."
    )
    status: Status | None = None
    model: ModelName | None = Field(default=None, description="A model's id or alias.")
    created_from: TimeIn = Field(default=None, description="At this time or later.")
    created_before: TimeIn = Field(default=None, description="Before this time.")


class DeliveryFilter(_Request):
    """Which callbacks to list."""

    limit: int = Field(default=20, ge=1, le=100)
    before: Id | None = Field(default=None, description="`next` of the page before this one.")
    task_id: Id | None = None
    state: DeliveryState | None = None


class UsageFilter(_Request):
    """Which usage to sum up: days in UTC, both included, 366 at most; the last 30 by default."""

    first_day: Day | None = Field(default=None, alias="from", examples=["2026-11-01"])
    last_day: Day | None = Field(default=None, alias="to", examples=["2026-11-30"])
    group_by: GroupBy = Field(
        default=frozenset({By.DAY}),
        description="What to tell apart, separated by commas: `day`, `model`, `key`, `status`.",
        json_schema_extra={"default": "day"},
    )
    format: Literal["json", "csv"] = "json"


class AccountView(BaseModel):
    """What a workspace has. `available` is `balance` less what open tasks hold."""

    balance: AmountOut
    held: AmountOut
    available: AmountOut

    @classmethod
    def of(cls, account: Account) -> Self:
        """Show an account."""
        return cls(balance=account.balance, held=account.held, available=account.available)


class WorkspaceView(BaseModel):
    """A workspace and what it has."""

    id: str
    number: int = Field(description="Stands in the addresses of its images.")
    name: str
    status: WorkspaceStatus
    plan: str
    retention_days: int = Field(description="How long its images are kept, as its plan says.")
    created_at: TimeOut
    balance: AmountOut
    held: AmountOut
    available: AmountOut

    @classmethod
    def showing(cls, workspace: Workspace, plan: Plan, account: Account) -> Self:
        """Show a workspace; `plan` is what holds for it, whatever it names."""
        return cls(
            id=workspace.id,
            number=workspace.number,
            name=workspace.name,
            status=workspace.status,
            plan=workspace.plan,
            retention_days=plan.retention_days,
            created_at=workspace.created_at,
            balance=account.balance,
            held=account.held,
            available=account.available,
        )


class WorkspaceList(BaseModel):
    """Every workspace, oldest first."""

    items: list[WorkspaceView]


class PlanView(BaseModel):
    """A plan. 0 is no limit for `submits_per_minute`, `concurrency` and `depth`."""

    name: str
    title: str
    price: AmountOut = Field(description="Money for a month; shown and never taken.")
    submits_per_minute: int
    submit_burst: int = Field(description="Tasks at once when submits are limited.")
    concurrency: int = Field(description="Tasks in flight at once.")
    depth: int = Field(description="Tasks that wait or run at once.")
    weight: int = Field(description="The share when several workspaces wait.")
    retention_days: int = Field(description="How long images are kept.")
    default: bool = Field(description="Whether a workspace gets it that is made without a plan.")

    @classmethod
    def showing(cls, plan: Plan, *, default: bool) -> Self:
        """Show a plan."""
        return cls(
            name=plan.name,
            title=plan.title,
            price=plan.price,
            submits_per_minute=plan.submits_per_minute,
            submit_burst=plan.submit_burst,
            concurrency=plan.concurrency,
            depth=plan.depth,
            weight=plan.weight,
            retention_days=plan.retention_days,
            default=default,
        )


class PlanList(BaseModel):
    """Every plan, in the order of the settings."""

    items: list[PlanView]


class KeyView(BaseModel):
    """An API key without its secret. `hint` is its first and last characters."""

    id: str
    workspace_id: str
    name: str
    environment: Environment
    hint: str
    scopes: list[str] | None
    models: list[str] | None
    created_at: TimeOut
    expires_at: TimeOut | None
    revoked_at: TimeOut | None
    last_used_at: TimeOut | None
    last_used_from: str | None = Field(description="The network, /24 or /48, of its last request.")
    networks: list[str] | None
    day_cap: AmountOut | None
    month_cap: AmountOut | None
    replaced_by: str | None = Field(description="The key that it was rotated to.")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Show a key."""
        return cls.model_validate(key, from_attributes=True)


class KeyList(BaseModel):
    """A workspace's keys, oldest first, revoked ones too."""

    items: list[KeyView]


class CreatedKey(KeyView):
    """A new API key, with its secret: the only time that it is shown."""

    key: str

    @classmethod
    def showing(cls, created: ApiKey, secret: str) -> Self:
        """Show a new key."""
        return cls(key=secret, **KeyView.of(created).__dict__)


class WebhookSecret(BaseModel):
    """The secret that signs a workspace's webhooks, as Standard Webhooks writes it."""

    secret: str


class ProviderKeyView(BaseModel):
    """That a provider's key is kept, and since when. It is never shown."""

    name: str
    updated_at: TimeOut


class ProviderKeyList(BaseModel):
    """The providers' keys that are kept, by name."""

    items: list[ProviderKeyView]


class AuditView(AccountView):
    """The account beside the sums of the rows that it must agree with."""

    entries_sum: AmountOut
    open_holds_sum: AmountOut
    consistent: bool

    @classmethod
    def showing(cls, audit: Audit) -> Self:
        """Show an audit."""
        return cls(
            **AccountView.of(audit.account).__dict__,
            entries_sum=audit.entries_sum,
            open_holds_sum=audit.open_holds_sum,
            consistent=audit.consistent,
        )
