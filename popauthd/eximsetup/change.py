"""Changes the live files: tried aside first, written all or none, tried again, and put back if anything fails.

A change that was cut off (killed, a power cut) is undone before the next one begins (`undo`).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from popauthd.errors import ConfigError, PopauthdError
from popauthd.eximsetup import own_acl, plan, trial, undo
from popauthd.eximsetup.files import write
from popauthd.eximsetup.one_at_a_time import Signals, only_change
from popauthd.eximsetup.process import Say, generate, reload, running
from popauthd.eximsetup.relaying import Proof
from popauthd.eximsetup.site import Site, read, sets_hook
from popauthd.eximsetup.undo import Changed

# For who has the macro of 0.1.0.
REFUSAL_NOW = 'put the text into popauthd.toml (refusal = "..."), and take it out here'

log = logging.getLogger("popauthd.exim")


def recover(site: Site, *, asked: bool, dry_run: bool, say: Say) -> None:
    """Undo a change that was cut off, before another is planned. Raises ConfigError."""
    with only_change(site):
        undo.what_was_cut_off(site, asked=asked, dry_run=dry_run, say=say)


def enable(site: Site, via: str, text: str = "", *, dry_run: bool, say: Say) -> bool:
    """Put popauthd in, asked in one of plan.VIAS; True if anything was to change.

    text: for a client that may not relay. Raises ConfigError with the live files as they were.
    """
    with only_change(site) as signals:
        undo.what_was_cut_off(site, asked=True, dry_run=dry_run, say=say)
        # As before, where Exim's own words for a refusal have been looked at already.
        wanted = plan.enabled(site, via, text, plan.words_of(read(site.acl_file)))
        if not plan.changes(wanted) and (not site.config.exists() or _in_force(site)):
            return False
        for path in site.macro_files():
            if re.search(r"(?m)^[ \t]*POPAUTHD_REFUSAL\b", read(path) or ""):
                say(f"WARNING: {path} sets POPAUTHD_REFUSAL, which is not read any more: {REFUSAL_NOW}")
        with trial.aside(site) as old, trial.aside(site) as bare, trial.aside(site) as new:
            before = trial.build(site, {}, old)
            said = trial.played(site, before)
            if trial.pending(site, before):
                _told_of_edits(site, asked=True, say=say)
            out = plan.disabled(site)
            without = trial.build(site, out, bare) if plan.changes(out) else before
            strangers = trial.proofs(site, without)
            _fit(site, without, strangers)
            wanted = plan.enabled(site, via, text, plan.other_words(strangers[0].refusal))
            changed = plan.changes(wanted)
            say(plan.diff(changed).rstrip("\n"))
            after = trial.build(site, wanted, new)
            if not trial.asks(site, after):
                raise ConfigError(_other_hook(site, wanted) or _own_acl(site, without, strangers[0]))
            for line in trial.compare(said, trial.played(site, after)):
                say(f"tried: {line}")
            _proven(site, after, plan.granting(wanted[site.acl_file] or ""))
            say("tried: a granted client relays, a stranger does not")
            if dry_run:
                return True
            _live(site, changed, said, signals, asked=True)
        _tell_exim(site, say)
    return True


def disable(site: Site, *, dry_run: bool, say: Say) -> bool:
    """Take popauthd out, also of a configuration that Exim does not take; True if anything was to change.

    Raises ConfigError with the live files as they were.
    """
    with only_change(site) as signals:
        undo.what_was_cut_off(site, asked=False, dry_run=dry_run, say=say)
        wanted = plan.disabled(site)
        changed = plan.changes(wanted)
        if not changed and (not site.config.exists() or _in_force(site) is False):
            return False
        if changed:
            say(plan.diff(changed).rstrip("\n"))
        with trial.aside(site) as old, trial.aside(site) as new:
            try:
                before = trial.build(site, {}, old)
                said = trial.played(site, before)
            except ConfigError as error:
                _untried(site, wanted, changed, new, signals, why=error, dry_run=dry_run, say=say)
                return True
            if changed and trial.pending(site, before):
                _told_of_edits(site, asked=False, say=say)
            after = trial.build(site, wanted, new)
            if trial.asks(site, after):
                raise ConfigError(_other_hook(site, wanted) or "something else in Exim's configuration asks popauthd")
            for proof in trial.proofs(site, after):
                if proof.open_to:
                    say(f"WARNING: Exim relays for strangers ({proof.client}) without popauthd: {proof.open_to}")
            for line in trial.compare(said, trial.played(site, after)):
                say(f"tried: {line}")
            if dry_run:
                return True
            _live(site, changed, said, signals, asked=False)
        _tell_exim(site, say)
    return True


def _fit(site: Site, without: Path, strangers: Sequence[Proof]) -> None:
    """Raise ConfigError, with what to do, where popauthd cannot be put in rightly.

    without: the configuration without popauthd. strangers: what it says to them.
    """
    for proof in strangers:
        if proof.open_to:
            raise ConfigError(
                f"Exim already relays for strangers ({proof.client}), whoever logs in: {proof.open_to}. Mend that first"
            )
        if proof.why:
            raise ConfigError(_unproven(proof))
    acl = trial.acl_in_force(site, without)
    if (acl != trial.DEBIANS_ACL or site.handwritten.exists()) and not own_acl.in_use(site):
        ours = site.acl_file.name in acl and _other_hook(site, plan.disabled(site))
        raise ConfigError(ours or _own_acl(site, without, strangers[0]))


def _unproven(proof: Proof) -> str:
    return (
        f"that Exim relays for nobody ({proof.client}) could not be proven: {proof.why}. Only a refusal of relaying "
        "proves it. Try where this server can resolve and route other domains, or have the recipient ACL refuse "
        "relaying before it looks at anything else; see exim/README.md"
    )


def _own_acl(site: Site, without: Path, proof: Proof) -> str:
    """What to do where the ACL in force is not Debian's, or is put in by other means than Debian's."""
    acl = trial.acl_in_force(site, without)
    return (
        f"{site.config} has acl_smtp_rcpt = {acl}, an ACL of your own, and it is left alone. "
        f"Let it ask popauthd:\n{own_acl.steps(site, without.read_text('utf-8', 'replace'), proof)}"
    )


def _proven(site: Site, config: Path, granting: str) -> None:
    """Raise ConfigError unless by a configuration built aside strangers do not relay, and granted clients do."""
    for proof in trial.proofs(site, config):
        if proof.open_to:
            raise ConfigError(f"a stranger ({proof.client}) would relay, {proof.open_to}; nothing is changed")
        if proof.why:
            raise ConfigError(f"{_unproven(proof)}; nothing is changed")
        if not (reply := trial.granted_relays(site, config, proof, granting)).startswith("2"):
            raise ConfigError(
                f"a granted client would not relay, as Exim says {reply!r} to it; nothing is changed. Let your "
                f"recipient ACL ask popauthd itself:\n"
                f"{own_acl.steps(site, config.read_text('utf-8', 'replace'), proof)}"
            )


def _in_force(site: Site) -> bool | None:
    """Whether the configuration in force asks popauthd; None if Exim does not take it."""
    try:
        return trial.asks(site, site.config)
    except ConfigError:
        return None


def _other_hook(site: Site, wanted: plan.Wanted) -> str:
    """Why Exim would do the opposite of what is wanted, and what to do; "" where our lines are not at fault."""
    if plan.BEGIN in (plan.without_block(wanted.get(site.macros_file)) or ""):
        return (
            f'{site.macros_file} has a line "{plan.BEGIN}" and no line "{plan.END}" below it, so that nobody can tell '
            "which lines are popauthd's; take them out by hand, then try again"
        )
    if told := plan.by_hand(site, wanted):
        return told
    for path in site.macro_files():
        if sets_hook(plan.without_block(wanted.get(path, read(path))) or ""):
            return (
                f"{path} sets MAIN_ACL_CHECK_RCPT, so popauthd would not be asked; take that line out, then try again"
            )
    return ""


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
    undo.end(site)
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
        undo.end(site)


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
        undo.begin(site, "enable" if asked else "disable", changed)
        # The ACL file first, and last out: the hook without it is Debian's own ACL.
        for path in sorted(changed, key=lambda path: path != site.acl_file):
            done.append(path)
            write(path, changed[path][1])
        if asked is not None:
            generate(site)
            _prove(site, before, asked=asked)
        signals.deaf()
    except BaseException as error:
        signals.deaf()
        undo.put_back(changed, done)
        if asked is not None:
            with contextlib.suppress(ConfigError):
                generate(site)
            if generated is not None and not trial.same(site.generated.read_bytes(), generated):
                log.warning("%s differs from what it was; run update-exim4.conf", site.generated)
        with contextlib.suppress(ConfigError):
            undo.end(site)
        if isinstance(error, PopauthdError):
            raise ConfigError(f"{error}; everything is put back as it was") from error
        raise


def _prove(site: Site, before: dict[trial.Case, str] | None, *, asked: bool) -> None:
    if trial.asks(site, site.config) != asked:
        raise ConfigError("the configuration that was made does not ask as it should")
    if before is not None:
        trial.compare(before, trial.played(site, site.config))
    if asked and own_acl.in_use(site):  # it may include files, of which the trial had no copy
        for proof in trial.proofs(site, site.config):
            if proof.open_to:
                raise ConfigError(f"a stranger ({proof.client}) would relay: {proof.open_to}")
