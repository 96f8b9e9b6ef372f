"""reload: have the running watcher go by the configuration file as it is now."""

from __future__ import annotations

import argparse
import sys

from popauthd import control_client
from popauthd.cli.common import asked
from popauthd.errors import ConfigError, StoreError, UnavailableError
from popauthd.text import safe


def _reload_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=reload)


ARGUMENTS = {"reload": _reload_arguments}


def reload(options: argparse.Namespace) -> int:
    """Put the file in force. If it is wrong, the watcher is told of it all the same, and says so in its log."""
    try:
        reply = asked(options, lambda path: control_client.ask_watcher(path, command="reload"))
    except UnavailableError as error:
        raise UnavailableError(f"{error}; if run_dir was changed: systemctl restart popauthd") from error
    if "error" in reply:
        refused = control_client.refusal(reply)
        wrong = ConfigError(f"{refused}; the configuration from before stays in force")
        wrong.exit_code = refused.exit_code
        raise wrong
    for line in reply["changed"]:
        print(safe(str(line), 400))
    print(f"{safe(reply['path'], 200)} is in force{'' if reply['changed'] else '; no setting differs from before'}")
    if warning := reply["warning"]:
        print(f"popauthctl: {safe(warning, 400)}", file=sys.stderr)
        return StoreError.exit_code
    return 0
