"""The tests. Servers change users: what is made here must be theirs to read, whatever umask root has."""

import os

os.umask(0o022)
