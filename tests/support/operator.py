"""What an operator does first: a key for the first workspace."""

from __future__ import annotations

import httpx2


def new_key(base_url: str, admin_token: str) -> str:
    """Make a key as an operator does, and return it."""
    headers = {"Authorization": f"Bearer {admin_token}"}
    with httpx2.Client(base_url=base_url, headers=headers, trust_env=False) as operator:
        workspaces = "/admin/v1/workspaces"
        workspace = operator.get(workspaces).json()["items"][0]["id"]
        made = operator.post(f"{workspaces}/{workspace}/keys", json={"name": "customers"})
    key: str = made.json()["key"]
    return key
