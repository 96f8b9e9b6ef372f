"""The rights that a node needs in Redis or Valkey, as an ACL rule. Pure."""

from __future__ import annotations

COMMANDS = ("xadd", "xread", "xinfo", "time", "role", "hello", "auth", "ping")
"""All that is ever asked; `select` as well where the stream is in another database than 0. PING is for people."""


def acl_rule(stream: str, *, db: int = 0) -> str:
    """The rule of a user who may do what a node must with one stream, and nothing else. It has no password yet."""
    commands = [*COMMANDS, *(["select"] if db else [])]
    return f"~{stream} resetchannels -@all " + " ".join(f"+{command}" for command in commands)
