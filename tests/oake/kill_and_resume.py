"""Run an extraction in child processes, kill them at random moments, then let one finish.

A script of its own: the packages are imported once, before any thread is started, and each child is
a fork.

    python kill_and_resume.py KILLS SEED MODULE NAME CONFIG [--override …]
"""

import importlib
import os
import random
import signal
import sys
import time

from oadp.oake import arguments

kills, seed, module = int(sys.argv[1]), int(sys.argv[2]), importlib.import_module(sys.argv[3])
sys.argv = sys.argv[3:]
rng = random.Random(seed)


def start() -> int:
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = arguments.main(module.__name__.rpartition('.')[2])
        finally:
            os._exit(status)
    return pid


begin = time.monotonic()
span = float(os.environ['SPAN'])  # seconds that an undisturbed run takes
killed = 0
for _ in range(kills):
    pid = start()
    time.sleep(rng.uniform(0.1, 0.9) * span)
    killed += os.waitpid(pid, os.WNOHANG) == (0, 0)
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
pid = start()
_, status = os.waitpid(pid, 0)
print(f'killed {killed}')
sys.exit(os.waitstatus_to_exitcode(status))
