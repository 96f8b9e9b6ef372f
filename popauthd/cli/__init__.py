"""popauthctl: what an administrator asks and tells popauthd. A table of commands, one small file a group."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from popauthd import __version__, config
from popauthd.cli import change, configure, doctor, dovecot, exim, inquire, recognise
from popauthd.errors import PopauthdError
from popauthd.text import safe

INTERRUPTED = 130
GROUPS = (inquire, change, configure, recognise, exim, dovecot, doctor)


def parser() -> argparse.ArgumentParser:
    """The whole command line; each group adds its commands."""
    root = argparse.ArgumentParser(prog="popauthctl", description="Ask and steer popauthd (POP-before-SMTP).")
    root.add_argument("--version", action="version", version=f"popauthctl {__version__}")
    root.add_argument("--config", metavar="FILE", help=f"configuration (default: {config.DEFAULT_PATH})")
    # --config may stand behind the command as well, as people type it there
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add(commands, common)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """The `popauthctl` command; returns its exit code."""
    options = parser().parse_args(argv)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except PopauthdError as error:
        print(f"popauthctl: {error}", file=sys.stderr)
        trouble: int = getattr(options, "trouble", error.exit_code)
        return trouble
    except BrokenPipeError:  # `popauthctl list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # a fault of ours: said in a line that can be reported
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {safe(str(error), 400)} ({Path(where.filename).name}, line {where.lineno})"
        print(f"popauthctl: this should not happen, please report it: {what}", file=sys.stderr)
        return getattr(options, "trouble", PopauthdError.exit_code)
    return code
