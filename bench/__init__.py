"""Benchmarks: what Ketchup costs, beside what the usual way costs, in one run."""
