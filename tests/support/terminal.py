"""Running a command on a terminal that a test reads."""

import os
import pty
import select
import subprocess
import time


def on_a_terminal(command, folder, seconds=60):
    """What a command writes to a terminal of 100 columns."""
    screen, side = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(command, cwd=folder, stdout=side, stderr=side, env=environment) as process:
        os.close(side)
        said, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([screen], [], [], 0.2)[0]:
                try:
                    said += os.read(screen, 65536)
                except OSError:  # the other side is closed
                    break
        process.wait(timeout=10)
    os.close(screen)
    return said.decode()
