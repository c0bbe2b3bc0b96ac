"""The table of data and weights that ``oadp.doctor`` prints."""

__all__ = ['required_files_table']

from rich import box
from rich.table import Table

from oadp.data.required_files import layout, state_of


def required_files_table() -> tuple[Table, int]:
    """Show which data and weights are present in the current directory.

    Returns:
        The table, and the number of rows that are missing or incomplete.
    """
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column('data and weights', overflow='fold')
    for header in ('state', 'comes from', 'needed by'):
        table.add_column(header)
    incomplete = 0
    for entry in layout():
        is_there, state = state_of(entry.paths)
        incomplete += not is_there
        color = 'green' if is_there else 'yellow'
        source = '' if is_there else entry.source
        table.add_row(entry.pattern, f'[{color}]{state}', source, entry.used_by)
    return table, incomplete
