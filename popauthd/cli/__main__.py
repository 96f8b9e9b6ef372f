"""`python3 -m popauthd.cli`: popauthctl from a checkout."""

import sys

from popauthd.cli import main

sys.exit(main())
