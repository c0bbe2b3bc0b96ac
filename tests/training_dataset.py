"""Create a working directory in which a detector can be trained and tested within seconds.

The images show colored rectangles of three base and two novel categories, in the formats of COCO and
LVIS. The CLIP features are random and have 16 dimensions, and the configs define small detectors.
Annotation ids and category ids are not in the order of the categories, as in a user's own data.
"""

import json
import pathlib
from typing import Any

import numpy as np
import torch
from PIL import Image

from oadp.data.features.stores import open_store
from oadp.utils.config import dump_config, load_config

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASES, NOVELS = ('cat', 'dog', 'cow'), ('fox', 'owl')
NAMES = BASES + NOVELS
CATEGORY_IDS = dict(cat=9, dog=2, cow=7, fox=1, owl=4)
DIM = 16
SIZES = ((96, 64), (64, 96), (96, 72), (80, 80))  # width, height in pixels
SPLITS = dict(train=range(1, 7), val=range(21, 26))  # image ids


def make_training_dataset(root: pathlib.Path, lvis: bool = False) -> pathlib.Path:
    """Write the dataset and a config under ``root``, and return the path of the config."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    write_json(root / 'categories.json', dict(bases=BASES, novels=NOVELS))
    embeddings = torch.nn.functional.normalize(torch.randn(len(NAMES), DIM), dim=1)
    torch.save(dict(names=list(NAMES), embeddings=embeddings), root / 'prompts.pth')
    for split, ids in SPLITS.items():
        images = [_make_image(root, split, i, rng) for i in ids]
        write_json(root / f'{split}.json', _annotations(images, split))
        for image in images:
            _write_features(root / 'oake', split, image)
    shipped = ROOT / f'configs/dp/{"oadp_ov_lvis" if lvis else "oadp_ov_coco"}.py'
    path = root / ('ov_lvis.py' if lvis else 'ov_coco.py')
    dump_config(thin_config(root, shipped), path)
    return path


def write_json(path: pathlib.Path, data: Any) -> None:
    path.write_text(json.dumps(data))


def _make_image(root: pathlib.Path, split: str, image_id: int, rng: np.random.Generator) -> dict:
    width, height = SIZES[image_id % len(SIZES)]
    pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    objects = []
    for name in rng.permutation(NAMES)[:3]:
        w, h = rng.integers(20, 40, 2)
        x, y = rng.integers(0, width - w), rng.integers(0, height - h)
        pixels[y : y + h, x : x + w] = 80 + 40 * NAMES.index(name)
        objects.append((str(name), [float(v) for v in (x, y, w, h)]))
    path = root / 'images' / split / f'{image_id:012d}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return dict(id=image_id, width=width, height=height, file=path.name, objects=objects)


def _annotations(images: list[dict], split: str) -> dict:
    annotations = []
    for image in images:
        for name, (x, y, w, h) in image['objects']:
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=CATEGORY_IDS[name],
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[corners],
                )
            )
    frequencies = dict(cat='f', dog='f', cow='c', fox='r', owl='r')
    return dict(
        images=[
            dict(
                id=image['id'],
                file_name=image['file'],
                coco_url=f'http://images.cocodataset.org/{split}/{image["file"]}',
                width=image['width'],
                height=image['height'],
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
            for image in images
        ],
        annotations=annotations,
        categories=[
            dict(id=i, name=name, frequency=frequencies[name], image_count=1, instance_count=1)
            for name, i in CATEGORY_IDS.items()
        ],
    )


def _write_features(root: pathlib.Path, split: str, image: dict) -> None:
    def features(n: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(n, DIM), dim=1).half()

    w, h = image['width'], image['height']
    boxes = torch.tensor([[0, 0, w / 2, h], [w / 4, 0, w, h / 2], [10, 10, 40, 50]]).half()
    records = dict(
        globals=features(1)[0],
        blocks=dict(embeddings=features(3), bboxes=boxes),
        objects=dict(embeddings=features(3), bboxes=boxes, objectness=torch.rand(3, 1).half()),
    )
    for kind, record in records.items():
        open_store(root / kind / split, kind).write(image['id'], record)


def thin_config(root: pathlib.Path, path: pathlib.Path) -> Any:
    """A config of a detector, with few channels, for the data under ``root``."""
    config = load_config(path)
    lvis = config.categories == 'lvis'
    config.categories = str(root / 'categories.json')
    trainer, validator = config.trainer, config.validator
    dataset = trainer.dataloader.dataset
    train = dataset.dataset if lvis else dataset
    val = validator.dataloader.dataset
    for split, inner in (('train', train), ('val', val)):
        inner.ann_file = str(root / f'{split}.json')
        inner.img_prefix = str(root / 'images') + ('/' if lvis else f'/{split}/')
    load = train.pipeline[2]
    load.default = dict(task_name='train', val_task_name='val')
    for key, kind in (('globals_', 'globals'), ('blocks', 'blocks'), ('objects', 'objects')):
        if load.get(key) is not None:
            load[key] = dict(data_root=str(root / 'oake' / kind))
    train.pipeline[3].img_scale = [(96, 64), (96, 80)]
    val.pipeline[1].img_scale = (96, 64)
    trainer.dataloader.workers_per_gpu = validator.dataloader.workers_per_gpu = 0
    trainer.load_from = None
    trainer.log_config.interval = 1
    trainer.lr_config.warmup_iters = 2
    trainer.checkpoint_config.interval = 1 if lvis else 2
    trainer.evaluation.interval = 1 if lvis else 4
    trainer.runner.update(dict(max_epochs=1) if lvis else dict(max_iters=4))
    _shrink(config.model, str(root / 'prompts.pth'), lvis)
    return config


def _shrink(model: Any, prompts: str, lvis: bool) -> None:
    model.backbone.update(dict(depth=18, base_channels=8, frozen_stages=-1))
    model.neck.update(dict(in_channels=[8, 16, 32, 64], out_channels=16))
    model.rpn_head.update(dict(in_channels=16, feat_channels=16))
    roi_head = model.roi_head
    roi_head.bbox_roi_extractor.out_channels = 16
    roi_head.bbox_head.update(dict(in_channels=16, fc_out_channels=32, conv_out_channels=16))
    heads = [roi_head.bbox_head, roi_head.object_head, roi_head.get('block_head')]
    classifiers = [head and head.get('cls_predictor_cfg') for head in heads]
    if model.get('global_head') is not None:
        classifiers.append(model.global_head.classifier)
        model.global_head.classifier.in_features = 16
    for classifier in classifiers:
        if classifier is not None:
            classifier.type, classifier.prompts = 'ViLDClassifier', prompts
    if lvis:
        roi_head.mask_roi_extractor.out_channels = 16
        roi_head.mask_head.update(dict(num_convs=1, in_channels=16, conv_out_channels=16))
    for stage in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
        stage.update(dict(nms_pre=50, max_per_img=20))
    model.test_cfg.rcnn.max_per_img = 20
