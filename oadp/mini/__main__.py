"""Run the embedded benchmark: ``python -m oadp.mini``."""

from ..utils.command import run
from .run import main

if __name__ == '__main__':
    run('oadp.mini', main)
