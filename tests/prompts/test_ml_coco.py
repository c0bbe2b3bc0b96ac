"""Training of the multi-label prompts, from features on disk to the prompt file.

The images' embeddings lie near the texts of their classes in a context that training does not
know, so there is something to learn that a better context gives for novel classes too.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from oadp.categories import Categories
from oadp.data.annotations.build import build
from oadp.data.features.stores import open_store
from oadp.prompts import ml_coco
from oadp.prompts.multi_label import MultiLabelPrompts
from oadp.prompts.multi_label_training import MultiLabelTraining
from oadp.utils.config import load_config

BASES = ('cat', 'dog', 'red_fox', 'owl', 'whale', 'oak tree')
NOVELS = ('ant', 'river', 'cup')
CONFIG = """
categories = 'categories.json'
clip = {clip!r}
out = 'data/prompts/ml.pth'
train = dict(features='blocks/train', ann_file='train.6.json')
val = dict(features='blocks/val', ann_file='val.9.json')
num_workers = 0
prompts = dict(context='a photo of a', scaler=20.0, bias=4.0)
loss = dict(weight=640, gamma_neg=4, gamma_pos=0, clip=0.05)
optimizer = dict(lr=5e-2, weight_decay=1e-3)
batch_size = 16
epochs = 2
seed = 0
log_interval = 3
checkpoint_interval = 4
"""


@torch.no_grad()
def write_split(name, count, texts, generator):
    labels = torch.rand(count, len(texts), generator=generator) < 0.25
    noise = torch.randn(count, texts.shape[1], generator=generator) * 0.05
    directions = functional.normalize(texts - texts.mean(0), dim=1)
    embeddings = functional.normalize(labels.float() @ directions + noise, dim=1)
    store = open_store(f'blocks/{name}', 'blocks')
    for i, embedding in enumerate(embeddings):
        store.write(i, {'embeddings': embedding[None].half(), 'bboxes': torch.zeros(1, 4).half()})
    pairs = labels.nonzero().tolist()
    names = [*BASES, *NOVELS]
    data = {
        'images': [
            {'id': i, 'file_name': f'{i}.jpg', 'width': 64, 'height': 64} for i in range(count)
        ],
        'categories': [{'id': i, 'name': n} for i, n in enumerate(names)],
        'annotations': [
            {'id': i, 'image_id': a, 'category_id': c, 'bbox': [0, 0, 9, 9]}
            for i, (a, c) in enumerate(pairs)
        ],
    }
    with open(f'{name}.json', 'w') as f:
        json.dump(data, f)
    build(f'{name}.json', Categories(BASES, NOVELS))


@pytest.fixture
def folder(tmp_path, monkeypatch, small_clip, small_clip_path):
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    hidden = MultiLabelPrompts(small_clip, BASES + NOVELS)
    with torch.no_grad():
        hidden.context += torch.randn(4, 64, generator=generator) / 2
    texts = hidden.embed().detach()
    write_split('train', 160, texts, generator)
    write_split('val', 60, texts, generator)
    (tmp_path / 'categories.json').write_text(json.dumps({'bases': BASES, 'novels': NOVELS}))
    (tmp_path / 'ml.py').write_text(CONFIG.format(clip=str(small_clip_path)))
    return tmp_path


def history(work_dir='work_dirs/prompts/ml'):
    return torch.load(f'{work_dir}/latest.pth', weights_only=True)['history']


def test_map_increases(folder):
    ml_coco.main(['ml.py', '--override', '.epochs:4'])
    entries = history()
    assert [e['epoch'] for e in entries] == [0, 1, 2, 3, 4]
    assert entries[-1]['base_mAP'] > entries[0]['base_mAP'] + 5
    assert entries[-1]['loss'] < entries[1]['loss']
    assert all(0 <= e['novel_mAP'] <= 100 for e in entries)
    content = torch.load('data/prompts/ml.pth')
    assert content['names'] == [*BASES, *NOVELS]
    assert torch.allclose(content['embeddings'].norm(dim=1), torch.ones(9))
    assert content['scaler'].shape == content['bias'].shape == ()
    assert float(content['scaler']) != 20 and float(content['bias']) != 4


def test_without_a_bias_the_first_logits_are_balanced(folder):
    override = ['--override', '.epochs:0', '.prompts.bias:None']
    ml_coco.main(['ml.py', *override])
    content = torch.load('data/prompts/ml.pth')
    coco = json.loads(pathlib.Path('train.6.json').read_text())
    shown = {(a['image_id'], a['category_id']) for a in coco['annotations']}
    cosines = {True: [], False: []}
    store = open_store('blocks/train', 'blocks')
    for image_id in store.ids():
        image = store.read(image_id)['embeddings'][0].float()
        for i, text in enumerate(content['embeddings'][: len(BASES)]):
            cosine = functional.cosine_similarity(image, text, dim=0)
            cosines[(image_id, i) in shown].append(float(cosine))
    middle = sum(sum(c) / len(c) for c in cosines.values()) / 2
    assert float(content['scaler']) == 20
    assert float(content['bias']) == pytest.approx(20 * middle, abs=1e-3)


def test_novel_labels_are_ignored(folder):
    ml_coco.main(['ml.py', '--override', '.epochs:1'])
    before = torch.load('data/prompts/ml.pth')['embeddings']
    (folder / 'other.py').write_text((folder / 'ml.py').read_text())
    ml_coco.main(['other.py', '--override', '.epochs:1', '.train.ann_file::train.9.json'])
    assert torch.load('data/prompts/ml.pth')['embeddings'].equal(before)


def test_resume_after_a_kill(folder, monkeypatch):
    ml_coco.main(['ml.py'])
    expected, entries = torch.load('data/prompts/ml.pth'), history()
    (folder / 'killed.py').write_text((folder / 'ml.py').read_text())

    step, count = MultiLabelTraining._step, 0

    def killed(self, indices):
        nonlocal count
        count += 1
        if count == 17:  # the 7th iteration of the second epoch; saved after the 4th
            raise KeyboardInterrupt
        return step(self, indices)

    monkeypatch.setattr(MultiLabelTraining, '_step', killed)
    with pytest.raises(KeyboardInterrupt):
        ml_coco.main(['killed.py'])
    ml_coco.main(['killed.py'])
    assert count == 17 + 6, 'only what was not saved is done again'
    got = torch.load('data/prompts/ml.pth')
    for key in ('embeddings', 'scaler', 'bias'):
        assert torch.allclose(got[key], expected[key], atol=1e-5), key
    for a, b in zip(history('work_dirs/prompts/killed'), entries, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    ml_coco.main(['killed.py'])
    assert count == 17 + 6, 'nothing is left to do'


def test_resume_with_other_settings_is_an_error(folder):
    ml_coco.main(['ml.py', '--override', '.epochs:1'])
    with pytest.raises(ValueError, match=r'same settings, found others \(optimizer differ\)'):
        ml_coco.main(['ml.py', '--override', '.optimizer.lr:0.01'])
    ml_coco.main(['ml.py', '--override', '.epochs:2'])
    assert [e['epoch'] for e in history()] == [0, 1, 2]


def test_dry_run_writes_to_its_own_folder(folder, monkeypatch):
    monkeypatch.setenv('DRY_RUN', 'True')
    ml_coco.main(['ml.py'])
    ml_coco.main(['ml.py'])
    assert not (folder / 'data').exists() and not (folder / 'work_dirs/prompts').exists()
    assert (folder / 'work_dirs/dry_run/prompts/ml.pth').is_file()
    assert [e['epoch'] for e in history('work_dirs/dry_run/prompts/ml')] == [0, 1]


def test_without_validation(folder):
    ml_coco.main(['ml.py', '--override', '.val:None', '.epochs:1'])
    assert [sorted(e) for e in history()] == [['epoch'], ['epoch', 'loss']]


def test_the_shipped_config_is_the_default(folder):
    """It is found from any folder, and names the CLIP that is missing here."""
    with pytest.raises(FileNotFoundError, match='ViT-B-32.pt'):
        ml_coco.main([])


@pytest.mark.slow
def test_processes_share_the_classes(folder):
    ml_coco.main(['ml.py', '--override', '.epochs:1'])
    expected, entries = torch.load('data/prompts/ml.pth'), history()
    (folder / 'two.py').write_text((folder / 'ml.py').read_text())
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, 'PYTHONPATH': root, 'OMP_NUM_THREADS': '1'}
    arguments = ['-m', 'oadp.prompts.ml_coco', 'two.py', '--override', '.epochs:1']
    subprocess.run([*command, *arguments], check=True, env=environment)
    got = torch.load('data/prompts/ml.pth')
    for key in ('embeddings', 'scaler', 'bias'):
        assert torch.allclose(got[key], expected[key], atol=1e-3), key
    for a, b in zip(history('work_dirs/prompts/two'), entries, strict=True):
        assert a == pytest.approx(b, rel=1e-3)


ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.mark.parametrize('name', ['ml_coco', 'ml_mini'])
def test_shipped_configs(name):
    config = load_config(ROOT / f'configs/prompts/{name}.py')
    assert (config.batch_size, config.epochs, config.loss.weight) == (16, 4, 640)
    assert config.train.features.split('/')[-2] == config.val.features.split('/')[-2] == 'blocks'


def test_the_coco_config_has_the_hyperparameters_of_the_authors():
    config = load_config(ROOT / 'configs/prompts/ml_coco.py')
    assert dict(config.optimizer) == dict(lr=5e-2, weight_decay=1e-3)
    assert dict(config.prompts) == dict(context='a photo of a', scaler=20.0, bias=4.0)
    assert dict(config.loss) == dict(weight=640, gamma_neg=4, gamma_pos=0, clip=0.05)
