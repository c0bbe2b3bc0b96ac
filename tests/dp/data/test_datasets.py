import json
import pathlib
import shutil

import numpy as np
import pytest
import torch
from mmcv.parallel import collate
from mmdet.datasets import build_dataset as build_mmdet_dataset
from PIL import Image
from training_dataset import CATEGORY_IDS, NAMES, make_training_dataset, write_json

from oadp.categories import get_categories
from oadp.dp import build_dataset
from oadp.dp.data.image_reading import ReadImage
from oadp.utils.config import load_config, to_plain

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp('datasets')
    make_training_dataset(root)
    make_training_dataset(root, lvis=True)
    return root


@pytest.fixture
def here(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def prepared(golden_workdir: pathlib.Path, golden: pathlib.Path) -> pathlib.Path:
    """The folder of the recorded dataset, with its annotations and features."""
    expected = golden / 'expected'
    for name in ('coco', 'lvis_v1'):
        for file in (expected / 'annotations' / name).iterdir():
            shutil.copyfile(file, golden_workdir / 'data' / name / 'annotations' / file.name)
        oake = golden_workdir / 'data' / name / 'oake'
        oake.mkdir()
        for kind in ('globals', 'blocks'):
            (oake / kind).symlink_to(expected / 'oake' / kind)
        (oake / 'objects').symlink_to(expected / 'oake' / f'objects_{name.split("_")[0]}')
    return golden_workdir


def test_evaluation_equals_the_recorded_one(prepared: pathlib.Path, golden: pathlib.Path):
    expected = json.loads((golden / 'expected/evaluation.json').read_text())
    for name in ('coco', 'lvis'):
        dataset = build_dataset(load_config(f'configs/dp/oadp_ov_{name}.py'), 'val')
        by_id = {d['image_id']: d['dets'] for d in expected[name]['detections']}
        results = [as_result(by_id[image_id], len(dataset.CLASSES)) for image_id in dataset.img_ids]
        metrics = dataset.evaluate(results, ['bbox'])
        for key, value in expected[name]['metrics'].items():
            if not key.endswith('copypaste'):
                assert metrics[key] == pytest.approx(float(value), abs=1e-3), key


def as_result(rows: list, num_classes: int) -> list[np.ndarray]:
    result: list = [[] for _ in range(num_classes)]
    for label, *row in rows:
        result[label].append(row)
    return [np.array(r, dtype=np.float32).reshape(-1, 5) for r in result]


@pytest.mark.parametrize('name', ['vild_ov_coco', 'oadp_ov_coco', 'oadp_ov_lvis'])
def test_batch_equals_the_recorded_one(prepared: pathlib.Path, golden: pathlib.Path, name: str):
    config = load_config(f'configs/dp/{name}.py')
    dataset = config.trainer.dataloader.dataset
    for step in dataset.get('dataset', dataset).pipeline:
        if step.type == 'Resize':
            step.update(dict(img_scale=(288, 192), multiscale_mode='value'))
        if step.type == 'RandomFlip':
            step.flip_ratio = 0.0
    dataset = build_dataset(config)
    dataset = getattr(dataset, 'dataset', dataset)
    recorded = torch.load(golden / f'expected/dp/{name}.golden.pth', weights_only=False)
    indices = {info['filename']: i for i, info in enumerate(dataset.data_infos)}
    batch = collate([dataset[indices[f]] for f in recorded['ids']], samples_per_gpu=2)
    assert set(batch) - {'img_metas'} <= set(recorded['batch'])
    assert 'clip_objects' in batch and ('gt_masks' in batch) == ('lvis' in name)
    for key in set(batch) - {'img_metas'}:
        tolerance = 2e-3 if key == 'img' else 0  # the images were recorded in fp16
        for got, expected in zip(batch[key].data[0], recorded['batch'][key], strict=True):
            got = torch.from_numpy(got.masks) if key == 'gt_masks' else got
            assert got.shape == expected.shape
            assert key == 'img' or got.dtype == expected.dtype
            assert (got.float() - expected.float()).abs().max() <= tolerance, key


def test_labels_are_positions_in_the_category_set(here: pathlib.Path):
    names = {i: name for name, i in CATEGORY_IDS.items()}
    dataset = build_dataset(load_config('ov_coco.py'), 'val')
    by_image: dict = {}
    for annotation in json.loads((here / 'val.json').read_text())['annotations']:
        by_image.setdefault(annotation['image_id'], []).append(names[annotation['category_id']])
    for index, info in enumerate(dataset.data_infos):
        labels = dataset.get_ann_info(index)['labels']
        assert [NAMES[label] for label in labels] == by_image[info['id']]


@pytest.mark.parametrize('config', ['ov_coco.py', 'ov_lvis.py'])
def test_training_has_no_novel_labels(here: pathlib.Path, config: str):
    dataset = build_dataset(load_config(config))
    labels = np.concatenate([dataset.get_ann_info(i)['labels'] for i in range(len(dataset))])
    assert set(labels) <= {0, 1, 2}
    inner = getattr(dataset, 'dataset', dataset)
    assert {i for k in range(len(inner)) for i in inner.get_cat_ids(k)} <= {9, 2, 7}
    assert any(bool(dataset[i]['block_labels'].data.any()) for i in range(3))
    assert not any(bool(dataset[i]['block_labels'].data[:, 3:].any()) for i in range(3))


def test_perfect_detections_of_own_categories(here: pathlib.Path):
    """The prefixes contain the numbers of categories; all metrics of a perfect detector are 1."""
    dataset = build_dataset(load_config('ov_coco.py'), 'val')
    results = perfect_results(dataset)
    metrics = dataset.evaluate(results)
    for prefix in ('COCO_3_2_', 'COCO_3_', 'COCO_2_'):
        assert metrics[f'{prefix}bbox_mAP_'] == pytest.approx(1)
    # Without novel detections, the metrics of base categories do not change.
    metrics = dataset.evaluate([[*r[:3], r[3][:0], r[4][:0]] for r in results])
    assert metrics['COCO_3_bbox_mAP_50'] == pytest.approx(1)
    assert metrics['COCO_2_bbox_mAP_50'] == 0
    assert metrics['COCO_3_2_bbox_mAP_50'] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dataset,
        lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
        lambda dataset: dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=dataset),
        lambda dataset: dict(type='ConcatDataset', datasets=[dataset, dataset]),
        lambda dataset: dict(
            type='RepeatDataset',
            times=2,
            dataset=dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=dataset),
        ),
    ],
)
def test_validation_files_within_wrappers(here, monkeypatch: pytest.MonkeyPatch, wrap):
    monkeypatch.setenv('TRAIN_WITH_VAL_DATASET', 'True')
    config = load_config('ov_coco.py')
    config.trainer.dataloader.dataset = wrap(config.trainer.dataloader.dataset)
    before = str(config)
    dataset = build_dataset(config)
    names = {
        pathlib.Path(dataset[i]['img_metas'].data['ori_filename']).stem for i in range(len(dataset))
    }
    assert names <= {f'{i:012d}' for i in range(21, 26)}
    assert str(config) == before  # the config is not modified


def test_dry_run_reads_a_few_images(here, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    config = load_config('ov_lvis.py')
    assert len(build_dataset(config).dataset) == 4
    assert len(build_dataset(config, 'val')) == 4


def test_missing_categories(here: pathlib.Path):
    write_json(here / 'more.json', dict(bases=[*NAMES, 'yak'], novels=['emu']))
    config = load_config('ov_coco.py', {'.categories': 'more.json'})
    with pytest.raises(ValueError, match=r"the file lacks: 2 \('yak', 'emu'\); the set has 7"):
        build_dataset(config)


@pytest.mark.parametrize(
    ('content', 'error', 'message'),
    [
        (b'not an image', ValueError, '000000000022.png: not a readable image'),
        (b'', ValueError, '000000000022.png: not a readable image'),
        (None, FileNotFoundError, '000000000022.png: no such image.*"Datasets"'),
    ],
    ids=['something else', 'empty', 'missing'],
)
def test_unreadable_image(here: pathlib.Path, tmp_path: pathlib.Path, content, error, message: str):
    if content is not None:
        (tmp_path / '000000000022.png').write_bytes(content)
    config = load_config('ov_coco.py', {'.validator.dataloader.dataset.img_prefix': str(tmp_path)})
    with pytest.raises(error, match=message):
        build_dataset(config, 'val')[1]


def test_the_loading_step_of_mmdet_is_replaced(here: pathlib.Path):
    """It is replaced in OV_COCO, however it is built, and in other datasets of mmdet in a config."""
    config = load_config('ov_coco.py')
    inner = to_plain(config.validator.dataloader.dataset)
    assert inner['pipeline'][0]['type'] == 'LoadImageFromFile'
    inner.update(categories=config.categories, test_mode=True)
    direct = build_mmdet_dataset(dict(inner))
    classes = get_categories(config.categories).all_
    plain = {k: v for k, v in inner.items() if k != 'categories'}
    plain = dict(validator=dict(dataloader=dict(dataset=plain)))
    plain['validator']['dataloader']['dataset'].update(type='CocoDataset', classes=classes)
    for dataset in (direct, build_dataset(config, 'val'), build_dataset(plain, 'val')):
        assert isinstance(dataset.pipeline.transforms[0], ReadImage)


def test_image_rotated_by_exif_has_the_size_of_its_annotation(here: pathlib.Path, tmp_path):
    info = build_dataset(load_config('ov_coco.py'), 'val').data_infos[1]
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.new('RGB', (info['height'], info['width']))
    stored.save(tmp_path / info['filename'], exif=exif)
    prefix = {'.validator.dataloader.dataset.img_prefix': str(tmp_path)}
    dataset = build_dataset(load_config('ov_coco.py', prefix), 'val')
    assert dataset[1]['img_metas'][0].data['ori_shape'] == (info['height'], info['width'], 3)
    stored.save(tmp_path / info['filename'])
    with pytest.raises(ValueError, match=f'{info["filename"]}: the image has .* annotation says'):
        dataset[1]


def test_too_narrow_image_is_named(here: pathlib.Path, tmp_path):
    dataset = build_dataset(load_config('ov_coco.py'), 'val')
    Image.new('RGB', (1, 5000)).save(tmp_path / 'strip.png')
    dataset.img_prefix = str(tmp_path)
    dataset.data_infos[1] = dataset.data_infos[1] | dict(filename='strip.png', width=1, height=5000)
    with pytest.raises(ValueError, match='strip.png: the image cannot be resized'):
        dataset[1]


def test_link_to_the_images_that_was_copied_as_a_file(here: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / 'val').write_text('../coco/val2017')
    prefix = {'.validator.dataloader.dataset.img_prefix': str(tmp_path / 'val')}
    with pytest.raises(FileNotFoundError, match='000000000022.png: no such image.*"Datasets"'):
        build_dataset(load_config('ov_coco.py', prefix), 'val')[1]


def test_other_errors_do_not_name_the_image(here: pathlib.Path):
    """Missing features are such an error."""
    dataset = build_dataset(load_config('ov_coco.py'))
    dataset.pipeline.transforms[2]._sources['globals']._stores[0].path = pathlib.Path('nowhere')
    with pytest.raises(FileNotFoundError, match='no globals features of image'):
        dataset[0]


@pytest.mark.parametrize(
    ('results', 'metric', 'message'),
    [
        ([], 'bbox', 'each of 5 images, found 0'),
        ([[np.zeros((0, 5))] * 5] * 5, 'segm', 'gives none'),
        ([[np.zeros((0, 5))] * 5] * 5, 'proposal', 'unknown metric'),
    ],
)
def test_invalid_results(here, results: list, metric: str, message: str):
    with pytest.raises(ValueError, match=message):
        build_dataset(load_config('ov_coco.py'), 'val').evaluate(results, metric)


def test_lvis_by_class(here: pathlib.Path):
    dataset = build_dataset(load_config('ov_lvis.py'), 'val')
    results = [[np.float32([[0, 0, 30, 30, 0.9]])] * 5] * 5
    plain = dataset.evaluate(results, metric='bbox')
    by_class = dataset.evaluate(results, metric='bbox', classwise=True)
    rows = by_class.pop('bbox_classwise')
    assert by_class == plain
    assert {row['category'] for row in rows} == {'cat', 'dog', 'cow', 'fox', 'owl'}


@pytest.mark.parametrize('metrics', [['bbox'], ['bbox', 'segm']])
def test_lvis_without_detections(here: pathlib.Path, metrics: list[str]):
    """This happens after the first training steps, with a score threshold."""
    boxes: list = [np.zeros((0, 5), np.float32)] * 5
    nothing = (boxes, [[] for _ in boxes]) if 'segm' in metrics else boxes
    got = build_dataset(load_config('ov_lvis.py'), 'val').evaluate([nothing] * 5, metrics)
    for metric in metrics:
        assert got[f'{metric}_AP'] == got[f'{metric}_AP50'] == got[f'{metric}_APr'] == 0


def test_unknown_split(here):
    with pytest.raises(ValueError, match="unknown split 'test'"):
        build_dataset(load_config('ov_coco.py'), 'test')


def perfect_results(dataset) -> list:
    results = []
    for index in range(len(dataset)):
        info = dataset.get_ann_info(index)
        scored = np.concatenate([info['bboxes'], np.ones((len(info['bboxes']), 1))], 1)
        results.append([scored[info['labels'] == label] for label in range(len(NAMES))])
    return results


@pytest.fixture
def changed(here: pathlib.Path):
    """Write a modified copy of an annotation file, and return the override that reads it."""

    def change(split: str, edit) -> dict:
        data = json.loads((here / f'{split}.json').read_text())
        edit(data)
        write_json(here / 'changed.json', data)
        role = dict(train='trainer', val='validator')[split]
        return {f'.{role}.dataloader.dataset.ann_file': 'changed.json'}

    return change


@pytest.mark.parametrize(('name', 'key'), [('coco', 'COCO_3_2_bbox_mAP_'), ('lvis', 'bbox_AP')])
def test_perfect_detections_without_area_and_iscrowd(here, changed, name: str, key: str):
    def edit(data):
        for annotation in data['annotations']:
            del annotation['area'], annotation['iscrowd']

    dataset = build_dataset(load_config(f'ov_{name}.py', changed('val', edit)), 'val')
    assert dataset.evaluate(perfect_results(dataset))[key] == pytest.approx(1)


def test_annotations_excluded_from_training_are_counted(here, changed, log):
    base, novel = CATEGORY_IDS['cat'], CATEGORY_IDS['owl']

    def edit(data):
        for annotation in data['annotations']:
            annotation['category_id'] = base
        data['annotations'][0]['bbox'][2] = 0.5
        data['annotations'][1]['bbox'][:2] = [2000, 2000]
        data['annotations'][3]['iscrowd'] = 1
        for annotation in data['annotations'][-3:]:  # of the last image
            annotation['category_id'] = novel
        data['images'][0]['width'] = 31

    dataset = build_dataset(load_config('ov_coco.py', changed('train', edit)))
    assert len(dataset) == 4
    assert 'changed.json: 3 of 18 annotations are not of base' in log.text
    for text in ('1 of 18 annotations are of boxes narrower or lower than a pixel', '1 of 18 annotations are of boxes outside', '1 of 18 annotations are of crowds',
                 '2 of 6 images are excluded from training: 1 narrower'):  # fmt: skip
        assert text in log.text


def test_masks_are_checked_before_training(here):
    data = json.loads((here / 'train.json').read_text())
    for annotation in data['annotations'][:3]:
        annotation['segmentation'] = []
    write_json(here / 'no_masks.json', data)
    config = load_config('ov_lvis.py')
    config.trainer.dataloader.dataset.dataset.ann_file = 'no_masks.json'
    with pytest.raises(
        ValueError, match=r'no_masks.json: annotations without segmentation: 3 \(id 1'
    ):
        build_dataset(config)
    config = load_config('ov_coco.py', {'.trainer.dataloader.dataset.ann_file': 'no_masks.json'})
    build_dataset(config)  # boxes only


def test_masks_are_checked_before_evaluation(here, changed):
    build_dataset(load_config('ov_lvis.py'), 'val').require_masks()

    def edit(data):
        del data['annotations'][4]['segmentation']

    dataset = build_dataset(load_config('ov_lvis.py', changed('val', edit)), 'val')
    with pytest.raises(
        ValueError, match=r'changed.json: annotations without segmentation: 1 \(id 5'
    ):
        dataset.require_masks()


def test_a_file_that_is_not_lvis(here, changed):
    def edit(data):
        for image in data['images']:
            del image['neg_category_ids']

    override = changed('val', edit)
    with pytest.raises(ValueError, match='without neg_category_ids: 5 .*use type OV_COCO'):
        build_dataset(load_config('ov_lvis.py', override), 'val')
    build_dataset(load_config('ov_coco.py', override), 'val')


def test_damaged_file_is_named(here):
    (here / 'cut.json').write_text((here / 'val.json').read_text()[:500])
    override = {'.validator.dataloader.dataset.ann_file': 'cut.json'}
    with pytest.raises(ValueError, match='cut.json: cut off after 500 characters'):
        build_dataset(load_config('ov_coco.py', override), 'val')
