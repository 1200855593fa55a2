"""``python -m animax``: the same as the ``animax`` command."""

import sys

from animax.cli import main

sys.exit(main())
