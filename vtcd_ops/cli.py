"""The command line, as `vtcd` and as `python -m vtcd_ops.cli`."""

import os
import sys

if not sys.stderr.isatty():  # a line of progress in ten seconds is enough for a log
    os.environ.setdefault("TQDM_MININTERVAL", "10")

from vtcd_ops.commands.app import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()
