"""Builds the package with packaging/build-deb.sh: here, or on a clean system with the tools of its own release."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.package.roots import Root, checked
from tests.support.helpers import ROOT

# What build-deb.sh asks for, and what judges the result; nothing else of a developer's machine.
TOOLS = ("debhelper", "dh-python", "lintian", "python3")
# git archive 5dd0109 and PARTS, packed: the package as it was when its books were of schema 2. Not asked of git, as who
# has unpacked a tarball has no history.
FIRST_RELEASE = Path(__file__).with_name("popauthd-0.1.0.tar.xz")
PARTS = ("popauthd", "exim", "dovecot", "packaging", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")


def build(into: Path, root: Path = ROOT) -> Path:
    """The .deb, with its .changes beside it."""
    said = checked(["sh", root / "packaging/build-deb.sh", into])
    return Path(said.splitlines()[-1])


def build_inside(root: Root, name: str) -> Path:
    """The .deb, built in a root of TOOLS, which has no network, from a copy of the tree under a name."""
    copied(root.path / "tmp" / name)
    root.run("sh", f"/tmp/{name}/packaging/build-deb.sh", f"/tmp/built-{name}")
    return next((root.path / f"tmp/built-{name}").glob("*.deb"))


def of_release(suite: str, into: Path) -> Path:
    """The .deb as this release's own tools build it."""
    with Root(suite, TOOLS) as root:
        return Path(shutil.copy(build_inside(root, "popauthd"), into))


def copy_source(into: Path) -> Path:
    """A copy of the tree, as far as the package is made of it, in a new directory."""
    into.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, into / part, copy_function=shutil.copy, symlinks=True)
        else:
            shutil.copy(source, into / part)
    return into


def copied(into: Path) -> Path:
    """The tree as somebody else has it: another place, another time, files that only he may read."""
    copy_source(into)
    for path in into.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
    return into


def of_first_release(into: Path) -> Path:
    """The .deb of 0.1.0, made by its own source's build-deb.sh."""
    source = into / "popauthd-0.1.0"
    source.mkdir()
    checked(["tar", "-C", source, "-xf", FIRST_RELEASE])
    return build(into, source)


def of_version(version: str, into: Path) -> Path:
    """The .deb of the same source under another version."""
    source = copied(into / "source")
    changelog = source / "packaging/debian/changelog"
    _, _, rest = changelog.read_text().partition(")")
    changelog.write_text(f"popauthd ({version}){rest}")
    return build(into, source)
