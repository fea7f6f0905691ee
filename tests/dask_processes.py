"""A Dask scheduler and its workers, as processes of this machine."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

from distributed import Client

SECONDS = 60  # that starting may take on a busy machine


class Cluster:
    """A scheduler, and as many workers of one thread as are added; a context manager.

    `workers` maps the address of each worker to its process.
    """

    def __init__(self, folder):
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._stack = ExitStack()
        self.workers = {}
        self.address = None

    def __enter__(self):
        with self._stack:  # closed here if starting fails
            self.scheduler = self._start("scheduler", "--port", "0", "--idle-timeout", "10m")
            deadline = time.monotonic() + SECONDS
            while not self.address:
                assert self.scheduler.poll() is None, "the scheduler has ended"
                assert time.monotonic() < deadline, "the scheduler does not start"
                time.sleep(0.02)
                with suppress(FileNotFoundError, json.JSONDecodeError):
                    # it is there before all of it is written
                    self.address = json.loads(self._file.read_text())["address"]
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def add(self, count=1, **environment):
        """Start workers, and return their addresses once the scheduler has them."""
        processes = [
            self._start(
                "worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "60", **environment
            )
            for _ in range(count)
        ]
        with Client(self.address, set_as_default=False) as client:
            deadline = time.monotonic() + SECONDS
            while True:
                addresses = {pid: address for address, pid in client.run(os.getpid).items()}
                if all(process.pid in addresses for process in processes):
                    break
                assert time.monotonic() < deadline, "a worker does not start"
                time.sleep(0.02)
        added = {addresses[process.pid]: process for process in processes}
        self.workers.update(added)
        return list(added)

    def kill(self, address):
        """End a worker as the system would that has no memory left."""
        process = self.workers.pop(address)
        process.kill()
        process.wait()

    def _start(self, kind, *arguments, **environment):
        log = self._stack.enter_context((self._folder / "log").open("a"))
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}"]
            + ["--scheduler-file", self._file, "--host", "127.0.0.1", "--no-dashboard"]
            + (["--local-directory", self._folder] if kind == "worker" else [])
            + list(arguments),
            env={**os.environ, **environment},
            cwd=self._folder,  # where no package lies that would be imported instead
            stdout=log,
            stderr=log,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process
