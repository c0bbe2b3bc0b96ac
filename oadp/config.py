"""Load and write configs in user code; see :mod:`oadp.utils.config`."""

from oadp.utils.config import dump_config, load_config, to_plain

__all__ = ['dump_config', 'load_config', 'to_plain']
