"""Strangers' bytes without end: whatever comes in, only the documented comes out."""
