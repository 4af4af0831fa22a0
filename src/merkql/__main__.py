"""Entry point of ``python -m merkql``; it begins in ``_merkql``, as the installed command does."""

import sys

from _merkql import main

if __name__ == "__main__":
    sys.exit(main())
