"""The module ``mmcv._ext`` where mmcv-full was installed without its compiled ops.

Of those ops a detector of this project uses NMS and RoIAlign. torchvision brings both, compiled for
every torch, on CPU and CUDA, with the same definitions. The functions here have the names and
calling conventions of mmcv's C++ ones (outputs are arguments, filled in place). Every other name is
there too, because ``mmcv.ops`` asks for all of them at import, and says what to do when called.
"""

__all__ = [
    'get_compiler_version',
    'get_compiling_cuda_version',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
]

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

_MAX_POOLING = 0
"""mmcv's code for ``pool_mode='max'``; 1 is ``'avg'``."""


_NOT_COMPILED = 'not compiled (torchvision)'


def get_compiler_version() -> str:
    """Return a description of the ops in place of a compiler, for mmcv's ``collect_env``."""
    return _NOT_COMPILED


def get_compiling_cuda_version() -> str:
    """Return a description of the ops in place of a CUDA version, for mmcv's ``collect_env``."""
    return _NOT_COMPILED


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4) xyxy in pixels.
        scores: (n,).
        iou_threshold: a box is dropped where its IoU with a better one is above.
        offset: 0, or 1 where x2 and y2 are the last pixel inside: sides are x2 - x1 + offset.

    Returns:
        (m,) int64 indices of the kept boxes, by descending score.
    """
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool each box's features by averages of bilinear samples.

    Args:
        features: (b, c, h, w).
        rois: (n, 5): index into the batch, then xyxy in pixels of the image.
        output: (n, c, aligned_height, aligned_width), filled.
        argmax_y: used by max pooling only, which is refused.
        argmax_x: as ``argmax_y``.
        spatial_scale: pixels of the feature map per pixel of the image.
        sampling_ratio: samples per bin and direction; 0 for as many as the bin has pixels.
        pool_mode: 1 for average pooling.
        aligned: whether the centre of the first pixel is at 0.5.

    Raises:
        NotImplementedError: max pooling.
    """
    _refuse_max_pooling(pool_mode)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features,
            rois.to(features.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of ``roi_align_forward``; ``grad_input`` (b, c, h, w) is filled."""
    _refuse_max_pooling(pool_mode)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois.to(grad_output.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _refuse_max_pooling(pool_mode: int) -> None:
    if pool_mode == _MAX_POOLING:
        raise NotImplementedError(_refusal("roi_align with pool_mode='max'"))


def _refusal(name: str) -> str:
    return (
        f'mmcv-full is installed without its compiled ops, and {name} is not among those that '
        'torchvision stands in for (nms, roi_align); to compile them: make install OPS=1'
    )


def __getattr__(name: str) -> Callable:
    if name.startswith('__'):
        raise AttributeError(name)

    def refuse(*args, **kwargs):
        raise NotImplementedError(_refusal(name))

    return refuse
