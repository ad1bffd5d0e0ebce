"""``python -m darkknowledge``: the command line without an installed package."""

from darkknowledge.cli import main

if __name__ == "__main__":
    main()
