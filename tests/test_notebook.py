"""``docs/detect.ipynb`` runs on the recorded thin checkpoint, cell by cell."""

import os
import pathlib

import pytest

nbformat = pytest.importorskip('nbformat', reason='the extra `dev` is not installed')
nbclient = pytest.importorskip('nbclient', reason='the extra `dev` is not installed')

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / 'docs/detect.ipynb'
PARAMETERS = """
CONFIG = 'oadp_ov_coco.py'
CHECKPOINT = 'oadp_ov_coco.pth'
IMAGE = 'data/coco/val2017/000000440669.jpg'
CLIP = None
SCORE_THRESHOLD = 0.01
"""


def test_outputs_are_not_committed():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow  # a Jupyter kernel, which imports mmdet
def test_all_cells_run(thin: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(paths))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [parameters] = [c for c in notebook.cells if 'parameters' in c.metadata.get('tags', [])]
    parameters.source = PARAMETERS
    check = nbformat.v4.new_code_cell(
        'assert len(detections) > 0 and len(words) > 0\n'
        "assert set(words.data['class_name']) <= {'red kite', 'mug', 'person'}"
    )
    notebook.cells.insert(-2, check)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name='python3', resources=dict(metadata=dict(path=thin))
    )
    client.execute()
    drawn = [
        output.data
        for cell in notebook.cells
        for output in cell.get('outputs', [])
        if output.output_type == 'execute_result'
    ]
    assert sum('image/png' in data for data in drawn) == 2
    assert drawn[0]['text/plain'] == '65'
