"""The `standardwebhooks` library is the oracle: written by others, from the same specification."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from ketchup import signing
from ketchup.clock import SECOND, SystemClock
from ketchup.signing import SignatureInvalid

SECRET = signing.secret_from_bytes(bytes(range(32)))
OTHER = signing.secret_from_bytes(bytes(range(1, 33)))
ID = "msg_0123456789abcdef"
NOW = 1_757_499_740
BODY = '{"result":null,"prompt":"ein Fuß"}'.encode()


def signed(*secrets: str, timestamp: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return signing.headers(secrets or (SECRET,), message_id=ID, timestamp=timestamp, body=body)


def by_the_oracle(secret: str, message_id: str, timestamp: int, body: str) -> str:
    # In UTC: the library overwrites a datetime's zone instead of converting it.
    return Webhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), body)


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.text("abcdef0123456789_", min_size=1),
    timestamp=st.integers(min_value=0, max_value=4_000_000_000),
    body=st.text(),
)
def test_signatures_are_those_of_the_reference(
    key: bytes, message_id: str, timestamp: int, body: str
) -> None:
    secret = signing.secret_from_bytes(key)
    ours = signing.headers([secret], message_id=message_id, timestamp=timestamp, body=body.encode())
    assert ours == {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": by_the_oracle(secret, message_id, timestamp, body),
    }


def test_the_reference_verifies_what_we_sign_now() -> None:
    now = SystemClock().now() // SECOND
    headers = signed(timestamp=now)
    assert Webhook(SECRET).verify(BODY, headers) == {"result": None, "prompt": "ein Fuß"}
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, headers)


def test_we_verify_what_the_reference_signs() -> None:
    signature = by_the_oracle(SECRET, ID, NOW, BODY.decode())
    headers = {
        "webhook-id": ID,
        "webhook-timestamp": str(NOW),
        "webhook-signature": f"v1a,unknown {signature}",
    }
    signing.verify(SECRET, headers, BODY, now=NOW)


def test_during_a_rotation_either_secret_verifies() -> None:
    headers = signed(SECRET, OTHER)
    assert len(headers["webhook-signature"].split(" ")) == 2
    signing.verify(SECRET, headers, BODY, now=NOW)
    signing.verify(OTHER, headers, BODY, now=NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_another"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "١٧٥٧٤٩٩٧٤٠"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,ÿ"},
        {"webhook-signature": signed(OTHER)["webhook-signature"]},
        {"webhook-signature": signed()["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": signed()["webhook-signature"].replace("v1,", "v2,")},
    ],
    ids=str,
)
def test_a_message_with_a_changed_header_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(SignatureInvalid):
        signing.verify(SECRET, signed() | changed, BODY, now=NOW)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_without_one_of_the_headers_is_refused(missing: str) -> None:
    headers = signed()
    del headers[missing]
    with pytest.raises(SignatureInvalid):
        signing.verify(SECRET, headers, BODY, now=NOW)


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY.replace(b"null", b"true")])
def test_a_message_with_a_changed_body_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        signing.verify(SECRET, signed(), body, now=NOW)


def test_a_message_is_good_for_five_minutes_either_way() -> None:
    signing.verify(SECRET, signed(), BODY, now=NOW + 300)
    signing.verify(SECRET, signed(), BODY, now=NOW - 300)
    for off in (301, -301):
        with pytest.raises(SignatureInvalid):
            signing.verify(SECRET, signed(), BODY, now=NOW + off)


@pytest.mark.parametrize("secret", ["whsec_not base64", "whsec_YWJ", "whsec_=YWJj"])
def test_a_secret_that_is_not_base64_is_a_clear_error(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ followed by base64"):
        signed(secret)
