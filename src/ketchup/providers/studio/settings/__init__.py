"""The settings: one file each, holding a `SETTING`."""
