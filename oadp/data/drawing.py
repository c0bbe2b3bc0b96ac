"""Draw detections: boxes or masks, names and scores; novel categories have their own color."""

__all__ = ['BASE_COLOR', 'NOVEL_COLOR', 'draw', 'save_drawing', 'to_detections']

import pathlib
from typing import Any, cast

import cv2
import numpy as np
import PIL.Image
import supervision as sv
from pycocotools import mask as mask_api

from oadp.categories import Categories
from oadp.utils.files import atomic_write

BASE_COLOR = sv.Color.from_hex('#1971c2')
NOVEL_COLOR = sv.Color.from_hex('#e8590c')

_MIN_SIDE = 480
"""Images with a shorter side of fewer pixels are enlarged first, so that names are legible."""

_MAX_ENLARGED = 4 * _MIN_SIDE
"""Maximum longer side in pixels of an enlarged image, which limits narrow images."""

_MAX_JPEG_SIDE = 65_500  # pixels, libjpeg's limit
_JPEG_QUALITY = 95  # percent; lower values blur text and thin lines


def to_detections(result: Any, categories: Categories, threshold: float = 0.0) -> sv.Detections:
    """Convert mmdet's result of an image to supervision's detections.

    Args:
        result: for each category an (n, 5) array of xyxy and score; or a pair of these and, for each
            category, n masks, which are (h, w) bool or run-length encoded.
        categories: categories of the result, in the same order.
        threshold: minimum score, in [0, 1].

    Returns:
        Detections sorted by descending score, with ``class_name`` and ``is_base`` in ``data``.
    """
    boxes, masks = result if isinstance(result, tuple) else (result, None)
    labels = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
    rows = np.concatenate(boxes) if len(boxes) else np.zeros((0, 5), dtype=np.float32)
    order = np.argsort(-rows[:, 4], kind='stable')
    order = order[rows[order, 4] >= threshold]
    labels = labels[order]
    all_masks = None
    if masks is not None and len(order):
        flat = [m for of_category in masks for m in of_category]
        all_masks = np.stack([_decode(flat[i]) for i in order])
    return sv.Detections(
        xyxy=rows[order, :4],
        mask=all_masks,
        confidence=rows[order, 4],
        class_id=labels,
        data=dict(
            class_name=np.array(categories.all_, dtype=object)[labels],
            is_base=labels < categories.num_bases,
        ),
    )


def _decode(mask: Any) -> np.ndarray:
    return mask_api.decode(mask).astype(bool) if isinstance(mask, dict) else np.asarray(mask, bool)


def draw(image: np.ndarray, detections: sv.Detections, max_side: int | None = None) -> np.ndarray:
    """Draw detections on an image.

    Args:
        image: (h, w, 3) uint8 RGB; not changed.
        detections: boxes in pixels of the image. Names are taken from ``data['class_name']`` and
            scores from ``confidence``. Colors depend on ``data['is_base']`` (bool) if present, and
            on the category otherwise. Masks are drawn if present.
        max_side: images with a longer side are reduced to this number of pixels first.

    Returns:
        (h', w', 3) uint8 RGB, of the size of ``image`` unless it is enlarged or reduced.
    """
    shorter, longer = sorted(image.shape[:2])
    scale = max(1.0, min(_MIN_SIDE / shorter, _MAX_ENLARGED / longer))
    if max_side is not None:
        scale = min(scale, max_side / longer)
    scene = np.ascontiguousarray(image)
    if scale != 1:
        scene, detections = _resize(scene, detections, scale)
    else:
        scene = scene.copy()
    if not len(detections):
        return scene
    size_wh = scene.shape[1], scene.shape[0]
    thickness = sv.calculate_optimal_line_thickness(size_wh)
    text_scale = sv.calculate_optimal_text_scale(size_wh)
    is_base = detections.data.get('is_base')
    palette = sv.ColorPalette.DEFAULT
    lookup: Any = np.arange(len(detections)) if detections.class_id is None else detections.class_id
    if is_base is not None:
        palette = sv.ColorPalette([BASE_COLOR, NOVEL_COLOR])
        lookup = (~np.asarray(is_base, dtype=bool)).astype(int)
    bgr: Any = cv2.cvtColor(scene, cv2.COLOR_RGB2BGR)  # supervision uses OpenCV's order of channels
    # The detections with the highest scores are drawn last, on top.
    order = np.argsort(_scores(detections), kind='stable')
    detections, lookup = cast(sv.Detections, detections[order]), lookup[order]
    if detections.mask is not None:
        bgr = sv.MaskAnnotator(palette, opacity=0.4).annotate(
            bgr, detections, custom_color_lookup=lookup
        )
    bgr = sv.BoxAnnotator(palette, thickness).annotate(bgr, detections, custom_color_lookup=lookup)
    labels = _labels(detections)
    padding = max(2, 2 * thickness)
    bgr = sv.LabelAnnotator(palette, text_scale=text_scale, text_padding=padding).annotate(
        bgr,
        _move_labels_inside(detections, labels, size_wh, text_scale, padding),
        labels=labels,
        custom_color_lookup=lookup,
    )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _scores(detections: sv.Detections) -> np.ndarray:
    if detections.confidence is None:
        return np.zeros(len(detections))
    return detections.confidence


def _labels(detections: sv.Detections) -> list[str]:
    names = detections.data.get('class_name', [''] * len(detections))
    if detections.confidence is None:
        return [str(name) for name in names]
    return [
        f'{name} {score:.2f}'.strip()
        for name, score in zip(names, detections.confidence, strict=True)
    ]


def _move_labels_inside(
    detections: sv.Detections,
    labels: list[str],
    size_wh: tuple[int, int],
    text_scale: float,
    padding: int,
) -> sv.Detections:
    """Move the upper left corners, above which supervision draws the labels, so that no label is clipped."""
    texts = [cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, text_scale, 1)[0] for label in labels]
    label_wh = np.array(texts) + 2 * padding
    moved = detections.xyxy.copy()
    moved[:, 0] = np.clip(moved[:, 0], 0, np.maximum(size_wh[0] - label_wh[:, 0], 0))
    moved[:, 1] = np.clip(moved[:, 1], label_wh[:, 1], max(size_wh[1], label_wh[:, 1].max()))
    return sv.Detections(xyxy=moved, class_id=detections.class_id)


def _resize(
    scene: np.ndarray, detections: sv.Detections, scale: float
) -> tuple[np.ndarray, sv.Detections]:
    h, w = scene.shape[:2]
    size_wh = max(1, round(w * scale)), max(1, round(h * scale))
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    scene = cv2.resize(scene, size_wh, interpolation=interpolation)
    ratio = np.array([size_wh[0] / w, size_wh[1] / h] * 2)
    masks = None
    if detections.mask is not None:
        masks = np.stack(
            [
                cv2.resize(np.asarray(m, np.uint8), size_wh, interpolation=cv2.INTER_NEAREST) > 0
                for m in detections.mask
            ]
        )
    resized = sv.Detections(
        xyxy=detections.xyxy * ratio,
        mask=masks,
        confidence=detections.confidence,
        class_id=detections.class_id,
        data=detections.data,
    )
    return scene, resized


def save_drawing(stem: pathlib.Path, image: np.ndarray) -> pathlib.Path:
    """Write an image as JPEG, or as PNG if a side exceeds the limit of JPEG. Atomic.

    Args:
        stem: path without the suffix.
        image: (h, w, 3) uint8 RGB.

    Returns:
        Path of the file.
    """
    if max(image.shape[:2]) <= _MAX_JPEG_SIDE:
        path = stem.with_name(f'{stem.name}.jpg')
        options: dict[str, Any] = dict(format='JPEG', quality=_JPEG_QUALITY)
    else:
        path, options = stem.with_name(f'{stem.name}.png'), dict(format='PNG')
    with atomic_write(path) as temporary:
        PIL.Image.fromarray(image).save(temporary, **options)
    return path
