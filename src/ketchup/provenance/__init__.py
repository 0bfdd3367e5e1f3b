"""Provenance: what a stored picture says about itself, and how it is known again without that.

`signer` holds the credential, `mark` signs, `verify` judges, `containers` reads the parts of a file
and writes the mark for readers that know no C2PA.

Nothing is imported here: signing costs 40 ms of a start, and whoever needs it names the module.
"""
