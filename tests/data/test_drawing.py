import numpy as np
import PIL.Image
import pytest
import supervision as sv
from pycocotools import mask as mask_api

from oadp.categories import Categories
from oadp.data.drawing import BASE_COLOR, NOVEL_COLOR, draw, save_drawing, to_detections

CATEGORIES = Categories(bases=('cat', 'dog'), novels=('fox',))


def result(masks: bool = False):
    boxes = [
        np.array([[10, 100, 60, 160, 0.5]], np.float32),
        np.zeros((0, 5), np.float32),
        np.array([[300, 200, 400, 300, 0.9], [0, 0, 5, 5, 0.1]], np.float32),
    ]
    if not masks:
        return boxes
    encoded = []
    for of_category in boxes:
        encoded.append([])
        for x1, y1, x2, y2, _ in of_category.astype(int):
            mask = np.zeros((480, 640), np.uint8, order='F')
            mask[y1:y2, x1:x2] = 1
            encoded[-1].append(mask_api.encode(mask))
    return boxes, encoded


def test_to_detections():
    detections = to_detections(result(masks=True), CATEGORIES, threshold=0.2)
    assert detections.confidence.tolist() == pytest.approx([0.9, 0.5])
    assert detections.data['class_name'].tolist() == ['fox', 'cat']
    assert detections.data['is_base'].tolist() == [False, True]
    assert detections.class_id.tolist() == [2, 0]
    assert detections.xyxy[0].tolist() == [300, 200, 400, 300]
    assert detections.mask.shape == (2, 480, 640) and detections.mask[0].sum() == 100 * 100


@pytest.mark.parametrize('masks', [False, True])
def test_without_detections(masks: bool):
    detections = to_detections(result(masks), CATEGORIES, threshold=0.95)
    assert len(detections) == 0
    image = np.full((480, 640, 3), 7, np.uint8)
    assert np.array_equal(draw(image, detections), image)


def pixel(drawing: np.ndarray, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(v) for v in drawing[y, x])


def test_base_and_novel_have_different_colors():
    image = np.zeros((480, 640, 3), np.uint8)
    drawing = draw(image, to_detections(result(), CATEGORIES))
    assert drawing.shape == image.shape and not image.any()
    assert pixel(drawing, 35, 160) == BASE_COLOR.as_rgb()
    assert pixel(drawing, 350, 300) == NOVEL_COLOR.as_rgb()
    assert pixel(drawing, 350, 250) == (0, 0, 0)


def test_masks_are_drawn():
    image = np.zeros((480, 640, 3), np.uint8)
    drawing = draw(image, to_detections(result(masks=True), CATEGORIES))
    assert pixel(drawing, 350, 250) != (0, 0, 0) and pixel(drawing, 500, 400) == (0, 0, 0)


@pytest.mark.parametrize('masks', [False, True])
def test_small_images_are_enlarged(masks: bool):
    boxes = [np.array([[40, 40, 80, 80, 0.9]], np.float32), *[np.zeros((0, 5), np.float32)] * 2]
    mask = np.zeros((120, 160), bool)
    mask[40:80, 40:80] = True
    one = (boxes, [[mask], [], []]) if masks else boxes
    drawing = draw(np.zeros((120, 160, 3), np.uint8), to_detections(one, CATEGORIES))
    assert drawing.shape == (480, 640, 3)
    assert pixel(drawing, 240, 320) == BASE_COLOR.as_rgb()  # the lower edge, four times as far


@pytest.mark.parametrize('x, y', [(0, 0), (620, 0), (620, 460), (-20, 470)])
def test_labels_at_the_edges_are_not_clipped(x: int, y: int):
    boxes = [np.array([[x, y, x + 25, y + 25, 0.9]], np.float32), *[np.zeros((0, 5))] * 2]
    drawing = draw(np.zeros((480, 640, 3), np.uint8), to_detections(boxes, CATEGORIES))
    inner = [np.array([[300, 200, 325, 225, 0.9]], np.float32), *[np.zeros((0, 5))] * 2]
    whole = draw(np.zeros((480, 640, 3), np.uint8), to_detections(inner, CATEGORIES))
    # The text is white, the rest blue. Of a label that is cut off, a part would be missing.
    white = [(p > 100).all(axis=2).sum() for p in (drawing, whole)]
    assert white[0] == white[1] > 50


def test_detections_without_optional_fields():
    import supervision as sv

    detections = sv.Detections(xyxy=np.array([[10.0, 10, 50, 50]]))
    assert draw(np.zeros((500, 500, 3), np.uint8), detections).any()


def _one_box(xyxy) -> sv.Detections:
    return sv.Detections(
        xyxy=np.array([xyxy], np.float32), confidence=np.ones(1), class_id=np.zeros(1, int)
    )


def test_enlarged_narrow_images_are_bounded():
    drawn = draw(np.zeros((5000, 2, 3), np.uint8), _one_box([0, 10, 2, 20]))
    assert drawn.shape == (5000, 2, 3)
    assert draw(np.zeros((100, 4, 3), np.uint8), _one_box([0, 10, 2, 20])).shape == (1920, 77, 3)


def test_max_side():
    image = np.zeros((4000, 1000, 3), np.uint8)
    drawn = draw(image, _one_box([100, 100, 900, 3900]), max_side=1000)
    assert drawn.shape == (1000, 250, 3)
    rows, columns = drawn.any(axis=2).nonzero()
    assert abs(columns.max() - 225) < 8 and abs(rows.max() - 975) < 8
    assert draw(image, _one_box([1, 1, 9, 9]), max_side=5000).shape == image.shape


def test_drawings_too_large_for_jpeg_are_png(tmp_path):
    assert save_drawing(tmp_path / 'a.b', np.zeros((9, 9, 3), np.uint8)).name == 'a.b.jpg'
    path = save_drawing(tmp_path / 'a', np.full((65_501, 1, 3), 7, np.uint8))
    with PIL.Image.open(path) as image:
        assert (image.format, image.size, path.name) == ('PNG', (1, 65_501), 'a.png')
    assert len(list(tmp_path.iterdir())) == 2
