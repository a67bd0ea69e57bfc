"""Worker processes and the death of their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from axspa_lib.study import processes

PARENT = """
import os, sys, time
from axspa_lib.study import processes

def busy(_):
    time.sleep(0.2)
    return os.getpid()

if __name__ == "__main__":
    with processes.pool(2, method=sys.argv[1]) as pool:
        print(*sorted(set(pool.map(busy, range(24)))), flush=True)
        time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc to see processes")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_leave_when_their_parent_is_killed(tmp_path, method):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script, method], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2 and all(map(alive, workers))
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_initializer_runs_in_the_worker_with_its_arguments(tmp_path):
    with processes.pool(1, initializer=os.chdir, initargs=(tmp_path,)) as pool:
        assert pool.submit(os.getcwd).result() == str(tmp_path) != os.getcwd()
