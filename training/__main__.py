"""``python -m training``: the command line, which is :mod:`cli.train`."""

import sys

from cli.train import main

if __name__ == "__main__":
    sys.exit(main())
