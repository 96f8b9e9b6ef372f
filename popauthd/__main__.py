"""`python3 -m popauthd`: the daemon from a checkout."""

import sys

from popauthd.daemon import main

sys.exit(main())
