"""``python -m sleepkit`` is the command line."""

import sys

from sleepkit.cli import main

sys.exit(main())
