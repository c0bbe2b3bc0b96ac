import types

import numpy as np
import pytest
import torch

from oadp.categories import Categories
from oadp.dp.evaluation import GroundTruth
from oadp.dp.evaluation.probe import Tally, _head_logits, probe_features, prompts_of

CATEGORIES = Categories(bases=('cat', 'dog', 'cow'), novels=('fox', 'owl'))
TEXT = torch.eye(6)[:5]  # one embedding per class, in 6 dimensions


class Source:
    """The features of some images."""

    def __init__(self, records: dict) -> None:
        self._records = records

    def has(self, image_id: int) -> bool:
        return image_id in self._records

    def read(self, image_id: int):
        return self._records[image_id]


@pytest.fixture
def truth() -> GroundTruth:
    """Image 3: a cat on the left, a fox on the right, a crowd; image 8: a cow."""
    boxes = [(3, 0, [0, 0, 10, 10]), (3, 3, [20, 0, 10, 10]), (8, 2, [0, 0, 10, 10])]
    annotations = [dict(image_id=i, category_id=c, bbox=b) for i, c, b in boxes]
    annotations.append(dict(image_id=3, category_id=1, bbox=[0, 0, 30, 30], iscrowd=1))
    return GroundTruth(
        dict(
            images=[dict(id=i, width=40, height=40) for i in (8, 3)],
            annotations=annotations,
            categories=[dict(id=i, name=name) for i, name in enumerate(CATEGORIES.all_)],
        ),
        CATEGORIES,
    )


@pytest.fixture
def prompts(tmp_path) -> dict[str, str]:
    path = tmp_path / 'prompts.pth'
    torch.save(dict(names=list(CATEGORIES.all_), embeddings=TEXT), path)
    return dict.fromkeys(('objects', 'blocks', 'globals'), str(path))


def _half(rows: list) -> torch.Tensor:
    return torch.tensor(rows).half()


def test_objects_are_classified_by_the_box_with_the_highest_iou(truth, prompts):
    boxes = [[0, 0, 10, 8], [0, 0, 10, 10], [21, 0, 30, 10], [5, 30, 15, 40]]
    likes = TEXT[[1, 0, 4, 2]] * 3 + 0.1  # the box of the cat has the higher IoU; an owl on the fox
    source = Source({3: dict(embeddings=likes.half(), bboxes=_half(boxes))})
    tallies, absent = probe_features(truth, dict(objects=source, blocks=Source({})), prompts)
    assert absent == ['blocks']
    tally = tallies['CLIP, objects']
    assert tally.total.tolist() == [1, 0, 0, 1, 0] and tally.right.tolist() == [1, 0, 0, 0, 0]
    assert tally.accuracy(slice(3)) == 1 and tally.accuracy(slice(3, None)) == 0
    assert tally.covered == 1
    # No box covers the cow, so it is not counted.
    both = Source(
        {**source._records, 8: dict(embeddings=likes[:1].half(), bboxes=_half([[30, 30, 40, 40]]))}
    )
    tally = probe_features(truth, dict(objects=both), prompts)[0]['CLIP, objects']
    assert tally.total.sum() == 2 and tally.covered == pytest.approx(2 / 3)


def test_as_many_classes_as_a_region_contains_are_predicted(truth, prompts):
    whole, right = [0, 0, 40, 40], [15, 0, 40, 40]
    embeddings = torch.zeros(2, 6)
    embeddings[0, 0], embeddings[0, 1], embeddings[0, 3] = 3, 2, 1  # cat, dog, fox
    embeddings[1, 3], embeddings[1, 0] = 3, 2  # only the fox is in the image
    blocks = Source({3: dict(embeddings=embeddings.half(), bboxes=_half([whole, right]))})
    image = Source({3: _half([3, 0, 0, 2, 1, 0]), 8: _half([3, 0, 1, 0, 0, 0])})
    tallies, _ = probe_features(truth, dict(blocks=blocks, globals=image), prompts)
    tally = tallies['CLIP, blocks']
    assert tally.total.tolist() == [1, 0, 0, 2, 0] and tally.right.tolist() == [1, 0, 0, 1, 0]
    assert tally.by_class().tolist() == [1, -1, -1, 0.5, -1]
    tally = tallies['CLIP, image']
    assert tally.total.tolist() == [1, 0, 1, 1, 0] and tally.right.tolist() == [1, 0, 0, 1, 0]


def test_features_of_another_clip_are_an_error(truth, prompts):
    source = Source({3: torch.ones(4).half()})
    with pytest.raises(ValueError, match='globals have 4 dimensions, and the prompts of .* 6'):
        probe_features(truth, dict(globals=source), prompts)


def test_heads_classify_boxes_scaled_to_the_input():
    asked = {}

    class Head:
        _block_head = object()

        def predict_logits(self, features, proposals, metas):
            asked['proposals'] = proposals[0]
            logits = torch.eye(6)[:2]
            return [types.SimpleNamespace(bbox_logits=logits, object_logits=logits * 2)]

        def _look_at(self, features, boxes, head):
            asked['blocks'] = boxes[0]
            return torch.eye(5)[:2]

        def score(self, prediction):
            return prediction.object_logits.softmax(1)

    detector = types.SimpleNamespace(
        roi_head=Head(), _global_head=lambda features: torch.ones(1, 5)
    )
    metas = [dict(scale_factor=np.array([2.0, 3, 2, 3]))]
    xywh = np.array([[1.0, 2, 3, 4], [5, 5, 5, 5]])
    logits = _head_logits(detector, [torch.zeros(1)], metas, xywh)
    assert asked['blocks'].tolist() == [[2, 6, 8, 18], [10, 15, 20, 30]]
    assert asked['proposals'][:, 4].tolist() == [1, 1]
    assert [*logits] == [
        'box head', 'object head', 'block head', 'fused', 'image head',
    ]  # fmt: skip
    assert [*_head_logits(detector, [torch.zeros(1)], metas, xywh[:0])] == ['image head']


def test_prompts_of_existing_and_missing_heads():
    own = dict(cls_predictor_cfg=dict(prompts='own'))
    box = dict(cls_predictor_cfg=dict(prompts='box'))
    vild = dict(roi_head=dict(bbox_head=box, object_head=dict(type='x')))
    assert prompts_of(vild) == dict(objects='box', blocks='box', globals='box')
    oadp = dict(
        roi_head=dict(bbox_head=box, object_head=None, block_head=own),
        global_head=dict(classifier=dict(prompts='image')),
    )
    assert prompts_of(oadp) == dict(objects='box', blocks='own', globals='image')


def test_ties_and_empty_tallies():
    tally = Tally.empty(3)
    tally.add_multiple(np.zeros((2, 3), bool), np.zeros((2, 3)))
    assert tally.total.sum() == 0 and tally.accuracy(slice(None)) == -1
    tally.add_single(np.array([2, 2, 0]), np.array([2, 1, 0]))
    assert tally.by_class().tolist() == [1, -1, 0.5]
