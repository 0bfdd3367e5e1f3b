"""The admin API: giving credits, taking them back, and the audit of an account."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text

from ketchup.db import Location
from tests.support.admin_api import V1, AdminApi, open_admin_api

NOTHING = {"balance": "0.000000", "held": "0.000000", "available": "0.000000"}


@pytest.fixture
async def api(location: Location) -> AsyncIterator[AdminApi]:
    async with open_admin_api(location) as opened:
        yield opened


async def test_every_grant_is_a_new_entry(api: AdminApi) -> None:
    workspace = await api.workspace()
    where = f"{V1}/workspaces/{workspace}/credits"
    sent = {"amount": "100.000000", "note": "Invoice 12"}
    first, second = await api.client.post(where, json=sent), await api.client.post(where, json=sent)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == {
        "balance": "100.000000",
        "held": "0.000000",
        "available": "100.000000",
    }
    assert second.json()["balance"] == "200.000000"
    rows = await api.database.read(
        lambda conn: conn.execute(text("SELECT amount, note FROM entry ORDER BY id")).all()
    )
    assert [tuple(row) for row in rows] == [(100_000_000, "Invoice 12")] * 2


async def test_only_what_is_available_can_be_taken_back(api: AdminApi) -> None:
    workspace = await api.workspace()
    where = f"{V1}/workspaces/{workspace}/credits"
    await api.client.post(where, json={"amount": "10"})
    await api.hold(workspace, 4_000_000)
    answer = await api.client.post(where, json={"amount": "-6.000001"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "the workspace has fewer credits available than that"
    answer = await api.client.post(where, json={"amount": "-6.000000"})
    assert answer.json() == {"balance": "4.000000", "held": "4.000000", "available": "0.000000"}


async def test_money_is_a_decimal_string_and_nothing_else(api: AdminApi) -> None:
    for amount in [100, 0.5, True, None, ["1"], {"value": "1"}]:
        workspace = await api.workspace()
        answer = await api.client.post(
            f"{V1}/workspaces/{workspace}/credits", json={"amount": amount}
        )
        assert answer.status_code == 400
        reason = 'must be a decimal string such as "100.000000"'
        assert answer.json()["detail"] == f"amount: {reason}"
        assert answer.json()["errors"] == [{"param": "amount", "reason": reason}]


async def test_an_amount_that_is_none_changes_nothing(api: AdminApi) -> None:
    for amount in [
        "",
        "1e3",
        "NaN",
        "-",
        "1.0000001",
        "1,5",
        "٣",
        " 1",
        "1\n",
        "9" * 13,
        "0",
        "0.000000",
    ]:
        workspace = await api.workspace()
        answer = await api.client.post(
            f"{V1}/workspaces/{workspace}/credits", json={"amount": amount}
        )
        assert answer.status_code == 400
        assert "amount" in answer.json()["detail"]
        audit = (await api.client.get(f"{V1}/workspaces/{workspace}/audit")).json()
        assert (audit["balance"], audit["entries_sum"]) == ("0.000000", "0.000000")


async def test_a_note_is_short_printable_text(api: AdminApi) -> None:
    for note in ["", "x" * 501, "a\x00b", 1]:
        workspace = await api.workspace()
        where = f"{V1}/workspaces/{workspace}/credits"
        answer = await api.client.post(where, json={"amount": "1", "note": note})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["param"] == "note"


async def test_an_audit_shows_both_sides_of_the_account(api: AdminApi) -> None:
    workspace = await api.workspace()
    where = f"{V1}/workspaces/{workspace}/audit"
    assert (await api.client.get(where)).json() == {
        **NOTHING,
        "entries_sum": "0.000000",
        "open_holds_sum": "0.000000",
        "consistent": True,
    }
    await api.client.post(f"{V1}/workspaces/{workspace}/credits", json={"amount": "5"})
    await api.hold(workspace, 1_500_000)
    healthy = {
        "balance": "5.000000",
        "held": "1.500000",
        "available": "3.500000",
        "entries_sum": "5.000000",
        "open_holds_sum": "1.500000",
        "consistent": True,
    }
    assert (await api.client.get(where)).json() == healthy

    def tamper(conn: Connection) -> None:
        conn.execute(text("UPDATE entry SET amount = amount - 1"))

    await api.database.write(tamper)
    assert (await api.client.get(where)).json() == {
        **healthy,
        "entries_sum": "4.999999",
        "consistent": False,
    }
