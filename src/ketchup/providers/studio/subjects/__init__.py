"""The subjects: one file each, holding a `SUBJECT`."""
