import json
import pathlib
import pickle

import numpy as np
import pytest
from PIL import Image
from training_dataset import CATEGORY_IDS, NAMES, make_training_dataset

from oadp import analyze
from oadp.dp.evaluation import GroundTruth
from oadp.dp.evaluation.analyze_files import DRY_RUN_IMAGES
from oadp.dp.evaluation.files import read_results, write_results
from oadp.utils.config import load_config


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Create a dataset and results in which all novel objects are detected as the first base class."""
    root = tmp_path_factory.mktemp('analyze')
    make_training_dataset(root)
    make_training_dataset(root, lvis=True)
    for name in ('coco', 'lvis'):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            truth = GroundTruth.from_config(load_config(f'ov_{name}.py'))
        results = _results(truth)
        (root / f'{name}.pkl').write_bytes(pickle.dumps(results))
        for path in ('coco.json', 'coco.pickle'):
            write_results(root / path, results, truth, truth.images_in_file_order)
    boxes = [np.zeros((0, 5), np.float32)] * len(truth.image_ids)
    (root / 'proposals.pkl').write_bytes(pickle.dumps(boxes))
    return root


def _results(truth: GroundTruth) -> list:
    objects, results = truth.objects, []
    for image_id in truth.images_in_file_order:
        mine = np.flatnonzero(objects.images == truth.image_ids.index(image_id))
        xyxy = objects.boxes[mine]
        xyxy[:, 2:] += xyxy[:, :2]
        labels = np.where(objects.labels[mine] >= 3, 0, objects.labels[mine])
        rows = np.concatenate([xyxy, np.full((len(mine), 1), 0.5)], 1).astype(np.float32)
        results.append([rows[labels == label] for label in range(len(NAMES))])
    return results


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


def _novel_objects(file: str) -> int:
    rows = json.loads(pathlib.Path(file).read_text())['annotations']
    novel = {CATEGORY_IDS[name] for name in NAMES[3:]}
    return sum(row['category_id'] in novel for row in rows)


@pytest.mark.parametrize('results', ['coco.pkl', 'coco.json'])
def test_table_figure_and_figures(here: pathlib.Path, capsys, results: str):
    analyze.main(['ov_coco.py', results])
    printed = capsys.readouterr().out
    assert 'called base' in printed and f'figure: {results[:4]}.analysis.png' in printed
    figures = json.loads((here / 'coco.analysis.json').read_text())
    number = _novel_objects('val.json')
    assert figures['objects']['novel'] == figures['outcomes']['novel']['called base'] == number > 0
    assert figures['called']['novel'] == dict(base=number, novel=0, right=0)
    assert figures['outcomes']['base']['found'] == figures['objects']['base'] > 0
    assert figures['costs']['novel']['AP50'] == 0
    assert {c['true'] for c in figures['confusions']} <= set(NAMES[3:])
    with Image.open(here / 'coco.analysis.png') as image:
        assert image.size == (1600, 900)


def test_proposals_and_other_outputs(here: pathlib.Path):
    analyze.main(['ov_coco.py', 'coco.pkl', '--proposals', 'proposals.pkl', '--out', 'out/a.svg'])
    figures = json.loads((here / 'out/a.json').read_text())
    assert figures['has_proposals'] and '<svg' in (here / 'out/a.svg').read_text()
    # What was found in spite of that is found.
    assert figures['outcomes']['novel']['never proposed'] == 0


def test_lvis(here: pathlib.Path):
    analyze.main(['ov_lvis.py', 'lvis.pkl'])
    figures = json.loads((here / 'lvis.analysis.json').read_text())
    assert figures['outcomes']['base']['found'] == figures['objects']['base'] > 0
    assert figures['outcomes']['novel']['called base'] == figures['objects']['novel'] > 0


def test_dry_run(here: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    few = pickle.loads((here / 'coco.pkl').read_bytes())[:DRY_RUN_IMAGES]
    (here / 'few.pkl').write_bytes(pickle.dumps(few))
    with pytest.raises(ValueError, match='few.pkl: found 4 results and 5 images .*DRY_RUN'):
        analyze.main(['ov_coco.py', 'few.pkl'])
    monkeypatch.setenv('DRY_RUN', 'True')
    analyze.main(['ov_coco.py', 'few.pkl'])
    assert (here / 'few.analysis.png').is_file()


def test_files_of_results_agree(here: pathlib.Path):
    truth = GroundTruth.from_config(load_config('ov_coco.py'))
    pickled = truth.counted(read_results(here / 'coco.pkl', truth))
    listed = truth.counted(read_results(here / 'coco.json', truth))
    for a, b in zip(pickled[:4], listed[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (here / 'coco.pickle').read_bytes() == (here / 'coco.pkl').read_bytes()


class _Code:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path('ran'),)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('code.pkl', pickle.dumps([_Code()]), 'expected a pickle of NumPy arrays'),
        ('shape.pkl', pickle.dumps([[np.zeros((1, 4))] * 5] * 5), r'result 0 is not a list of 5 arrays'),
        ('none.pkl', pickle.dumps(dict(a=1)), 'found dict and 5 images'),
        ('metrics.json', b'{"bbox_AP": 0.5}', 'JSON dict, not a list .*--out-json writes metrics'),
        ('cut.json', b'[{"image_id": 1', 'cut off'),
        ('row.json', b'[{"image_id": 21}]', 'a row lacks image_id, bbox'),
        ('image.json', b'[{"image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 1}]', r'1 images are not in .*\[7\]'),
    ],
)  # fmt: skip
def test_other_files_are_refused(here: pathlib.Path, name: str, content: bytes, message: str):
    (here / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        analyze.main(['ov_coco.py', name])
    assert not (here / 'ran').exists()


def test_arguments(here: pathlib.Path):
    with pytest.raises(FileNotFoundError, match='absent.json'):
        analyze.main(['ov_coco.py', 'absent.json'])
    for arguments in (['--out', 'x.txt'], ['--confusions', '0'], ['--file-order']):
        with pytest.raises(SystemExit):
            analyze.main(['ov_coco.py', 'coco.pkl', *arguments])
