"""popauthctl: what an administrator asks and tells popauthd. A table of commands, one small file a group.

A group's file is imported when one of its commands is called, so that a command waits for nothing that it does not use.
The list of commands waits for nothing at all, not even for argparse.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from popauthd import CONFIGURATION, __version__
from popauthd.errors import PopauthdError

TYPE_CHECKING = False  # as in typing, whose import takes milliseconds
if TYPE_CHECKING:
    import argparse

INTERRUPTED = 130
COLLECT_AFTER = 100_000  # new objects
WRONG = 2  # as argparse ends where the command line is wrong
DESCRIPTION = "Ask and steer popauthd (POP-before-SMTP)."
HELP = ("-h", "--help", "help")


# A command, its file in this folder, whose `ARGUMENTS` has what adds its arguments, and what --help says of it.
COMMANDS = (
    ("check", "check", "may this address, network or user relay, and why (exit 0 yes, 1 no, 2 trouble)"),
    ("list", "list_addresses", "every address that may relay now"),
    ("status", "status", "how the running watcher is"),
    ("grant", "change", "let ADDRESS relay without a login"),
    ("revoke", "change", "take back every grant made up to now"),
    ("reload", "reload", "have the running watcher go by the configuration file as it is now"),
    ("config", "configure", "look at the configuration"),
    ("recognise", "recognise", "what would the daemon make of these log lines?"),
    ("exim", "exim", "put popauthd into Debian's Exim, or take it out"),
    ("dovecot", "dovecot", "look at Dovecot's configuration"),
    ("cluster", "cluster", "several machines as one: make the key, and how they are"),
    ("doctor", "doctor", "is all of it well? exit 1 if something failed"),
)


def parser(called: str = "") -> argparse.ArgumentParser:
    """The command line. called: the command whose arguments are wanted; "" for those of all."""
    import argparse
    from importlib import import_module

    root = argparse.ArgumentParser(prog="popauthctl", description=DESCRIPTION, formatter_class=_formatter)
    root.add_argument("--version", action="version", version=f"popauthctl {__version__}")
    root.add_argument("--config", metavar="FILE", help=f"configuration (default: {CONFIGURATION})")
    # --config may stand behind the command as well, as people type it there
    common = argparse.ArgumentParser(add_help=False, formatter_class=_formatter)
    common.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = root.add_subparsers(title="commands", metavar="COMMAND")
    root.set_defaults(run=bare)
    for name, module, help_text in COMMANDS:
        own = commands.add_parser(name, parents=[common], help=help_text, formatter_class=_formatter)
        if called in ("", name):
            import_module(f"popauthd.cli.{module}").ARGUMENTS[name](own, common)
    return root


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Help as wide as the terminal; argparse would import shutil to ask for that, at every start."""
    import argparse

    try:
        columns = int(os.environ.get("COLUMNS", "")) or os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 80
    return argparse.HelpFormatter(prog, width=max(columns, 40) - 2)


def called(argv: Sequence[str]) -> str:
    """The command that is called, or a word that none has; "" where only the whole command line can tell."""
    words = iter(argv)
    for word in words:
        if word == "--config":
            next(words, "")
        elif word in (*HELP, "--version"):
            return word
        elif not word.startswith("--config="):
            return word if any(word == name for name, _module, _help in COMMANDS) else ""
    return ""


def overview() -> str:
    """The list of commands."""
    width = max(len(name) for name, _module, _help in COMMANDS)
    rows = [f"  {name:<{width}}  {help_text}" for name, _module, help_text in COMMANDS]
    return "\n".join(
        (
            "usage: popauthctl [--config FILE] COMMAND [ARGUMENT ...]",
            "",
            DESCRIPTION,
            "",
            "commands:",
            *rows,
            "",
            "popauthctl help COMMAND tells more of one; popauthctl(8) of all. --version prints the version.",
            f"--config FILE reads another configuration than {CONFIGURATION}.",
        )
    )


def bare(_options: argparse.Namespace) -> int:
    """No command at all: the list of commands."""
    print(overview())
    return WRONG


def main(argv: Sequence[str] | None = None) -> int:
    """The `popauthctl` command; returns its exit code."""
    if argv is None:  # this process is ours: a fifth of a short command is the collector, looking at what is imported
        gc.set_threshold(COLLECT_AFTER)
    given = list(sys.argv[1:] if argv is None else argv)
    word = called(given)
    if word == "help" and given[-1] != "help":
        given = [*given[given.index("help") + 1 :], "--help"]
        word = called(given)
    if word in HELP:
        print(overview())
        return 0
    options = parser(word).parse_args(given)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except PopauthdError as error:
        print(f"popauthctl: {_told(error)}", file=sys.stderr)
        trouble: int = getattr(options, "trouble", error.exit_code)
        return trouble
    except BrokenPipeError:  # `popauthctl list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # a fault of ours: said in a line that can be reported
        print(f"popauthctl: this should not happen, please report it: {_fault(error)}", file=sys.stderr)
        return getattr(options, "trouble", PopauthdError.exit_code)
    return code


def _told(error: PopauthdError) -> str:
    """What went wrong; where a right is missing, that root has it."""
    text, cause = str(error), error.__cause__
    if isinstance(cause, PermissionError) and os.geteuid() != 0 and "needs root" not in text:
        return f"needs root (sudo popauthctl ...): {text}"
    return text


def steps(group: argparse.ArgumentParser, metavar: str) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """The commands within a group; the group by itself shows their list."""

    def listed(_options: argparse.Namespace) -> int:
        group.print_help()
        return WRONG

    group.set_defaults(run=listed)
    return group.add_subparsers(title="commands", metavar=metavar)


def _fault(error: Exception) -> str:
    """What went wrong, and where in our code."""
    from popauthd.text import safe

    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "" if trace is None else trace.tb_frame.f_code.co_filename.rpartition("/")[2]
    where = "" if trace is None else f" ({file}, line {trace.tb_lineno})"
    return f"{type(error).__name__}: {safe(str(error), 400)}{where}"
