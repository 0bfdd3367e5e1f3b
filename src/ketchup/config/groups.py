"""The settings in tables whose names are ours: `[limits]`, `[worker]`, `[storage]` and the others.

What one of them says about another is checked in `schema`, which puts all together.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from ketchup.config import kinds
from ketchup.money import Credits

# A reverse proxy comes from one of these, and so do clients through a bridge of containers.
_PRIVATE: Final = (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7",
)  # fmt: skip


class Group(BaseModel):
    """A table of `ketchup.toml`. The docstring of each is its introduction in the documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Group):
    """What one caller may ask for, and how much may wait."""

    max_body_bytes: kinds.Bytes = Field(
        40 * kinds.MEBIBYTE, description="Largest request body that carries data URIs."
    )
    max_plain_body_bytes: kinds.Bytes = Field(
        kinds.MEBIBYTE, description="Largest request body without data URIs."
    )
    polls_per_second: kinds.PollRate = Field(
        0.0, description="Queries per second, per key and task; 0 for no limit."
    )
    poll_burst: kinds.PollBurst = Field(
        5, description="Queries that may come at once when polls are limited."
    )
    failed_logins_per_minute: kinds.Cap = Field(
        20,
        description="Wrong API keys and admin tokens that an address is told of, per minute and "
        "process; one more answers 429; 0 for no limit.",
    )
    queue_capacity: kinds.Positive = Field(
        10_000, description="Writes that may wait in memory; one more answers 503."
    )


class Server(Group):
    """Whom the HTTP server answers, and how many connections it holds."""

    hosts: kinds.HostNames = Field(
        (),
        description="Names by which clients may ask for the service, besides the one in "
        "`public_url` and the one it listens on; by default every address and every name without "
        "a dot. Another `Host` answers 421.",
    )
    connections_per_address: kinds.Cap = Field(
        256,
        description="Connections that one client address may hold, of IPv6 one /64; 0 for no "
        "limit.",
    )
    uncapped: kinds.Networks = Field(
        tuple(ip_network(text) for text in _PRIVATE),
        description="Networks whose addresses may hold any number of connections, as reverse "
        "proxies do.",
    )
    trusted_proxies: kinds.Networks = Field(
        (),
        description="Networks of the proxies in front, whose `X-Forwarded-For` says who the client "
        "is; by default nobody is believed.",
    )


class Keys(Group):
    """The API keys that are made here."""

    default_days: kinds.KeyDays = Field(
        365, description="Days that a key works when nobody says how long; 0 for ever."
    )


class Worker(Group):
    """How tasks are run, and what happens when that goes wrong."""

    lanes: kinds.Lanes = Field(
        ("images", "webhooks"), description="The kinds of work that a worker does."
    )
    lease_seconds: kinds.LeaseSeconds = Field(
        15.0, description="How long a worker may be silent before others take over its tasks."
    )
    max_tries: kinds.Positive = Field(
        3, description="Tries at a task that the engine fails, the first included."
    )
    max_losses: kinds.Positive = Field(
        10, description="Times a task may lose its worker before it is given up."
    )
    drain_seconds: kinds.Pause = Field(
        20.0, description="How long a stop waits for running tasks before it hands them back."
    )
    task_timeout_seconds: kinds.Seconds = Field(
        300.0, description="How long one try at a task may take."
    )
    patience_seconds: kinds.Seconds = Field(
        1800.0,
        description="How long a task waits while every channel of its model is out, for a wrong "
        "key or because it fails; then it fails, and costs nothing.",
    )


class Storage(Group):
    """Where images and references are kept: in the data folder, or in a bucket that all share."""

    url: kinds.BucketUrl | None = Field(
        None, description="A bucket on S3, or on a server that speaks like it; by default DATA."
    )
    endpoint: kinds.WebAddress | None = Field(
        None, description="The server of the bucket; by default Amazon's of the region."
    )
    region: kinds.Text | None = Field(
        None, description="The region of the bucket; by default `AWS_REGION`, else us-east-1."
    )
    addressing: kinds.Addressing = Field(
        "path", description="Whether the bucket's name stands in the path or in the host."
    )
    key_id: kinds.Text | None = Field(
        None,
        description="The id of the access key; by default `AWS_ACCESS_KEY_ID`, or what the "
        "machine's role is given.",
    )
    secret: kinds.BucketSecret | None = Field(
        None, description="The secret of the access key; by default `AWS_SECRET_ACCESS_KEY`."
    )
    downloads: kinds.Downloads = Field(
        "proxied",
        description="Whether an image's address serves it, or leads to the bucket for ten minutes.",
    )


class Provenance(Group):
    """What stored pictures say about themselves, by a certificate of yours or one made in DATA."""

    enabled: kinds.Flag = Field(
        default=True,
        description="Whether pictures are signed and logged before they are stored; they are "
        "decoded either way.",
    )
    certificate: kinds.FilePath | None = Field(
        None, description="A certificate chain in PEM, the signing certificate first."
    )
    key: kinds.FilePath | None = Field(
        None, description="The file of its private key, in PEM, readable by its owner alone."
    )
    organisation: kinds.Text = Field(
        "Ketchup", description="Who signs, in a certificate that is made."
    )
    verifies_per_minute: kinds.Cap = Field(
        60,
        description="Pictures that a workspace may have verified, per minute and process; 0 for no "
        "limit.",
    )


class Webhooks(Group):
    """How callbacks are delivered."""

    schedule: kinds.Schedule = Field(
        (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="The pause before each attempt, spread by 20 %.",
    )
    timeout_seconds: kinds.Seconds = Field(
        15.0, description="How long one attempt may take in all."
    )
    concurrency: kinds.Positive = Field(
        256, description="Attempts at once; one that lasts over a second counts among the slow."
    )
    slow: kinds.Count = Field(512, description="Slow attempts that go on beside those.")
    per_destination: kinds.Positive = Field(4, description="Attempts at once to the same receiver.")


class Egress(Group):
    """Where callers' addresses may lead: the public internet, and what is opened here."""

    allow: kinds.Openings = Field(
        (),
        description="Private networks that references and callbacks may reach, and at which ports; "
        "without ports at those below.",
    )
    ports: kinds.Ports = Field(
        (80, 443),
        description="Ports that they may reach on the public internet, and where none are stated.",
    )
    per_destination: kinds.Positive = Field(
        4, description="References that a process fetches at once from the same server."
    )
    per_workspace: kinds.Positive = Field(
        8, description="References that a process fetches at once for one workspace, of 32 in all."
    )
    per_second: kinds.Positive = Field(
        100,
        description="Requests per second from a process to the same server, references and "
        "callbacks together.",
    )
    wait_seconds: kinds.Seconds = Field(
        60.0, description="How long a fetch waits for its turn before its task is tried again."
    )
    failures_last_seconds: kinds.Pause = Field(
        6.0,
        description="How long a fetch that fails takes at least, so that its time does not tell "
        "why; from 20 on all take the same.",
    )


class Gemini(Group):
    """Google's image models. With a key, they render Google's models."""

    api_key: kinds.UpstreamKey | None = Field(
        None, description="The key; also read from GEMINI_API_KEY or GOOGLE_API_KEY."
    )
    base_url: kinds.WebAddress = Field(
        "https://generativelanguage.googleapis.com",
        description="Where the API is, for channels too that do not say; also read from "
        "GOOGLE_GEMINI_BASE_URL.",
    )
    api_version: kinds.ApiVersion = Field(
        "v1beta", description="The version of the API, for channels too."
    )


class OpenAI(Group):
    """OpenAI's image API, or a server that speaks it. With a key, it renders OpenAI's models."""

    api_key: kinds.UpstreamKey | None = Field(
        None, description="The key; also read from OPENAI_API_KEY."
    )
    base_url: kinds.WebAddress = Field(
        "https://api.openai.com/v1",
        description="Where the API is, with its version, for channels too that do not say; also "
        "read from OPENAI_BASE_URL.",
    )


class Contract(Group):
    """Variations of the public contract, for clients that need them."""

    insufficient_credits_status: kinds.ShortfallStatus = Field(
        402, description="The status when a workspace cannot pay; 400 for strict older clients."
    )


class Log(Group):
    """The log, one line per event on standard error."""

    level: kinds.LogLevel = Field("info", description="The least level that is logged.")
    format: kinds.LogFormat = Field(
        "auto", description="JSON lines, or text for people; `auto` is text on a terminal."
    )


class Start(Group):
    """What the first start creates in an empty data folder."""

    workspace: kinds.Text = Field("default", description="Name of the first workspace.")
    credits: kinds.Amount = Field(
        Credits(100_000_000), description="Credits that the first workspace is given."
    )
    plan: kinds.PlanName = Field("scale", description="The plan of the first workspace.")
