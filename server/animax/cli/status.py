"""Exit status of the command."""

DONE = 0
FAILED = 1
"""An ``AnimaxError``, or the system refused something."""
MISUSED = 2
"""Wrong usage (argparse's own status) or an ``OptionError``."""
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
