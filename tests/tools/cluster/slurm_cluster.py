"""A slurm cluster of one node, this machine, for as long as a test needs it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Callable, List, Optional

COMMANDS = ('munged', 'slurmctld', 'slurmd', 'srun', 'sinfo', 'squeue', 'scancel')
PACKAGES = ('slurm-wlm', 'munge')

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
KillWait=60
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def install() -> Optional[str]:
    """Install slurm from Debian's packages if need be; returns why it cannot be."""
    if not hasattr(os, 'geteuid') or os.geteuid() != 0:
        return 'slurm needs root'
    if all(shutil.which(command) for command in COMMANDS):
        return None
    if shutil.which('apt-get') is None:
        return f'slurm is not installed and there is no apt-get for {PACKAGES}'
    # Keeps the packages from starting daemons of their own.
    policy = Path('/usr/sbin/policy-rc.d')
    ours = not policy.exists()
    if ours:
        policy.write_text('#!/bin/sh\nexit 101\n')
        policy.chmod(0o755)
    try:
        for arguments in (['update'], ['install', '-y', *PACKAGES]):
            done = subprocess.run(
                ['apt-get', '-qq', *arguments],
                env=dict(os.environ, DEBIAN_FRONTEND='noninteractive'),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
    finally:
        if ours:
            policy.unlink()
    if done.returncode:
        return f'apt-get cannot install {PACKAGES}: {done.stdout.splitlines()[-1:]}'
    return None


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f'waited {seconds} s for {what}'
        time.sleep(0.05)


class SlurmCluster:
    """Daemons with ports, keys and files of their own, on the loopback interface."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: List[subprocess.Popen] = []
        for name in ('state', 'spool'):
            (folder / name).mkdir()
        key = folder / 'munge.key'
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        config = folder / 'slurm.conf'
        config.write_text(
            CONFIG.format(
                folder=folder,
                host=socket.gethostname().split('.')[0],
                controller_port=free_port(),
                node_port=free_port(),
            )
        )
        self.environment = dict(os.environ, SLURM_CONF=str(config))

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs."""
        socket_path = self.folder / 'munge.socket'
        self._start(
            'munged', '--foreground', '--force', f'--key-file={self.folder}/munge.key',
            f'--socket={socket_path}', f'--pid-file={self.folder}/munged.pid',
            f'--log-file={self.folder}/munged.log',
            f'--seed-file={self.folder}/munge.seed',
        )  # fmt: skip
        wait_until(socket_path.exists, f'munged, see {self.folder}')
        self._start('slurmctld', '-D')
        self._start('slurmd', '-D')
        wait_until(
            lambda: self.ask('sinfo', '--noheader', '--format=%t').strip() == 'idle',
            f'slurm, see {self.folder}',
        )

    def _start(self, *command: str) -> None:
        # They end with this process even if it has no time to stop them.
        guard = ['setpriv', '--pdeathsig', 'TERM'] if shutil.which('setpriv') else []
        with (self.folder / f'{command[0]}.out').open('w') as output:
            self._daemons.append(
                subprocess.Popen(
                    [*guard, *command],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )

    def ask(self, *command: str) -> str:
        """Standard output of a slurm command."""
        return subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
        ).stdout

    def processes(self, job_name: str) -> List[int]:
        """Process numbers of a job's tasks on the node, by rank."""
        job = self.ask('squeue', '--noheader', f'--name={job_name}', '--format=%A')
        lines = self.ask('scontrol', 'listpids', job.strip()).splitlines()[1:]
        tasks = [line.split() for line in lines]
        ranks = {int(task[4]): int(task[0]) for task in tasks if task[4].isdigit()}
        return [ranks[rank] for rank in sorted(ranks)]

    def stop(self) -> None:
        """End every job and every daemon."""
        try:
            self.ask('scancel', '--signal=KILL', '--user=root')
            self.ask('scancel', '--user=root')
            wait_until(
                lambda: not self.ask('squeue', '--noheader').strip(), 'the jobs to end'
            )
        finally:
            for daemon in reversed(self._daemons):
                daemon.send_signal(signal.SIGTERM)
            for daemon in reversed(self._daemons):
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
