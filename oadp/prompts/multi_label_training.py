"""Training of the multi-label prompts: setup, steps, validation, checkpoints.

Three small tensors are learned, and nearly all of the work is the text encoder's on every class. So
processes share the classes, not the images: each takes all images of a batch and a part of the
classes, and the gradients are summed. The result is that of one process with the same batch.
"""

__all__ = ['MultiLabelTraining', 'balance']

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from oadp import compat
from oadp.categories import Categories
from oadp.prompts.image_labels import ImageLabels, macro_map
from oadp.prompts.multi_label import MultiLabelPrompts
from oadp.utils import runtime
from oadp.utils.files import atomic_write
from oadp.utils.losses import asymmetric_loss
from oadp.utils.progress import Progress
from oadp.utils.runtime import World

VALIDATION_BATCH = 4096  # images
_FREE_SETTINGS = ('epochs', 'log_interval', 'checkpoint_interval')  # may change on the way


@torch.no_grad()
def balance(prompts: MultiLabelPrompts, images: ImageLabels, num_bases: int) -> None:
    """Set the bias so that logits start at 0 between the classes that images show and those they do not.

    Halfway between the mean cosines of the two, over all images and base classes. For a CLIP whose
    cosines are not OpenAI's: a bias that is far off makes all answers yes, or no, and the asymmetric
    loss nearly blind.

    Args:
        prompts: changed in place.
        images: what they are going to be trained on.
        num_bases: how many of the first classes count.

    Raises:
        ValueError: no image shows a base class, or all of them show all.
    """
    embeddings = prompts.embed(slice(num_bases))
    sums = torch.zeros(2, dtype=torch.float64)
    counts = torch.zeros(2, dtype=torch.float64)
    for part in torch.arange(len(images), device=embeddings.device).split(VALIDATION_BATCH):
        features, labels = images.take(part)
        cosines, shown = features @ embeddings.T, labels[:, :num_bases]
        for i, chosen in enumerate((shown, ~shown)):
            sums[i] += cosines[chosen].double().sum().cpu()
            counts[i] += chosen.sum().cpu()
    if not counts.all():
        raise ValueError(
            'bias=None needs training images that show a base class, and some that do not show '
            f'each of them; found {int(counts[0])} and {int(counts[1])} pairs of image and class'
        )
    prompts.bias.fill_(float(prompts.scaler) * float((sums / counts).mean()))


class MultiLabelTraining:
    """Trains prompts, from the last checkpoint in the folder if there is one.

    Args:
        prompts: for all classes, bases first; trained in place.
        categories: which classes are bases. Only these enter the loss.
        train: training images; labels of novel classes are not looked at.
        val: images to measure mAP on, or None. Nothing depends on it.
        settings: plain values of the config: ``optimizer`` (``lr``, ``weight_decay``), ``loss``
            (``weight`` and the arguments of ``asymmetric_loss``), ``batch_size``, ``epochs``,
            ``seed``, ``log_interval`` and ``checkpoint_interval`` (iterations).
        world: this process among the others.
        work_dir: where the checkpoint and the history are kept.

    Raises:
        ValueError: more processes than base classes, or the checkpoint was made with other settings.

    Attributes:
        history: a dict for each validation: ``epoch``, ``loss`` (except before training), and
            ``base_mAP`` and ``novel_mAP`` in percent, where an image shows such a class.
    """

    def __init__(
        self,
        prompts: MultiLabelPrompts,
        categories: Categories,
        train: ImageLabels,
        val: ImageLabels | None,
        settings: Mapping[str, Any],
        world: World,
        work_dir: str | os.PathLike,
    ) -> None:
        if world.size > categories.num_bases:
            raise ValueError(
                f'{world.size} processes for {categories.num_bases} base classes: each needs one; '
                'use fewer processes'
            )
        self._prompts = prompts.to(world.device)
        self._categories = categories
        self._train = train.to(world.device)
        self._val = None if val is None else val.to(world.device)
        self._settings = settings
        self._world = world
        self._work_dir = pathlib.Path(work_dir)
        self._parameters = [prompts.context, prompts.scaler, prompts.bias]
        self._optimizer = torch.optim.Adam(self._parameters, **settings['optimizer'])
        self._share = slice(world.rank, categories.num_bases, world.size)
        self._epoch = 0
        self._iteration = 0  # done in this epoch
        self._loss = torch.zeros((), device=world.device)  # summed over this epoch
        self.history: list[dict[str, float]] = []
        self._resume()

    @property
    def checkpoint(self) -> pathlib.Path:
        return self._work_dir / 'latest.pth'

    @property
    def _iterations(self) -> int:
        return -(-len(self._train) // self._settings['batch_size'])

    def run(self) -> None:
        """Train what is left of the epochs, and validate before the first and after each."""
        if not self.history:
            self._validate()
        left = (self._settings['epochs'] - self._epoch) * self._iterations - self._iteration
        with Progress(left, 'train', 'iterations', enabled=self._world.is_main) as progress:
            while self._epoch < self._settings['epochs']:
                self._run_epoch(progress)
                loss = self._total_loss() / self._iterations
                self._epoch, self._iteration = self._epoch + 1, 0
                self._loss.zero_()
                self._validate(loss=loss)
                self._save()

    def _run_epoch(self, progress: Progress) -> None:
        generator = torch.Generator().manual_seed(self._settings['seed'] + self._epoch)
        order = torch.randperm(len(self._train), generator=generator).to(self._world.device)
        batches = order.split(self._settings['batch_size'])
        for indices in batches[self._iteration :]:
            self._loss += self._step(indices)
            self._iteration += 1
            if self._iteration % self._settings['log_interval'] == 0:
                progress.update(loss=self._total_loss() / self._iteration)
            else:
                progress.update()
            if self._iteration % self._settings['checkpoint_interval'] == 0:
                self._save()

    def _step(self, indices: Tensor) -> Tensor:
        """An iteration; returns this process's part of the loss."""
        images, labels = self._train.take(indices)
        logits = self._prompts(images, self._share)
        options = dict(self._settings['loss'])
        weight = options.pop('weight')
        losses = asymmetric_loss(
            logits.sigmoid(), labels[:, self._share], reduction='none', **options
        )
        loss = weight * losses.sum() / (len(indices) * self._categories.num_bases)
        self._optimizer.zero_grad()
        loss.backward()
        if self._world.is_distributed:
            for parameter in self._parameters:
                dist.all_reduce(parameter.grad)
        self._optimizer.step()
        return loss.detach()

    def _total_loss(self) -> float:
        """Sum of the losses of the iterations of this epoch."""
        total = self._loss.clone()
        if self._world.is_distributed:
            dist.all_reduce(total)
        return float(total)

    @torch.no_grad()
    def _validate(self, **figures: float) -> None:
        if self._val is not None and self._world.is_main:
            embeddings = self._prompts.embed()
            images = torch.arange(len(self._val), device=self._world.device).split(VALIDATION_BATCH)
            scores = torch.cat([self._val.take(part)[0] @ embeddings.T for part in images]).cpu()
            labels, bases = self._val.labels.cpu(), self._categories.num_bases
            measured = {
                'base_mAP': macro_map(scores[:, :bases], labels[:, :bases]),
                'novel_mAP': macro_map(scores[:, bases:], labels[:, bases:]),
            }
            figures |= {k: v for k, v in measured.items() if not math.isnan(v)}
        self.history.append({'epoch': self._epoch, **figures})
        runtime.get_logger().info(
            'epoch %d of %d%s',
            self._epoch,
            self._settings['epochs'],
            ''.join(f', {k} {v:.2f}' for k, v in figures.items()),
        )

    def _fingerprint(self) -> dict[str, Any]:
        """What a checkpoint must agree in, for its training to be continued."""
        own = {'names': list(self._prompts.names), 'images': len(self._train)}
        return {k: v for k, v in self._settings.items() if k not in _FREE_SETTINGS} | own

    def _save(self) -> None:
        loss = self._total_loss()
        if not self._world.is_main:
            return
        content = {
            'prompts': {k: p.cpu() for k, p in self._prompts.learned_state().items()},
            'optimizer': self._optimizer.state_dict(),
            'progress': {'epoch': self._epoch, 'iteration': self._iteration, 'loss': loss},
            'history': self.history,
            'settings': json.dumps(self._fingerprint()),
        }
        with atomic_write(self.checkpoint) as temporary:
            torch.save(content, temporary)

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        content = compat.load_tensors(self.checkpoint)
        before, now = json.loads(content['settings']), json.loads(json.dumps(self._fingerprint()))
        changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        if changed:
            raise ValueError(
                f'{self.checkpoint} is of a training with other settings ({", ".join(changed)} differ); '
                'delete it, or copy the config under another name, which is that of the folder'
            )
        with torch.no_grad():
            for name, parameter in self._prompts.learned_state().items():
                parameter.copy_(content['prompts'][name])
        self._optimizer.load_state_dict(content['optimizer'])
        progress = content['progress']
        self._epoch, self._iteration = progress['epoch'], progress['iteration']
        if self._world.is_main:
            self._loss.fill_(progress['loss'])
        self.history = content['history']
        runtime.get_logger().info(
            '%s: continuing at epoch %d, iteration %d',
            self.checkpoint,
            self._epoch + 1,
            self._iteration,
        )
