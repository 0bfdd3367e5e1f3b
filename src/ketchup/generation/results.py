"""Results: how a stored image is shown to a client, as an address or as a data URI."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

from ketchup.clock import Micros, after
from ketchup.errors import NotFound
from ketchup.providers.base import ImageFormat
from ketchup.providers.catalog import Catalog, ResultForm
from ketchup.storage import Storage, parse_image_key

_MIME_TYPES: Final = {f.suffix: f.mime_type for f in ImageFormat}


def expires_at(keys: Sequence[str], kept_seconds: int) -> Micros | None:
    """Return when the first of these images goes that is kept for so long; None without any."""
    made = [image.created_at for key in keys if (image := parse_image_key(key))]
    return after(min(made), kept_seconds) if made else None


class Results:
    """Writes image names as a client reads them. Addresses are made at every read, never stored."""

    def __init__(self, storage: Storage, catalog: Catalog, base_url: str) -> None:
        self._storage = storage
        self._catalog = catalog
        self._prefix = base_url.rstrip("/") + "/"

    def is_by_address(self, model: str) -> bool:
        """Whether this model's images are shown as addresses, which needs no reading."""
        found = self._catalog.find(model)
        return found is None or found.result_form is ResultForm.URL

    def addresses(self, keys: Sequence[str]) -> list[str]:
        """Return where each image can be downloaded."""
        return [self._prefix + key for key in keys]

    def key_of(self, url: str) -> str | None:
        """Return which image has this address, if it looks like one of ours; it may be gone."""
        key = url.removeprefix(self._prefix)
        return key if key != url and parse_image_key(key) else None

    async def show(self, model: str, keys: Sequence[str]) -> list[str]:
        """Return each image in the form that the catalogue gives its model."""
        if self.is_by_address(model):
            return self.addresses(keys)
        return [await self._data_uri(key) for key in keys]

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete these blobs; addresses that lead to them are unknown from then on.

        What is gone already is no error, so after Unavailable the same may be asked again.
        """
        for key in keys:
            await self._storage.delete(key)

    async def _data_uri(self, key: str) -> str:
        try:
            data = await self._storage.get(key)
        except NotFound:
            # Past its retention: the address says so with a 404, a data URI cannot.
            return self._prefix + key
        mime_type = _MIME_TYPES[key.rpartition(".")[2]]
        return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"
