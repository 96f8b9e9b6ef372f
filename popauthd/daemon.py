"""Where the concrete parts meet: `popauthd watch`, `popauthd respond`, `popauthd run`.

watch is the one writer: it follows the logs and keeps books, map and host list. respond answers Exim
from the map and needs nothing else. run starts both as its children and ends when one of them does.
All end cleanly on SIGTERM and SIGINT; exit codes are those of sysexits.h.

Each holds a lock in run_dir, the watcher one in state_dir as well, before it touches anything there. When its lock or
its socket is taken away while it runs, it ends (74), and whatever started it starts it anew.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence

from popauthd import CONFIGURATION, __version__, config
from popauthd.errors import PopauthdError, Stopped
from popauthd.locks import Places
from popauthd.run_dir import end_if_lost, lookup_listener, only_writer, prepare, starting
from popauthd.systemd import Supervisor
from popauthd.watch.commands import handle
from popauthd.watch.control import ControlServer, listen

log = logging.getLogger("popauthd")

POLL_SECONDS = 1.0  # events only wake; the log is looked at this often anyway
JOURNAL_POLL_SECONDS = 0.05  # journald tells of a record up to half a second late, though it can be read at once
STOP_SECONDS = 5.0


class Signals:
    """SIGTERM and SIGINT as a flag and a readable file descriptor."""

    def __init__(self) -> None:
        self.stop = False
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)

    def _on_stop(self, _number: int, _frame: object) -> None:
        self.stop = True

    def stopped(self) -> bool:
        """Whether this process is to stop."""
        return self.stop

    def wake(self) -> None:
        """Make the descriptor readable; may be called from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def drain(self) -> None:
        """Take what made the descriptor readable."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 4096):
                pass


def watch(settings: config.Config, parent: int) -> None:
    """Run the watcher until told to stop, or until the process `parent` is gone (0: nobody's child)."""
    # The stores and log libraries are the watcher's alone: respond must not pay for them.
    from popauthd.watch.assembly import build, build_waker, followed
    from popauthd.watch.push_sources import Pushing

    systemd = Supervisor()
    sources = followed(settings)
    places = Places(POLL_SECONDS)
    with contextlib.ExitStack() as stack:
        with starting(settings):
            signals = Signals()
            prepare(settings)
            for descriptor in only_writer(settings, signals.stopped):
                stack.callback(os.close, descriptor)
            selector = stack.enter_context(selectors.DefaultSelector())
            selector.register(signals.reader, selectors.EVENT_READ, signals.drain)
            watcher = build(settings, sources, signals.stopped)
            stack.callback(watcher.close)
            watcher.start()
            waker = build_waker(sources, signals.wake)
            stack.callback(waker.stop)
            watcher.turn()  # who hears that we are ready may rely on it: every log that exists has been opened
            listener = stack.enter_context(listen(settings.control_path, 0o600))
            control = ControlServer(listener, lambda request: handle(watcher, request), selector)
            stack.callback(control.close)
            pushing = Pushing(settings, watcher, selector)
            stack.callback(pushing.close)
            for path in (settings.watch_lock_path, settings.control_path):
                places.add(path)
            if settings.post_login:
                places.add(settings.push_path)
        for descriptor, process in watcher.descriptors():
            selector.register(descriptor, selectors.EVENT_READ, process)
        poll_seconds = JOURNAL_POLL_SECONDS if any(source.type == "journal" for source in sources) else POLL_SECONDS
        names = ", ".join([source.name for source in sources] + pushing.names)
        log.info("watching %s", names)
        systemd.ready(f"watching {names}")
        stack.callback(systemd.stopping)
        more = True
        while not signals.stop and parent in (0, os.getppid()):
            for key, _events in selector.select(0 if more else control.wait(pushing.wait(poll_seconds))):
                key.data()
            waker.tend()
            pushing.tend()
            more = watcher.turn()
            control.drop_slow()
            systemd.alive()
            end_if_lost(places)
    log.info("stopped")


def respond(settings: config.Config, parent: int) -> None:
    """Run the responder until told to stop, or until the process `parent` is gone (0: nobody's child)."""
    from popauthd.responder import Responder
    from popauthd.store.relay_map import MapReader

    systemd = Supervisor()
    places = Places(POLL_SECONDS)
    with contextlib.ExitStack() as stack:
        with starting(settings):
            signals = Signals()
            listener = stack.enter_context(lookup_listener(settings, places, signals.stopped, stack))
            responder = Responder(listener, MapReader(settings.map_path), settings.hold_no_ms)
        log.info("answering on %s", settings.lookup_path)
        systemd.ready(f"answering on {settings.lookup_path}")
        while not signals.stop and parent in (0, os.getppid()):
            responder.turn(POLL_SECONDS)
            systemd.alive()
            end_if_lost(places)
        systemd.stopping()
        responder.drain()
        responder.close()
    log.info("stopped")


def run(settings: config.Config, arguments: Sequence[str]) -> None:
    """Run watcher and responder as children; when one ends, stop the other. Raises PopauthdError then."""
    watched = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    isolated = ["-I"] if sys.flags.isolated else []  # as installed: no module of the current directory
    unblock = functools.partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, watched)
    command = [sys.executable, *isolated, "-m", "popauthd", *arguments, "--parent", str(os.getpid())]
    children: dict[str, subprocess.Popen[bytes]] = {}
    died = None
    try:
        with starting(settings):
            prepare(settings)
            for part in ("watch", "respond"):
                children[part] = subprocess.Popen([*command, part], preexec_fn=unblock)
        log.info("started %s", ", ".join(f"{part} pid={child.pid}" for part, child in children.items()))
        while died is None and signal.sigwait(watched) == signal.SIGCHLD:
            died = next((part for part, child in children.items() if child.poll() is not None), None)
    finally:
        for child in children.values():
            child.terminate()
        for child in children.values():
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    if died is not None:
        status = children[died].returncode
        how = f"with {status}" if status >= 0 else f"by signal {-status}"
        error = PopauthdError(f"{died} ended {how}; stopped the other part as well. This popauthd answers nobody")
        if status > 0:
            error.exit_code = status
        raise error


def main(argv: Sequence[str] | None = None) -> int:
    """The `popauthd` command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="popauthd", description="POP-before-SMTP for Dovecot and Exim.")
    parser.add_argument("--version", action="version", version=f"popauthd {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"configuration (default: {CONFIGURATION})")
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("part", choices=("watch", "respond", "run"), help="watcher, responder, or both")
    options = parser.parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if options.debug else logging.INFO,
        format=f"popauthd-{options.part}: %(levelname)s: %(message)s",
    )
    try:
        settings = config.load(options.config)
        if options.part == "run":
            given = ["--config", options.config] if options.config else []
            run(settings, [*given, *(["--debug"] if options.debug else [])])
        else:
            {"watch": watch, "respond": respond}[options.part](settings, options.parent)
    except Stopped:
        log.info("stopped")
    except PopauthdError as error:
        log.error("%s", error)  # noqa: TRY400 - a message for the administrator, not a traceback
        return error.exit_code
    return 0
