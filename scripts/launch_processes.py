"""Run a script as several processes of this machine, with torchrun: LAUNCHER --processes N SCRIPT [ITS ARGUMENTS].

Any free port is taken, so that several such trainings share a machine. When a process fails, the others are ended
within seconds. SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 go to all processes. The exit status is that of the process that
failed first.
"""

from __future__ import annotations

import argparse
import os
import sys

from sclamp.core import cli

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2"


def main() -> None:
    """Parse, launch, say in one line which process failed."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--processes", type=int, required=True, metavar="N", help="how many, one for each GPU")
    arguments.add_argument("command", nargs=argparse.REMAINDER, metavar="SCRIPT ...", help="the script, its arguments")
    given = arguments.parse_args()
    if given.processes < 1 or not given.command:
        arguments.error(f"a number of processes and a script are needed; found {given.processes}, {given.command}")
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", SIGNALS)
    if sys.platform == "linux":  # whatever the machine's name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    sys.exit(launch(given.processes, given.command))


def launch(count: int, command: list[str]) -> int:
    """Run the command `count` times together; its exit status, 128 + the signal of one that was killed."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(count)]
    try:
        torchrun.run(torchrun.parse_args([*options, *command]))
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        killed = f"was killed by {failure.signal_name()}" + "; was memory short?" * (failure.exitcode == -9)
        how = killed if failure.exitcode < 0 else f"failed first, with exit status {failure.exitcode}"
        print(f"process {rank} of {count} {how}", file=sys.stderr)
        return int(failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode)
    except SignalException as asked:
        return 128 + int(asked.sigval)
    return 0


if __name__ == "__main__":
    cli.run(main)
