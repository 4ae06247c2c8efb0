"""`python -m gapcast`: the same as the command `gapcast`."""

import sys

from gapcast.cli import main

sys.exit(main())
