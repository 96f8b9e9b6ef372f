"""Logins that Dovecot itself tells: its post-login script over a socket, its auth policy client over HTTP."""
