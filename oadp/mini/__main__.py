"""Run the embedded benchmark: ``python -m oadp.mini``."""

from oadp.mini.run import main
from oadp.utils.command import run

if __name__ == '__main__':
    run('oadp.mini', main)
