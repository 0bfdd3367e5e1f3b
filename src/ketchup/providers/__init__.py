"""Providers: adapters to what renders. They share `base` and know nothing of each other."""
