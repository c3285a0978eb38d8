"""Runs a command for as long as its own standard input stays open, then ends it with all that it has started.

    python guard.py SECONDS COMMAND...      SECONDS: how long the command has to end in after SIGTERM

Whoever starts it holds the other end of the input. It is closed to stop the command, and it closes by itself when that
process dies, however it dies: so no server is ever left behind. This file is run by its path and imports nothing of the
package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

_LEAVE = 5.0  # seconds that what the command has started has to go after it, such as what clears its shared memory
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux: orphans below us become our children, so that we see them end


def main() -> int:
    """Run the command; its exit code, 128 and its number for a signal, 127 if it cannot be run."""
    seconds, *command = sys.argv[1:]
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror or error}", file=sys.stderr)
        return 127
    over = threading.Event()

    def end_when_closed() -> None:
        while os.read(0, 1024):
            pass
        _signal_group(child.pid, signal.SIGTERM)
        if not over.wait(float(seconds)):
            _signal_group(child.pid, signal.SIGKILL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _signal_group(child.pid, signal.SIGTERM))
    threading.Thread(target=end_when_closed, daemon=True).start()
    code = child.wait()
    over.set()
    _signal_group(child.pid, signal.SIGTERM)
    _wait_for_the_rest()
    _signal_group(child.pid, signal.SIGKILL)
    _wait_for_the_rest()
    return code if code >= 0 else 128 - code


def _wait_for_the_rest() -> None:
    """Until nothing is left that the command has started, or the time is over."""
    deadline = time.monotonic() + _LEAVE
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
