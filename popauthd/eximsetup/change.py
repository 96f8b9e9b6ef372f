"""Changes the live files: tried aside first, written all or none, tried again, and put back if anything fails.

A change that was cut off (killed, a power cut) is noted; the next one undoes it before it begins.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from popauthd.errors import ConfigError, PopauthdError
from popauthd.eximsetup import plan, trial, unfinished
from popauthd.eximsetup.alone import Signals, alone
from popauthd.eximsetup.files import clean, write
from popauthd.eximsetup.process import Say, reload, running
from popauthd.eximsetup.site import Site, read
from popauthd.eximsetup.unfinished import Changed

log = logging.getLogger("popauthd.exim")


def recover(site: Site, *, asked: bool, dry_run: bool, say: Say) -> None:
    """Undo a change that was cut off, before another is planned. Raises ConfigError."""
    with alone(site):
        _recover(site, asked=asked, dry_run=dry_run, say=say)


def carry_out(site: Site, wanted: plan.Wanted, *, asked: bool, dry_run: bool, say: Say) -> bool:
    """Bring the live files to what is wanted; True if anything was to change.

    asked: whether popauthd must be asked afterwards. If not, our lines are taken out also of a configuration that Exim
    does not take. Raises ConfigError with the live files as they were.
    """
    with alone(site) as signals:
        _recover(site, asked=asked, dry_run=dry_run, say=say)
        return _carry_out(site, wanted, signals, asked=asked, dry_run=dry_run, say=say)


def _recover(site: Site, *, asked: bool, dry_run: bool, say: Say) -> None:
    cut = unfinished.noted(site)
    if not dry_run:
        for path in (site.note, *site.files()):
            clean(path)
    if cut is None:
        return
    if dry_run:
        raise ConfigError(f"{cut.words()} was cut off half-way, and must be undone first; leave out --dry-run")
    say(f"{cut.words()} was cut off half-way; it is undone first")
    for path, (before, after) in cut.changed.items():
        now = read(path)
        if now == after != before:
            write(path, before)
        elif now != before:
            say(f"WARNING: {path} was changed since; it is left as it is")
    try:
        _generate(site)
        reload(site, say)
    except ConfigError as error:
        if asked:
            raise
        say(f"WARNING: {error}")  # that popauthd is taken out of it all the same is what comes next
    unfinished.end(site)


def _carry_out(site: Site, wanted: plan.Wanted, signals: Signals, *, asked: bool, dry_run: bool, say: Say) -> bool:
    changed = plan.changes(wanted)
    if not changed and (not site.generated.exists() or _in_force(site) == asked):
        return False
    if changed:
        say(plan.diff(changed).rstrip("\n"))
    with trial.aside(site) as old, trial.aside(site) as new:
        try:
            before = trial.build(site, {}, old)
            said = trial.played(site, before)
        except ConfigError as error:
            if asked:
                raise
            _untried(site, wanted, changed, new, signals, why=error, dry_run=dry_run, say=say)
            return True
        if changed and trial.pending(site, before):
            _told_of_edits(site, asked=asked, say=say)
        after = trial.build(site, wanted, new)
        if trial.asks(site, after) != asked:
            raise ConfigError(_other_hook(site, wanted))
        open_to = trial.open_relay(said)
        if open_to and asked:
            raise ConfigError(f"Exim already relays for strangers ({open_to}), whoever logs in; mend that first")
        if open_to:
            say(f"WARNING: Exim relays for strangers ({open_to}) without popauthd: an open relay")
        for line in trial.compare(said, trial.played(site, after)):
            say(f"tried: {line}")
        if dry_run:
            return True
        _live(site, changed, said, signals, asked=asked)
    _tell_exim(site, say)
    return True


def _in_force(site: Site) -> bool | None:
    """Whether the configuration in force asks popauthd; None if Exim does not take it."""
    try:
        return trial.asks(site, site.generated)
    except ConfigError:
        return None


def _other_hook(site: Site, wanted: plan.Wanted) -> str:
    """Why Exim would do the opposite of what is wanted."""
    if plan.BEGIN in (wanted[site.macros_file] or ""):  # in what is left without whole blocks
        return (
            f'{site.macros_file} has a line "{plan.BEGIN}" and no line "{plan.END}" below it, so that nobody can tell '
            "which lines are popauthd's; take them out by hand, then try again"
        )
    return (
        plan.by_hand(site, wanted)
        or "something else in Exim's configuration sets acl_smtp_rcpt, so this would have no effect"
    )


def _told_of_edits(site: Site, *, asked: bool, say: Say) -> None:
    """Edits that are not in force yet would go live with ours: refused on the way in, told on the way out."""
    edits = f"files below {site.confdir} were changed and {site.generated} was not made anew since"
    if asked:
        raise ConfigError(f"{edits}; run update-exim4.conf, reload Exim, see that all is well, then try again")
    say(f"WARNING: {edits}; those changes come into force as well")


def _untried(
    site: Site,
    wanted: plan.Wanted,
    changed: Changed,
    where: Path,
    signals: Signals,
    *,
    why: ConfigError,
    dry_run: bool,
    say: Say,
) -> None:
    """Take popauthd out of a configuration that is broken. Exim is given it only if it is well without popauthd."""
    say(f"WARNING: Exim's configuration is broken as it is: {why}")
    try:
        trial.played(site, trial.build(site, wanted, where))
        well = True
    except ConfigError as error:
        say(f"WARNING: it is broken without popauthd as well: {error}")
        well = False
    if dry_run:
        return
    if well:
        _live(site, changed, None, signals, asked=False)
        _tell_exim(site, say)
        return
    _live(site, changed, None, signals, asked=None)
    unfinished.end(site)
    pid = running(site)
    goes_on = f"Exim (pid {pid}) is not reloaded: it goes on with what it has read" if pid else "Exim is not running"
    say(
        f"WARNING: popauthd's lines are out of the files; as {site.acl_file} is gone, nobody asks popauthd. {goes_on}. "
        "Repair Exim's configuration, then run update-exim4.conf and: systemctl reload exim4"
    )


def _tell_exim(site: Site, say: Say) -> None:
    try:
        reload(site, say)
    finally:
        unfinished.end(site)


def _live(
    site: Site,
    changed: Changed,
    before: dict[trial.Case, str] | None,
    signals: Signals,
    *,
    asked: bool | None,
) -> None:
    """Write, generate and try the live configuration; put everything back if any of it fails.

    before: what Exim said to each case, None if nothing is to be compared. asked: None to write the files alone.
    No signal ends us after it, as Exim must be told, and the note be removed.
    """
    generated = site.generated.read_bytes() if site.generated.exists() else None
    done: list[Path] = []
    try:
        unfinished.begin(site, "enable" if asked else "disable", changed)
        # The ACL file first, and last out: the hook without it is Debian's own ACL.
        for path in sorted(changed, key=lambda path: path != site.acl_file):
            done.append(path)
            write(path, changed[path][1])
        if asked is not None:
            _generate(site)
            _prove(site, before, asked=asked)
        signals.deaf()
    except BaseException as error:
        signals.deaf()
        for path in reversed(done):
            write(path, changed[path][0])
        if asked is not None:
            with contextlib.suppress(ConfigError):
                _generate(site)
            if generated is not None and not trial.same(site.generated.read_bytes(), generated):
                log.warning("%s differs from what it was; run update-exim4.conf", site.generated)
        with contextlib.suppress(ConfigError):
            unfinished.end(site)
        if isinstance(error, PopauthdError):
            raise ConfigError(f"{error}; everything is put back as it was") from error
        raise


def _prove(site: Site, before: dict[trial.Case, str] | None, *, asked: bool) -> None:
    if trial.asks(site, site.generated) != asked:
        raise ConfigError("the configuration that was made does not ask as it should")
    if before is not None:
        trial.compare(before, trial.played(site, site.generated))


def _generate(site: Site) -> None:
    trial.must([site.update, "-d", site.confdir, "-o", site.generated], "update-exim4.conf")
    trial.must([site.exim, "-C", site.generated, "-bV"], "exim -bV")
