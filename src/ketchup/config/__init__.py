"""Settings: what an operator can decide, and where each value came from.

`schema` holds the fields, `sources` layers flags over environment over `ketchup.toml` over
defaults, `page` writes docs/configuration.md from the fields. Only `bootstrap` and `cli` import
this package; everything else is given plain values.
"""

from ketchup.config.schema import ChannelSettings, ModelSettings, Settings
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
