"""`python -m ketchup` is `ketchup`."""

from ketchup.cli import main

if __name__ == "__main__":
    main()
