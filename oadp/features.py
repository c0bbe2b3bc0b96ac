"""Pack, unpack or check feature records: ``python -m oadp.features (pack|unpack|check) SRC [DST]``."""

from oadp.data.features.conversion import main
from oadp.utils.command import run

__all__ = ['main']

if __name__ == '__main__':
    run('oadp.features', main)
