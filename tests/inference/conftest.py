"""The recorded thin detectors as ONNX files."""

import os
import pathlib

import pytest

pytest.importorskip('onnx', reason='the extra `export` is not installed')
pytest.importorskip('onnxruntime', reason='the extra `export` is not installed')


@pytest.fixture(scope='session')
def exported(_thin_folder: pathlib.Path, tmp_path_factory) -> pathlib.Path:
    """A folder of ``NAME.onnx`` with what belongs to it; OADP on OV-COCO with the text encoder."""
    from oadp import export

    folder, before = tmp_path_factory.mktemp('exported'), pathlib.Path.cwd()
    os.chdir(_thin_folder)
    try:
        for name in ('oadp_ov_coco', 'vild_ov_coco', 'oadp_ov_lvis'):
            more = ['--text-encoder'] if name == 'oadp_ov_coco' else []
            export.main([f'{name}.py', f'{name}.pth', str(folder / f'{name}.onnx'), *more])
    finally:
        os.chdir(before)
    return folder
