"""Changes the live files: tried aside first, written all or none, tried again, and put back if anything fails."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from popauthd.errors import ConfigError, PopauthdError
from popauthd.eximsetup import plan, trial
from popauthd.eximsetup.site import Site

log = logging.getLogger("popauthd.exim")

Changed = Mapping[Path, tuple[str | None, str | None]]
Say = Callable[[str], None]
RELOAD_SECONDS = 1.0  # one that cannot go on ends within milliseconds
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def carry_out(site: Site, wanted: plan.Wanted, *, asked: bool, dry_run: bool, say: Say) -> bool:
    """Bring the live files to what is wanted; True if anything was to change.

    asked: whether popauthd must be asked afterwards. Raises ConfigError with the live files as they were.
    """
    with _alone(site.confdir), _signals_as_errors():
        return _carry_out(site, wanted, asked=asked, dry_run=dry_run, say=say)


def _carry_out(site: Site, wanted: plan.Wanted, *, asked: bool, dry_run: bool, say: Say) -> bool:
    changed = plan.changes(wanted)
    if not changed and (not site.generated.exists() or trial.asks(site, site.generated) == asked):
        return False
    say(plan.diff(changed).rstrip("\n"))
    with trial.aside(site) as old, trial.aside(site) as new:
        before = trial.build(site, {}, old)
        if changed and trial.pending(site, before):
            _told_of_edits(site, asked=asked, say=say)
        after = trial.build(site, wanted, new)
        if trial.asks(site, after) != asked:
            raise ConfigError("something else in Exim's configuration sets acl_smtp_rcpt, so this would have no effect")
        open_to = trial.open_relay(site, before)
        if open_to and asked:
            raise ConfigError(f"Exim already relays for strangers ({open_to}), whoever logs in; mend that first")
        if open_to:
            say(f"WARNING: Exim relays for strangers ({open_to}) without popauthd: an open relay")
        for line in trial.compare(site, before, after):
            say(f"tried: {line}")
        if dry_run:
            return True
        _live(site, changed, before, asked=asked)
    reload(site, say)
    return True


def _told_of_edits(site: Site, *, asked: bool, say: Say) -> None:
    """Edits that are not in force yet would go live with ours: refused on the way in, told on the way out."""
    edits = f"files below {site.confdir} were changed and {site.generated} was not made anew since"
    if asked:
        raise ConfigError(f"{edits}; run update-exim4.conf, reload Exim, see that all is well, then try again")
    say(f"WARNING: {edits}; those changes come into force as well")


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One change at a time. Raises ConfigError at once if another is under way."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError("another popauthctl is changing Exim's configuration; wait for it") from error
    finally:
        os.close(number)


@contextlib.contextmanager
def _signals_as_errors() -> Iterator[None]:
    """A signal that would end the process half-way raises ConfigError instead, so that all is put back."""

    def ended(number: int, _frame: FrameType | None) -> None:
        for other in ENDING:  # what has been done is put back in peace
            signal.signal(other, signal.SIG_IGN)
        raise ConfigError(f"ended by {signal.Signals(number).name}")

    before = {number: signal.signal(number, ended) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _live(site: Site, changed: Changed, before: Path, *, asked: bool) -> None:
    """Write, generate and try the live configuration; put everything back if any of it fails."""
    generated = site.generated.read_bytes() if site.generated.exists() else None
    done: list[Path] = []
    try:
        # The ACL file first, and last out: the hook without it is Debian's own ACL.
        for path in sorted(changed, key=lambda path: path != site.acl_file):
            done.append(path)
            write(path, changed[path][1])
        _generate(site)
        _prove(site, before, asked=asked)
    except BaseException as error:
        for path in reversed(done):
            write(path, changed[path][0])
        with contextlib.suppress(ConfigError):
            _generate(site)
        if generated is not None and not trial.same(site.generated.read_bytes(), generated):
            log.warning("%s differs from what it was; run update-exim4.conf", site.generated)
        if isinstance(error, PopauthdError):
            raise ConfigError(f"{error}; everything is put back as it was") from error
        raise


def _prove(site: Site, before: Path, *, asked: bool) -> None:
    if trial.asks(site, site.generated) != asked:
        raise ConfigError("the configuration that was made does not ask as it should")
    trial.compare(site, before, site.generated)


def _generate(site: Site) -> None:
    trial.must([site.update, "-d", site.confdir, "-o", site.generated], "update-exim4.conf")
    trial.must([site.exim, "-C", site.generated, "-bV"], "exim -bV")


def write(path: Path, text: str | None) -> None:
    """Replace a file in one step, its owner and mode kept, or remove it. Raises ConfigError."""
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path = path.resolve()  # an administrator's symbolic link stays one
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, mode=0o755)
        status = path.stat() if path.exists() else None
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        fresh = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                os.fchmod(file.fileno(), status.st_mode & 0o7777 if status else 0o644)
                if status:
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def reload(site: Site, say: Say) -> None:
    """Have a running Exim read its configuration again, as Debian's reload does; never start one.

    Raises ConfigError if it ends instead.
    """
    pid = running(site)
    if pid is None:
        say("Exim is not running; it will read the new configuration when it starts")
        return
    # By the signal itself: invoke-rc.d says that all went well when a policy keeps it from doing anything.
    os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < until:
        if not is_exim(pid):
            raise ConfigError(
                f"Exim (pid {pid}) ended when it was told to reload, though its configuration is right; see "
                "/var/log/exim4/paniclog, and start it: systemctl restart exim4"
            )
        time.sleep(0.05)
    say(f"Exim reloaded (pid {pid})")


def running(site: Site) -> int | None:
    """The process of the Exim daemon, or None."""
    try:
        pid = int(site.pid_file.read_text())
    except (OSError, ValueError):
        return None
    return pid if is_exim(pid) else None


def is_exim(pid: int) -> bool:
    """Whether a process is there, alive, and Exim."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
    except OSError:
        return False
    return name.startswith("exim") and not rest.startswith("Z")
