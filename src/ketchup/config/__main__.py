"""`python -m ketchup.config` prints docs/configuration.md."""

import sys

from ketchup.config.page import page

if __name__ == "__main__":
    sys.stdout.write(page())
