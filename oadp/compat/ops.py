"""Replacement of the module ``mmcv._ext`` if mmcv-full was installed without its compiled ops.

The detectors of this project use two of those ops, NMS and RoIAlign. torchvision has both, compiled for
each version of torch, on CPU and CUDA, with the same definitions. The functions here have the names and
calling conventions of mmcv's C++ functions (outputs are arguments that are filled in place). All other
names exist, too, because ``mmcv.ops`` reads them at import; calling one raises an error that says what
to do.
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

from oadp.compat.roi_align_gradient import MAX_PIXELS, roi_align_gradient

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
    """Apply greedy non-maximum suppression.

    Args:
        boxes: (n, 4) xyxy in pixels.
        scores: (n,).
        iou_threshold: a box is suppressed if its IoU with a higher-scoring one is above this.
        offset: 0, or 1 if x2 and y2 are the last pixel inside: sides are x2 - x1 + offset.

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
    """Pool the features of each box by averaging bilinear samples.

    Args:
        features: (b, c, h, w).
        rois: (n, 5): index into the batch, then xyxy in pixels of the image.
        output: (n, c, aligned_height, aligned_width), filled.
        argmax_y: used only by max pooling, which is not supported.
        argmax_x: as ``argmax_y``.
        aligned_height: number of bins in the vertical direction.
        aligned_width: number of bins in the horizontal direction.
        spatial_scale: pixels of the feature map per pixel of the image.
        sampling_ratio: samples per bin and direction; 0 for as many as the bin has pixels.
        pool_mode: 1 for average pooling.
        aligned: whether the center of the first pixel is at 0.5.

    Raises:
        NotImplementedError: ``pool_mode`` is max pooling.
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
    """Compute the gradient of ``roi_align_forward``; ``grad_input`` (b, c, h, w) is filled."""
    _refuse_max_pooling(pool_mode)
    rois = rois.to(grad_output.dtype)
    shape = grad_input.shape
    is_small = grad_output.device.type == 'cpu' and shape[2] * shape[3] <= MAX_PIXELS
    # A box that is not finite has no number of samples; its loss is refused after the step.
    if is_small and bool(rois.isfinite().all()):
        grad_input.copy_(
            roi_align_gradient(grad_output, rois, spatial_scale, shape, sampling_ratio, aligned)
        )
        return
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *shape,
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
        'torchvision replaces (nms, roi_align); compile them with make install OPS=1'
    )


def __getattr__(name: str) -> Callable:
    if name.startswith('__'):
        raise AttributeError(name)

    def refuse(*args, **kwargs):
        raise NotImplementedError(_refusal(name))

    return refuse
