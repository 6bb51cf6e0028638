"""A command as several processes of one group, as torchrun starts them, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys


def launch(command: list[str], count: int, seconds: float) -> None:
    """Run a Python command as `count` processes, each of which must end well within so many seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo"}
    running = [
        subprocess.Popen(
            [sys.executable, *command], stderr=subprocess.PIPE, text=True,
            env={**os.environ, **shared, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(count)
    ]  # fmt: skip
    said = [process.communicate(timeout=seconds)[1] for process in running]
    assert [process.returncode for process in running] == [0] * count, "\n".join(said)[-4000:]
