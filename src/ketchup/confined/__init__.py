"""Confined: child processes for strangers' bytes, few of them, each without any rights.

`children` starts, lends and replaces them in the server's process. `rights` gives the rights up; it
is imported by the scripts that run in a child, and needs the standard library only.

A script knows what to do with the bytes, and its feature what to make of the answer.
"""
