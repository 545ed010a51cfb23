"""What runs in a child process? `python -m deploy.child proxy 0` `… node` or `… api`, started by the supervisor.

Reads its configuration from standard input, watches that pipe for the supervisor's end, owns its pid file, and turns whatever
ends it into an exit code and one line of reason. A proxy worker must stay small: this file imports nothing heavy.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from deploy import PACKAGES
from deploy.config import from_wire
from deploy.layout import DataDir
from deploy.limits import leave_no_core, raise_open_files
from deploy.logs import configure
from deploy.supervisor import FATAL, AlreadyRunningError, FatalError, owning, pid_file, reason_file
from schemas.whole_files import write_whole

ORPHAN_SECONDS = 20.0  # a child whose supervisor is gone stops in order, but not for longer than this


def main(arguments: list[str]) -> int:
    """Run the role named by the arguments and return the exit code."""
    os.umask(0o077)
    leave_no_core()
    role = arguments[0]
    index = int(arguments[1]) if len(arguments) > 1 else 0
    name = f"{role}/{index}"
    config = from_wire(sys.stdin.buffer.readline())
    threading.Thread(target=_watch, name="supervisor-watch", daemon=True).start()
    log = configure(name)
    raise_open_files()
    run = DataDir(config.data_dir).run
    try:
        # Patience: the process this one replaces may still be closing its files.
        with owning(pid_file(run, name), name, patience=15.0):
            if role == "proxy":
                from ingest.core.errors import UnusableSettingError
                from ingest.net.worker import run_worker

                try:
                    return int(run_worker(config, index))
                except UnusableSettingError as error:
                    raise FatalError(str(error)) from None
            from deploy.node import run_node

            return run_node(config, log, pipeline=role == "node")
    except (FatalError, AlreadyRunningError) as error:
        _leave(run, name, str(error))
        return FATAL
    except Exception as error:
        # What one of our parts says names the thing and the remedy; of anything else the place is all there is to go by.
        ours = type(error).__module__.partition(".")[0] in PACKAGES
        text = str(error) if ours else f"{type(error).__name__}: {error}"
        if ours and not os.environ.get("AFFIDAVIT_DEBUG"):
            log.error("ended by an error", error=text)
        else:
            log.exception("ended by an error")
        _leave(run, name, text)
        return 1


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _leave(run: Path, name: str, reason: str) -> None:
    write_whole(reason_file(run, name), "\n".join(" ".join(line.split()) for line in reason.splitlines())[:4000].encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
