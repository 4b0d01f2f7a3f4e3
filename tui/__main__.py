"""`python -m tui` is `arbtop`."""

from tui.cli import main

if __name__ == "__main__":
    main()
