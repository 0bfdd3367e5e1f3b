"""The scripts that make generated documentation."""
