"""A real SLURM on this machine, all of it in one folder, for the time of a test: munge, controller, one node.

The one thing outside the folder is a link to its configuration at the place where `srun` looks for it inside a job; a
machine that has a SLURM of its own is left alone. Needs root (slurmd starts jobs as their user) and the Debian packages
slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "squeue", "scancel", "sinfo")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
DefMemPerCPU=1000
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=128000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName={partition} Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no SLURM can be started here; empty when one can."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"{absent[0]} is not installed (Debian: slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge)"
    if SYSTEM.exists():
        return f"the machine has a SLURM of its own ({SYSTEM})"
    return "" if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def one_machine_slurm(folder: Path, gpus: int = 2, partition: str = "main") -> Iterator[dict[str, str]]:
    """Start the daemons, yield the environment that reaches them, and end them.

    Args:
        folder: for everything they write.
        gpus: pretended devices of the node, so that as many jobs with `gpu: 1` run side by side.
        partition: name of the only partition.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    for number in range(gpus):
        os.mknod(folder / f"gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))
    host = socket.gethostname().split(".")[0]
    ports = {"controller_port": _free_port(), "node_port": _free_port()}
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, folder=folder, gpus=gpus, partition=partition, **ports)
    )
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-{gpus - 1}]\n")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([_program("mungekey"), "--create", "--keyfile", str(folder / "munge.key")], check=True)
    files = [f"--{what}-file={folder}/munge.{end}" for what, end in (("key", "key"), ("pid", "pid"), ("seed", "seed"))]
    daemons = [
        [_program("munged"), "--foreground", "--force", f"--socket={folder}/munge.socket", *files],
        [_program("slurmctld"), "-D", "-c"],
        [_program("slurmd"), "-D", "-N", host],
    ]
    started = []
    SYSTEM.parent.mkdir(exist_ok=True)
    SYSTEM.unlink(missing_ok=True)
    SYSTEM.symlink_to(folder / "slurm.conf")
    try:
        for number, command in enumerate(daemons):
            with (folder / f"daemon-{number}.log").open("w") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
            time.sleep(1)
        _until_idle(environment, folder)
        yield environment
    finally:
        SYSTEM.unlink(missing_ok=True)
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def jobs(environment: dict[str, str]) -> dict[str, tuple[str, str]]:
    """State and comment (rule and wildcards) of every job that the controller knows, by number."""
    command = [_program("squeue"), "--all", "--states=all", "--noheader", "--format=%i|%T|%k"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    rows = [line.split("|", 2) for line in found.splitlines()]
    return {number: (state, comment) for number, state, comment in rows}


def _until_idle(environment: dict[str, str], folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = subprocess.run(
            [_program("sinfo"), "--noheader", "--format=%T"], capture_output=True, text=True, env=environment
        )
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"the node did not become idle: {found.stdout}{found.stderr}\n{logs}")


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
