"""Settings: what an operator can decide, and where each value came from.

`groups` and `catalogues` hold the fields, `schema` all of them together; `sources` layers flags
over environment over `ketchup.toml` over defaults, `page` writes docs/configuration.md from the
fields. Only the command line and what builds the service (`service`, `bootstrap`, `offers`,
`engines`) import this package; everything else is given plain values.
"""

from ketchup.config.catalogues import ChannelSettings, ModelSettings
from ketchup.config.schema import Settings
from ketchup.config.sources import Kind, Loaded, Origin, SettingsError, load

__all__ = [
    "ChannelSettings",
    "Kind",
    "Loaded",
    "ModelSettings",
    "Origin",
    "Settings",
    "SettingsError",
    "load",
]
