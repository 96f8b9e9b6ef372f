"""What "well" means: every condition in which popauthd is not well is a row of one table.

`popauthctl status`, `popauthctl doctor`, `popauthctl dovecot status`, `popauthctl config check`, the log of the
watcher and the status text of systemd all say these words, and give this advice. A condition is either

- degraded: logins are not seen, or what was learnt cannot be kept or published. Exit status 2 of `status`.
- warning: nothing is lost yet, but something will be, or somebody should look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

WARNING, DEGRADED = "warning", "degraded"
SEVERITIES = (WARNING, DEGRADED)  # the worst last


@dataclass(frozen=True, slots=True)
class Condition:
    """One row. sentence: what it means, for the manual. advice: what to do next."""

    severity: str
    sentence: str
    advice: str


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "log-missing": Condition(
            DEGRADED,
            "A log that is followed does not exist.",
            "see where Dovecot logs (`doveadm log find`, `popauthctl dovecot status`), and name that file in the"
            " [[source]] table",
        ),
        "log-unreadable": Condition(
            DEGRADED,
            "A log that is followed cannot be read.",
            "let the user popauthd read it: group adm and mode 640, also in the `create` line of its logrotate file",
        ),
        "log-refused": Condition(
            DEGRADED,
            "What stands at the path of a log is not a regular file: a directory, a pipe, or a link put there.",
            "name the log file itself in the [[source]] table",
        ),
        "log-is-mount-point": Condition(
            WARNING,
            "The path of a log is a mount point, such as one file bound into a container. When the log is rotated, the "
            "path goes on showing the old file, and nothing new is seen.",
            "bind the directory of the log into the container, not the one file",
        ),
        "logs-not-watched": Condition(
            WARNING,
            "Nobody wakes the watcher when a log is written, so it looks once a second: a client that sends right after"
            " its login may be refused.",
            "let the user popauthd read the directory of each log; or raise fs.inotify.max_user_instances and"
            " fs.inotify.max_user_watches (sysctl)",
        ),
        "head-not-understood": Condition(
            DEGRADED,
            "Lines hold a whole login and are refused, again and again, for what stands before it; no login is "
            "recognised.",
            "set what is named in the [[source]] table, and look with `popauthctl recognise`",
        ),
        "login-not-understood": Condition(
            DEGRADED,
            "Lines look like logins, and what they say is not understood; no login is recognised.",
            "look with `popauthctl recognise`, and at what `popauthctl dovecot status` says of "
            "login_log_format_elements",
        ),
        "some-logins-refused": Condition(
            WARNING,
            "Lines hold a whole login and are refused, or look like one and are not understood, while other logins are "
            "recognised: a second server, or somebody who has such lines written.",
            "look with `popauthctl recognise`; if the server is yours, set what is named in the [[source]] table",
        ),
        "dovecot-not-seen": Condition(
            WARNING,
            "A log grows, and not one of its lines is Dovecot's; or the journal has no record of Dovecot's.",
            "see where Dovecot logs (`doveadm log find`, `popauthctl dovecot status`), and follow that",
        ),
        "no-login-seen": Condition(
            WARNING,
            "No login was recognised for much longer than this host has ever gone without one, though the log grows.",
            "log in once and look again; `popauthctl dovecot status` tells whether Dovecot logs its logins here",
        ),
        "login-times-off": Condition(
            DEGRADED,
            "Logins that have just been written are stamped so long ago, or so far ahead, that not one of them grants: "
            "the clock or the time zone of whoever writes the log is another.",
            "compare the last lines of the log with `date`; where hours differ, set `timezone` in the [[source]] table,"
            " else set the clock",
        ),
        "lines-lost": Condition(
            WARNING,
            "Lines of a log are lost, or may be. It is over when they are older than the lifetime, as they could grant "
            "nothing then.",
            "whoever logged in meanwhile fetches mail once more; keep rotated logs beside the log",
        ),
        "no-log-yet": Condition(
            DEGRADED,
            "Nothing to follow was found: no journal that can be read, and no usual log.",
            "install or start Dovecot, or name its log in a [[source]] table; it is looked for again by itself",
        ),
        "no-group-yet": Condition(
            DEGRADED,
            "The group that may ask (`group`) does not exist, so that Exim cannot look anything up.",
            "install Exim, or name its group in `group`; it is looked for again by itself",
        ),
        "configuration-wrong": Condition(
            WARNING,
            "The configuration file is wrong, or what it asks for cannot be had. The one from before stays in force,"
            " and a new start would fail.",
            "correct it until `popauthctl config check` says that it is right, then `popauthctl reload`",
        ),
        "configuration-not-in-force": Condition(
            WARNING,
            "The configuration file was changed, and the watcher still goes by the one from before.",
            "`popauthctl reload`; for a setting that needs a restart: `systemctl restart popauthd popauthd-lookup`",
        ),
        "files-were-damaged": Condition(
            WARNING,
            "Books or relay map were found damaged at the start, were moved aside and made anew. It is over after a "
            "lifetime, when every login that stood before would have run out.",
            "look at the disk and its file system; grant again by hand what was granted by hand",
        ),
        "user-list-wrong": Condition(
            WARNING,
            "A list of users (`users_file`, `deny_users`) was changed and cannot be used. The list from before stays"
            " in force, and a new start would fail.",
            "correct the list; it is read again by itself",
        ),
        "store-trouble": Condition(
            DEGRADED,
            "Books, relay map, host list or the file of revocations cannot be written or are damaged.",
            "remove the cause (a full disk?); the watcher tries again by itself",
        ),
        "map-reader-stopped": Condition(
            WARNING,
            "A process was stopped (SIGSTOP, a debugger) while it read the relay map. The map was made anew, as it "
            "would have grown without end; if that process is the responder, nobody answers Exim on the socket.",
            "let the process go on (`kill -CONT`), or `systemctl restart popauthd-lookup`",
        ),
        "responder-silent": Condition(
            DEGRADED,
            "The responder does not answer on its socket, which is there: whoever asks by it is told no.",
            "systemctl restart popauthd-lookup; if it does not stay up: journalctl -u popauthd-lookup",
        ),
        "dovecot-stopped": Condition(
            DEGRADED,
            "Dovecot takes no connections: nobody can fetch mail, so nobody is granted.",
            "systemctl start dovecot; if it does not stay up, see `journalctl -u dovecot`",
        ),
        "exim-stopped": Condition(
            DEGRADED,
            "Exim takes no connections: clients cannot send.",
            "systemctl start exim4; if it does not stay up, see /var/log/exim4/paniclog and `journalctl -u exim4`",
        ),
        "exim-loopback": Condition(
            DEGRADED,
            "Exim listens on this machine's own addresses alone, as Debian installs it: clients cannot connect to it.",
            "`dpkg-reconfigure exim4-config`: leave the IP addresses to listen on empty (dc_local_interfaces), then"
            " systemctl restart exim4",
        ),
        "exim-no-route": Condition(
            DEGRADED,
            "Exim delivers mail on this machine alone, as Debian installs it: what a client sends elsewhere bounces.",
            '`dpkg-reconfigure exim4-config`: choose "internet site", or a smarthost, then systemctl restart exim4',
        ),
        "cluster-unreachable": Condition(
            DEGRADED,
            "The engine of the cluster (Redis or Valkey) does not answer, or does not let this node in. Logins on other"
            " nodes do not count here, nor this node's there; what stands goes on standing, and runs out.",
            "see `popauthctl cluster status`, and whether the engine runs and is reached from here; it is tried again"
            " by itself",
        ),
        "cluster-full": Condition(
            DEGRADED,
            "The engine of the cluster takes nothing: its memory is full, or it cannot write to its disk. This node's"
            " logins do not count on other nodes.",
            "look at maxmemory, the disk and the log of Redis; what waits is sent by itself",
        ),
        "cluster-gap": Condition(
            WARNING,
            "The cluster's stream has lost something that this node has read, or had not read yet. All nodes tell again"
            " what stands, and it is over when that is done.",
            "nothing, if the engine was restarted, flushed or replaced; if it comes again, see its log and its memory",
        ),
        "cluster-clock-skew": Condition(
            WARNING,
            "The clock of a node, or the engine's, is wrong by more than 30 seconds. Times are corrected by it on the"
            " way; beyond ten minutes nothing of that node is taken.",
            "set the clock of that node, and let NTP keep it",
        ),
        "cluster-node-name-twice": Condition(
            WARNING,
            "Another node has the same name as this one. Neither loses anything, but nobody can tell them apart.",
            "give each node its own name with `node` in [cluster]",
        ),
        "cluster-key-wrong": Condition(
            WARNING,
            "Entries of the cluster's stream are signed with no key of this node: a node has another key, or somebody"
            " who may write to the engine tries to open the relay. They count for nothing.",
            "compare the key files of the nodes; if they are the same, see who may write to the engine",
        ),
        "program-replaced": Condition(
            WARNING,
            "A service still runs a program that was removed or replaced since it was started, as by an upgrade.",
            "restart that service",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A condition that holds now.

    word: a key of CONDITIONS. about: what it is about, such as the path of a log. evidence: what was seen.
    since: when it was first seen, in epoch seconds.
    """

    word: str
    about: str
    evidence: str
    since: int

    @property
    def severity(self) -> str:
        """Its row's."""
        return CONDITIONS[self.word].severity

    @property
    def advice(self) -> str:
        """What to do next."""
        return CONDITIONS[self.word].advice

    @property
    def text(self) -> str:
        """What is wrong, in one line."""
        return f"{self.about}: {self.evidence}" if self.about else self.evidence
