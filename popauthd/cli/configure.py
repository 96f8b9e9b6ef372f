"""config check and config show."""

from __future__ import annotations

import argparse

from popauthd.cli.common import settings
from popauthd.watch import push_sources
from popauthd.watch.assembly import followed, recogniser, user_files


def _config_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(metavar="check|show", required=True)
    what.add_parser("check", parents=[common], help="is it right? exit 78 and the reason if not").set_defaults(
        run=check
    )
    what.add_parser("show", parents=[common], help="every setting as it is in force").set_defaults(run=show)


ARGUMENTS = {"config": _config_arguments}


def check(options: argparse.Namespace) -> int:
    """Read the configuration as the daemon would; errors are raised."""
    loaded = settings(options)
    sources = followed(loaded)
    for source in sources:
        recogniser(source)
    for warning in user_files(loaded).warnings():
        print(f"note: {warning}")
    names = [source.name for source in sources] + push_sources.check(loaded)
    print(f"the configuration is right; it follows {', '.join(names)}")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print every setting, defaults included."""
    from popauthd.config.show import as_toml  # nobody else needs to write TOML

    print(as_toml(settings(options)), end="")
    return 0
