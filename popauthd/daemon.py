"""Where the concrete parts meet: `popauthd watch`, `popauthd respond`, `popauthd run`.

watch is the one writer: it follows the logs and keeps books, map and host list. respond answers Exim
from the map and needs nothing else. run starts both as its children and ends when one of them does.
All end cleanly on SIGTERM and SIGINT; exit codes are those of sysexits.h.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import grp
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from popauthd import __version__, config
from popauthd.commands import handle
from popauthd.control import ControlServer, listen
from popauthd.errors import ConfigError, PopauthdError, StoreError
from popauthd.notify import Supervisor, handed_over

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

    def wake(self) -> None:
        """Make the descriptor readable; may be called from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def drain(self) -> None:
        """Take what made the descriptor readable."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reader, 4096):
                pass


def prepare_run_dir(settings: config.Config) -> None:
    """Make run_dir (2750, group as configured, so what is made in it is Exim's to read) if it is missing."""
    directory = Path(settings.run_dir)
    try:
        if directory.is_dir():
            return
        # Made aside and renamed: the other part, started at the same moment, never sees it half made.
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(fresh, -1, grp.getgrnam(settings.group).gr_gid)
        fresh.chmod(0o2750)
        try:
            fresh.rename(directory)
        except OSError:
            fresh.rmdir()
            if not directory.is_dir():  # else the other part was faster
                raise
    except OSError as error:
        raise ConfigError(f"run_dir {directory}: cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def only_writer(settings: config.Config) -> Iterator[None]:
    """Hold the lock that makes this process the one writer. Raises StoreError if another has it."""
    directory = Path(settings.state_dir)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"state_dir {directory}: cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{directory}: another watcher is running on these books") from error
        yield
    finally:
        os.close(descriptor)


def watch(settings: config.Config, parent: int) -> None:
    """Run the watcher until told to stop, or until the process `parent` is gone (0: nobody's child)."""
    # The stores and log libraries are the watcher's alone: respond must not pay for them.
    from popauthd.assembly import build, build_waker, followed
    from popauthd.pushing import Pushing

    systemd = Supervisor()
    sources = followed(settings)
    signals = Signals()
    prepare_run_dir(settings)
    selector = selectors.DefaultSelector()
    selector.register(signals.reader, selectors.EVENT_READ, signals.drain)
    with only_writer(settings), contextlib.ExitStack() as stack:
        watcher = build(settings, sources)
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
        for descriptor, process in watcher.descriptors():
            selector.register(descriptor, selectors.EVENT_READ, process)
        poll_seconds = JOURNAL_POLL_SECONDS if any(source.type == "journal" for source in sources) else POLL_SECONDS
        names = ", ".join([source.name for source in sources] + pushing.names)
        log.info("watching %s", names)
        systemd.ready(f"watching {names}")
        stack.callback(systemd.stopping)
        more = True
        while not signals.stop and parent in (0, os.getppid()):
            for key, _events in selector.select(0 if more else poll_seconds):
                key.data()
            waker.tend()
            pushing.tend()
            more = watcher.turn()
            control.drop_slow()
            systemd.alive()
    log.info("stopped")


def respond(settings: config.Config, parent: int) -> None:
    """Run the responder until told to stop, or until the process `parent` is gone (0: nobody's child)."""
    from popauthd.relaymap import MapReader
    from popauthd.responder import Responder

    systemd = Supervisor()
    signals = Signals()
    prepare_run_dir(settings)
    with handed_over() or listen(settings.lookup_path, 0o660) as listener:
        responder = Responder(listener, MapReader(settings.map_path), settings.hold_no_ms)
        log.info("answering on %s", settings.lookup_path)
        systemd.ready(f"answering on {settings.lookup_path}")
        while not signals.stop and parent in (0, os.getppid()):
            responder.turn(POLL_SECONDS)
            systemd.alive()
        systemd.stopping()
        responder.drain()
        responder.close()
    log.info("stopped")


def run(settings: config.Config, arguments: Sequence[str]) -> None:
    """Run watcher and responder as children; when one ends, stop the other. Raises PopauthdError then."""
    prepare_run_dir(settings)
    watched = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    isolated = ["-I"] if sys.flags.isolated else []  # as installed: no module of the current directory
    command = [sys.executable, *isolated, "-m", "popauthd", *arguments, "--parent", str(os.getpid())]
    children = {
        part: subprocess.Popen([*command, part], preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, watched))
        for part in ("watch", "respond")
    }
    log.info("started %s", ", ".join(f"{part} pid={child.pid}" for part, child in children.items()))
    try:
        died = None
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
        error = PopauthdError(f"{died} ended with {children[died].returncode}; stopped the other part as well")
        error.exit_code = max(children[died].returncode, 1)
        raise error


def main(argv: Sequence[str] | None = None) -> int:
    """The `popauthd` command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="popauthd", description="POP-before-SMTP for Dovecot and Exim.")
    parser.add_argument("--version", action="version", version=f"popauthd {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"configuration (default: {config.DEFAULT_PATH})")
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
    except PopauthdError as error:
        log.error("%s", error)  # noqa: TRY400 - a message for the administrator, not a traceback
        return error.exit_code
    return 0
