"""The command line, as `vtcd` and as `python -m vtcd_ops.cli`."""

from vtcd_ops.commands.app import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()
