"""``darkknowledge``; without an installed package ``python -m darkknowledge``."""

import sys


def main() -> None:
    """Load the command line, which takes a moment, and run it."""
    try:
        from darkknowledge import cli
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
