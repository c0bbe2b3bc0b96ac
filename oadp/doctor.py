"""Show the installation, the device, the data and the weights.

``python -m oadp.doctor`` answers the first two questions of a user: do the installed packages work
together, and which command comes next. It exits with 1 only if the installation is broken; which data
are needed depends on the task.
"""

__all__ = ['main']

from oadp.utils.command import ArgumentParser, run

_MIN_WIDTH = 140  # columns of the table where the output is a file or a pipe


def parse_args(argv: list[str] | None = None) -> None:
    """Parse the arguments: there are none but ``--help`` and ``--traceback``."""
    ArgumentParser(
        prog='python -m oadp.doctor',
        description='Show versions, device, and which of the data and weights of the README are '
        'in the current directory; needs no data and writes nothing. Exits with 1 if the '
        'installation is broken.',
    ).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status, 1 if the installation is broken."""
    parse_args(argv)
    from rich.console import Console

    from oadp.data.required_files_table import required_files_table
    from oadp.inference.stack import CHECKS
    from oadp.utils.installation import installation_table

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _MIN_WIDTH)
    installation, faults = installation_table(CHECKS)
    files, missing = required_files_table()
    console.print(installation, files)
    console.print(
        f'{missing} rows are missing or incomplete; no command needs all of them.'
        if missing
        else 'All data and weights are present.'
    )
    if faults:
        console.print('[red]The installation is broken (make install repairs it):')
        for fault in faults:
            console.print(f'- {fault}', markup=False)
    return 1 if faults else 0


if __name__ == '__main__':
    run('oadp.doctor', main)
