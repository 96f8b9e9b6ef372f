"""popauthd: POP-before-SMTP for Dovecot and Exim."""

__version__ = "0.2.0"
CONFIGURATION = "/etc/popauthd/popauthd.toml"
