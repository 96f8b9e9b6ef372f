"""Where the concrete parts meet: `popauthd watch`, `popauthd respond`, `popauthd run`.

watch is the one writer: it follows the logs and keeps books, map and host list. respond answers Exim
from the map and needs nothing else. run starts both as its children and ends when one of them does.
All end cleanly on SIGTERM and SIGINT; exit codes are those of sysexits.h. SIGHUP: read the configuration again.

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
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from popauthd import CONFIGURATION, __version__, config, file_marks
from popauthd.errors import PopauthdError, Stopped
from popauthd.locks import Places
from popauthd.run_dir import end_if_lost, lookup_listener, only_writer, prepare, starting
from popauthd.serving.unix_socket import listen
from popauthd.systemd import Supervisor
from popauthd.watch.commands import handle
from popauthd.watch.control import ControlServer

if TYPE_CHECKING:
    from popauthd.responder import Responder

log = logging.getLogger("popauthd")

POLL_SECONDS = 1.0  # events only wake; the log is looked at this often anyway
STOP_SECONDS = 5.0
CONFIGURED_SECONDS = 0.02  # how often the responder looks whether the watcher has read the configuration


class Signals:
    """SIGTERM, SIGINT and SIGHUP as flags and a readable file descriptor. `main` has blocked SIGHUP until now."""

    def __init__(self) -> None:
        self.stop = False
        self._reload = False
        self._woken = False
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _on_reload(self, _number: int, _frame: object) -> None:
        self._reload = True

    def take_reload(self) -> bool:
        """Whether the configuration is to be read again; said once."""
        wanted, self._reload = self._reload, False
        return wanted

    def _on_stop(self, _number: int, _frame: object) -> None:
        self.stop = True

    def stopped(self) -> bool:
        """Whether this process is to stop."""
        return self.stop

    def wake(self) -> None:
        """Make the descriptor readable, once until `heed`; may be called from any thread."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(BlockingIOError):
                os.write(self._writer, b"\0")

    def heed(self) -> None:
        """What woke us is looked at from now on: what happens later wakes again."""
        self._woken = False

    def drain(self) -> None:
        """Take what made the descriptor readable."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 4096):
                pass


def watch(given: str | None, loaded: config.Loaded, parent: int) -> None:
    """Run the watcher until told to stop, or until the process `parent` is gone (0: nobody's child).

    given: the configuration file as it was named, None for the usual one; loaded: what was in it.
    """
    # The stores and log libraries are the watcher's alone: respond must not pay for them.
    from popauthd.watch.assembly import build, build_waker, followed_now
    from popauthd.watch.in_force import InForce
    from popauthd.watch.pace import Pace
    from popauthd.watch.push_sources import Pushing
    from popauthd.watch.reload import Reloading

    settings = loaded.config
    systemd = Supervisor()
    sources = followed_now(settings)
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
            if watcher.cluster is not None:
                watcher.cluster.listen(selector)
            watcher.start()
            waker = build_waker(sources, signals.wake)
            stack.callback(waker.stop)
            in_force = InForce(given, loaded, watcher.health, watcher.now())
            watcher.turn()  # who hears that we are ready may rely on it: every log that exists has been opened
            listener = stack.enter_context(listen(settings.control_path, 0o600))
            control = ControlServer(listener, lambda request: handle(watcher, request), selector)
            stack.callback(control.close)
            pushing = Pushing(settings, watcher, selector)
            stack.callback(pushing.close)
            for path in (settings.watch_lock_path, settings.control_path):
                places.add(path)
            reloading = Reloading(
                in_force, sources, watcher, pushing, selector, waker, places, signals.wake, systemd.ready
            )
            stack.callback(reloading.close)
            watcher.configured = reloading
            reloading.start()
        stack.callback(systemd.stopping)
        more, pace = True, Pace(selector)
        while not signals.stop and parent in (0, os.getppid()):
            at_most = 0 if more else watcher.ledger.wait(control.wait(pushing.wait(POLL_SECONDS)))
            pace.wait(at_most, watcher.asked, signals.stopped)
            signals.heed()
            if signals.take_reload():
                with contextlib.suppress(PopauthdError):  # the log is told, and status
                    reloading.reload()
            reloading.tend(busy=pace.busy)
            pushing.tend()
            more = watcher.turn()
            pace.turned(found=watcher.found)
            control.drop_slow()
            systemd.say(watcher.health.summary or reloading.watching)
            systemd.alive()
            end_if_lost(places)
        watcher.ledger.leave()
    log.info("stopped")


def respond(given: str | None, loaded: config.Loaded, parent: int) -> None:
    """Run the responder until told to stop, or until the process `parent` is gone (0: nobody's child).

    It reads the configuration again at SIGHUP, and when the watcher has done so. given, loaded: see `watch`.
    """
    from popauthd.responder import Responder
    from popauthd.store.relay_map import MapReader

    settings = loaded.config
    systemd = Supervisor()
    places = Places(POLL_SECONDS)
    configured, look_at = None, 0.0  # the watcher may have read another file than we did, just now
    with contextlib.ExitStack() as stack:
        with starting(settings):
            signals = Signals()
            listener = stack.enter_context(lookup_listener(settings, places, signals.stopped, stack))
            responder = Responder(listener, MapReader(settings.map_path, lock=True), settings.hold_no_ms)
        log.info("answering on %s", settings.lookup_path)
        systemd.ready(f"answering on {settings.lookup_path}")
        while not signals.stop and parent in (0, os.getppid()):
            responder.turn(POLL_SECONDS)
            now = time.monotonic()
            if signals.take_reload():
                _read_again(given, settings, responder)
            elif now >= look_at:  # a busy responder turns ten thousand times a second
                look_at = now + CONFIGURED_SECONDS
                touched = file_marks.at(settings.configured_path)
                if touched is not None and touched != configured:
                    configured = touched
                    _read_again(given, settings, responder)
            systemd.alive()
            end_if_lost(places)
        systemd.stopping()
        responder.drain()
        responder.close()
    log.info("stopped")


def _read_again(given: str | None, before: config.Config, responder: Responder) -> None:
    """Have the responder go by the file as it is now; a wrong one changes nothing."""
    try:
        settings = config.load(given)
    except PopauthdError as error:
        log.error("the configuration from before stays in force: %s", error)  # noqa: TRY400 - no traceback
        return
    if settings.run_dir != before.run_dir:
        log.error("a reload cannot change run_dir; still answering on %s", before.lookup_path)
        return
    responder.hold_no(settings.hold_no_ms)


def run(settings: config.Config, arguments: Sequence[str]) -> None:
    """Run watcher and responder as children; when one ends, stop the other. Raises PopauthdError then.

    SIGHUP is passed on to the watcher, which tells the responder when the file is right.
    """
    ours = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    watched = ours | {signal.SIGHUP}  # which stays blocked in a child until that is ready for it
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    isolated = ["-I"] if sys.flags.isolated else []  # as installed: no module of the current directory
    unblock = functools.partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, ours)
    command = [sys.executable, *isolated, "-m", "popauthd", *arguments, "--parent", str(os.getpid())]
    children: dict[str, subprocess.Popen[bytes]] = {}
    died = None
    try:
        with starting(settings):
            prepare(settings)
            for part in ("watch", "respond"):
                children[part] = subprocess.Popen([*command, part], preexec_fn=unblock)
        log.info("started %s", ", ".join(f"{part} pid={child.pid}" for part, child in children.items()))
        while died is None and (number := signal.sigwait(watched)) in (signal.SIGCHLD, signal.SIGHUP):
            if number == signal.SIGHUP:
                children["watch"].send_signal(number)
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
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # one that comes now waits until we are ready for it
    try:
        loaded = config.read(options.config)
        if options.part == "run":
            given = ["--config", options.config] if options.config else []
            run(loaded.config, [*given, *(["--debug"] if options.debug else [])])
        else:
            {"watch": watch, "respond": respond}[options.part](options.config, loaded, options.parent)
    except Stopped:
        log.info("stopped")
    except PopauthdError as error:
        log.error("%s", error)  # noqa: TRY400 - a message for the administrator, not a traceback
        return error.exit_code
    return 0
