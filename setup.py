"""Build the package ``oadp``; its metadata is in pyproject.toml."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Install the shipped configs as ``oadp/configs``, where ``oadp.utils.config_files`` finds them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a checkout's own folder serves
            target = pathlib.Path(self.build_lib, 'oadp', 'configs')
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree('configs', target, dirs_exist_ok=True, ignore=ignored)


setup(cmdclass={'build_py': BuildWithConfigs})
