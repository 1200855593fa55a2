"""What becomes of a command: an exit status, and one line on stderr where it failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from animax.cli.status import FAILED, INTERRUPTED, MISUSED
from animax.errors import AnimaxError, Cancelled, OptionError


def outcome(program: str, work: Callable[[], int]) -> int:
    """Do ``work``; its errors become one line on stderr that begins with ``program``, never a traceback.

    Returns:
        The exit status.
    """

    def complain(message: str, status: int) -> int:
        print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
        return status

    try:
        status = work()
        sys.stdout.flush()
    except OptionError as error:
        return complain(str(error), MISUSED)
    except (Cancelled, KeyboardInterrupt):
        return complain("interrupted", INTERRUPTED)
    except AnimaxError as error:
        return complain(str(error), FAILED)
    except BrokenPipeError:
        # whoever read our output has left; keep the interpreter from complaining about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        place = f"{os.fspath(error.filename)}: " if isinstance(error.filename, (str, os.PathLike)) else ""
        return complain(f"{place}{error.strerror or error}", FAILED)
    except MemoryError:
        return complain("out of memory", FAILED)
    return status
