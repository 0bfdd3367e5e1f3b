"""The kinds of value that a setting can have: how each is read, bounded, and described.

Every kind carries an `Accepts`, so that an error message and the documentation say the same words.
Values arrive as TOML gives them or as text, for variables and flags have nothing else; floats are
read from their text, so that a price is never a binary fraction.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, SecretStr

from ketchup import money, openings
from ketchup.edge import host_name
from ketchup.money import Credits

MEBIBYTE: Final = 1024 * 1024
_SECRET_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{32,256}")
_UPSTREAM_KEY = re.compile(r"[\x21-\x7e]{1,512}")
# Several hosts are named in its query: `?host=one,two&port=5432,5432`.
_DATABASE: Final = re.compile(
    r"postgres(?:ql)?://(?:[^\s/?@]+@)?[^\s/?@,]*/[^\s/?]+(?:\?\S*)?", re.ASCII
)
_BUCKET_SECRET: Final = re.compile(r"[\x21-\x7e]{8,256}")
_BUCKET: Final = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){0,8}/?", re.ASCII
)
LANES: Final = ("images", "webhooks")
_MODEL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_PLAN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a kind accepts, in words that fit after `expected`."""

    words: str


class Written(str):
    """A decimal as the file has it: a price is read from its text, an engine is sent the number."""

    __slots__ = ()


def _numbers(value: object) -> object:
    if isinstance(value, Written):
        return float(value)
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else value


def _served(value: object) -> object:
    if isinstance(value, list):
        return dict.fromkeys(value, ())
    if isinstance(value, dict):
        return {name: (n,) if isinstance(n, str) else n for name, n in value.items()}
    return value


def _no_bool(value: object) -> object:
    # TOML's `port = true` would otherwise be port 1.
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")  # noqa: TRY004 pydantic reports ValueError
    return value


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _opening(value: object) -> object:
    return openings.parse(value) if isinstance(value, str) else value


def _integer_text(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _amount(value: object) -> Credits:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("an amount is a decimal number such as 12.5")  # noqa: TRY004 as above
    amount = money.parse(str(value).strip())
    if amount < 0:
        raise ValueError("an amount is not negative")
    return amount


def _home(path: Path) -> Path:
    return path.expanduser()


def web_address(text: str) -> str:
    """Return an http or https address without a slash at its end. Raises ValueError."""
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError when it is not a port
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https address")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("has more than a host, a port and a path")
    return text.rstrip("/")


def _none_or_at_least_one(value: float) -> float:
    if 0 < value < 1:
        raise ValueError("the contract always allows one query a second")
    return value


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(secret: SecretStr) -> SecretStr:
        if not pattern.fullmatch(secret.get_secret_value()):
            raise ValueError("the secret does not have the expected form")
        return secret

    return AfterValidator(check)


def _model_id(text: str) -> str:
    if not _MODEL_ID.fullmatch(text):
        raise ValueError("a model id has 1 to 128 letters, digits and . _ : / -")
    return text


def _bucket_url(text: str) -> str:
    if not _BUCKET.fullmatch(text):
        raise ValueError("not s3:// with a bucket and at most a prefix")
    return text.rstrip("/")


def _plan_name(text: str) -> str:
    if not _PLAN_NAME.fullmatch(text):
        raise ValueError("a plan's name has 1 to 40 letters, digits and _ -")
    return text


_Whole = BeforeValidator(_no_bool)

Text = Annotated[str, Field(min_length=1, max_length=200), Accepts("1 to 200 characters")]
Folder = Annotated[Path, AfterValidator(_home), Accepts("a folder")]
FilePath = Annotated[Path, AfterValidator(_home), Accepts("a file")]
Flag = Annotated[bool, Accepts("true or false")]
Host = Annotated[str, Field(min_length=1), Accepts("an address or host name to listen on")]
Port = Annotated[
    int, _Whole, Field(ge=0, le=65535), Accepts("a port, 0 to 65535; 0 takes a free one")
]
WebAddress = Annotated[
    str,
    AfterValidator(web_address),
    Accepts("an http or https address, such as https://images.example.com"),
]
Count = Annotated[int, _Whole, Field(ge=0), Accepts("a whole number, 0 or more")]
Positive = Annotated[int, _Whole, Field(ge=1), Accepts("a whole number, 1 or more")]
# What a 32-bit column holds.
Cap = Annotated[
    int,
    _Whole,
    Field(ge=0, le=1_000_000_000),
    Accepts("a whole number, 0 to 1000000000; 0 for no limit"),
]
KeyDays = Annotated[
    int, _Whole, Field(ge=0, le=36_500), Accepts("days, 0 to 36500; 0 for no limit")
]
Weight = Annotated[int, _Whole, Field(ge=1, le=1000), Accepts("a whole number, 1 to 1000")]
Bytes = Annotated[
    int, _Whole, Field(ge=1024, le=1024 * MEBIBYTE), Accepts("bytes, 1024 to 1073741824")
]
Days = Annotated[int, _Whole, Field(ge=1, le=3650), Accepts("days, 1 to 3650")]
Seconds = Annotated[
    float,
    _Whole,
    Field(gt=0, le=86_400, allow_inf_nan=False),
    Accepts("seconds, above 0, to a day"),
]
Pause = Annotated[
    float, _Whole, Field(ge=0, le=86_400, allow_inf_nan=False), Accepts("seconds, 0 to a day")
]
LeaseSeconds = Annotated[
    float, _Whole, Field(ge=2, le=3600, allow_inf_nan=False), Accepts("seconds, 2 to 3600")
]
PollRate = Annotated[
    float,
    _Whole,
    Field(ge=0, allow_inf_nan=False),
    AfterValidator(_none_or_at_least_one),
    Accepts("0 for no limit, or a number of at least 1"),
]
PollBurst = Annotated[int, _Whole, Field(ge=5), Accepts("a whole number, 5 or more")]
Schedule = Annotated[
    tuple[Pause, ...],
    BeforeValidator(_split),
    Field(min_length=1, max_length=50),
    Accepts("a list of 1 to 50 pauses in seconds, each 0 to 86400"),
]
Openings = Annotated[
    tuple[Annotated[InstanceOf[openings.Opening], BeforeValidator(_opening)], ...],
    BeforeValidator(_split),
    Accepts(
        "a list of networks without host bits, with ports or without, such as 10.0.0.0/8, "
        "10.1.2.3/32:8080 or fd00::/8:8000-8999"
    ),
]
Networks = Annotated[
    tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
    BeforeValidator(_split),
    Accepts("a list of networks without host bits, such as 10.0.0.0/8 or ::1/128"),
]
HostNames = Annotated[
    tuple[Annotated[str, AfterValidator(host_name)], ...],
    BeforeValidator(_split),
    Accepts("a list of host names and addresses without ports, or * for any"),
]
Ports = Annotated[
    tuple[Annotated[int, _Whole, Field(ge=1, le=65535)], ...],
    BeforeValidator(_split),
    Field(min_length=1, max_length=50),
    Accepts("a list of ports, each 1 to 65535"),
]
Amount = Annotated[
    Credits,
    BeforeValidator(_amount),
    Accepts('a decimal of at most 6 places, 0 or more, such as "0.5"'),
]
SecretKey = Annotated[
    SecretStr,
    _matching(_SECRET_KEY),
    Accepts("64 hexadecimal characters (openssl rand -hex 32)"),
]
AdminToken = Annotated[
    SecretStr, _matching(_TOKEN), Accepts("32 to 256 visible ASCII characters without spaces")
]

UpstreamKey = Annotated[
    SecretStr, _matching(_UPSTREAM_KEY), Accepts("visible ASCII characters without spaces")
]
ApiVersion = Annotated[
    str, Field(pattern=r"^v[0-9][0-9a-z]{0,15}$"), Accepts("a version such as v1beta")
]

DatabaseUrl = Annotated[
    SecretStr,
    _matching(_DATABASE),
    Accepts("an address such as postgresql://user:password@host:5432/name"),
]
BucketUrl = Annotated[
    str,
    AfterValidator(_bucket_url),
    Accepts("a bucket, and a prefix if you like, such as s3://images/ketchup"),
]
Downloads = Annotated[Literal["proxied", "presigned"], Accepts("proxied or presigned")]
Addressing = Annotated[Literal["path", "host"], Accepts("path or host")]
BucketSecret = Annotated[
    SecretStr, _matching(_BUCKET_SECRET), Accepts("8 to 256 visible ASCII characters")
]
Lanes = Annotated[
    tuple[Literal["images", "webhooks"], ...],
    BeforeValidator(_split),
    Field(min_length=1),
    Accepts("a list of images and webhooks"),
]

ShortfallStatus = Annotated[
    Literal[402, 400], BeforeValidator(_integer_text), Accepts("402 or 400")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(_lower),
    Accepts("debug, info, warning or error"),
]
LogFormat = Annotated[
    Literal["auto", "json", "pretty"], BeforeValidator(_lower), Accepts("auto, json or pretty")
]

# The words of providers.base, repeated because that layer stands above this one; a test compares.
Ratio = Literal["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
Size = Literal["1K", "2K", "4K"]
ResultForm = Literal["url", "data"]
ALL_RATIOS: Final[tuple[Ratio, ...]] = (
    "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9",
)  # fmt: skip
ALL_SIZES: Final[tuple[Size, ...]] = ("1K", "2K", "4K")

Ratios = Annotated[
    tuple[Ratio, ...],
    Field(min_length=1),
    Accepts("a list of " + " ".join(ALL_RATIOS)),
]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1), Accepts("a list of 1K 2K 4K")]
ChannelName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"),
    Accepts("a name of letters, digits and _ -"),
]
ProviderName = Annotated[
    Literal["gemini", "openai", "diffusers", "studio"],
    Accepts("gemini, openai, diffusers or studio"),
]
EnvironmentName = Annotated[Literal["live", "test"], Accepts("live or test")]
UnknownPolicy = Annotated[
    Literal["auto", "resubmit", "fail_and_release"], Accepts("auto, resubmit or fail_and_release")
]
Priority = Annotated[int, _Whole, Field(ge=0, le=1000), Accepts("a whole number, 0 to 1000")]
KnownFields = Annotated[
    tuple[Literal["seed", "output_format"], ...], Accepts("a list of seed and output_format")
]
PixelSizes = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")], ...],
    Accepts('a list of sizes such as "1024x1024"'),
]
PerRequest = Annotated[int, _Whole, Field(ge=1, le=10), Accepts("a whole number, 1 to 10")]
Extra = Annotated[
    dict[str, Any], BeforeValidator(_numbers), Accepts("a table, such as { steps = 8 }")
]
HubId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"),
    Accepts("an owner and a name, such as black-forest-labs/FLUX.2-klein-4B"),
]
Device = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,2})?)$"),
    Accepts("auto, cpu, mps, cuda or one of several, such as cuda:1"),
]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    Accepts("auto, float32, bfloat16 or float16"),
]
Offload = Annotated[Literal["none", "model", "sequential"], Accepts("none, model or sequential")]
Guidance = Annotated[
    float, _Whole, Field(ge=0, le=100, allow_inf_nan=False), Accepts("a number, 0 to 100")
]
Steps = Annotated[int, _Whole, Field(ge=1, le=1000), Accepts("a whole number, 1 to 1000")]
Batch = Annotated[int, _Whole, Field(ge=1, le=64), Accepts("a whole number, 1 to 64")]
BatchWait = Annotated[
    float, _Whole, Field(ge=0, le=10, allow_inf_nan=False), Accepts("seconds, 0 to 10")
]
Form = Annotated[ResultForm, Accepts("url or data")]
ModelId = Annotated[
    str, AfterValidator(_model_id), Accepts("an id of letters, digits and . _ : / -")
]
ModelIds = Annotated[tuple[ModelId, ...], Accepts("a list of ids of letters, digits and . _ : / -")]
PlanName = Annotated[
    str, AfterValidator(_plan_name), Accepts("the name of a plan: letters, digits and _ -")
]
Served = Annotated[
    dict[ModelId, tuple[Text, ...]],
    BeforeValidator(_served),
    Field(min_length=1),
    Accepts("a list of model ids, or a table from each to the engine's name of it"),
]
References = Annotated[int, _Whole, Field(ge=0, le=14), Accepts("a whole number, 0 to 14")]
ImageCount = Annotated[int, _Whole, Field(ge=1, le=8), Accepts("a whole number, 1 to 8")]
