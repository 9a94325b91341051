"""A real Slurm of one node, started for the tests and ended after them."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIG = """\
ClusterName=zoo
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
JobRequeue=1
SchedulerParameters=sched_interval=2
KillWait=10
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol")


def missing() -> str | None:
    """Return why Slurm cannot be started here, None if it can."""
    if os.geteuid() != 0:
        return "Slurm starts as root only"
    absent = [name for name in PROGRAMS if not _path(name)]
    return f"not installed: {', '.join(absent)}" if absent else None


def host() -> str:
    """Return the name of this machine, which is the node's."""
    return socket.gethostname().partition(".")[0]


def _path(program: str) -> str | None:
    # Debian keeps servers where a user's PATH does not look.
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


@contextlib.contextmanager
def started(folder: Path):
    """Start Slurm with all its files in `folder`; give what its clients need."""
    with contextlib.ExitStack() as taken:
        sockets = [taken.enter_context(socket.create_server(("", 0))) for _ in range(2)]
        ports = [one.getsockname()[1] for one in sockets]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host(), ports=ports, folder=folder))
    (folder / "cgroup.conf").touch()
    environment = os.environ | {"SLURM_CONF": str(config)}
    munged = ["munged", "--foreground", "--force", "--num-threads=2"]
    munged += [f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log"]
    munged += [f"--seed-file={folder}/munged.seed"]
    with contextlib.ExitStack() as running:
        for words in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host()]):
            log = running.enter_context((folder / f"{words[0]}.out").open("wb"))
            process = subprocess.Popen(
                [_path(words[0]), *words[1:]],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
            running.callback(_end, process)
        _wait_until_idle(environment)
        running.callback(_wait_until_idle, environment)
        running.callback(subprocess.run, ["scancel", "--me"], env=environment)
        yield environment


def _end(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_idle(environment):
    until = time.monotonic() + 60
    while True:
        shown = subprocess.run(
            ["scontrol", "show", "node", host()],
            env=environment,
            capture_output=True,
            text=True,
        ).stdout
        if "State=IDLE" in shown and "NOT_RESPONDING" not in shown:
            return
        if time.monotonic() > until:
            raise TimeoutError(f"Slurm's node is not idle: {shown}")
        time.sleep(0.2)
