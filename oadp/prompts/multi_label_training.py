"""Train the multi-label prompts: setup, steps, validation, checkpoints.

Only three small tensors are learned, and most of the computation is encoding the text of every class. So
the processes share the classes instead of the images: each process computes all images of a batch and a
part of the classes, and the gradients are summed. The result is that of one process with the same batch.
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
from oadp.utils.runtime import ProcessInfo

VALIDATION_BATCH = 4096  # images
_FREE_SETTINGS = (
    'epochs',
    'log_interval',
    'checkpoint_interval',
)  # may differ when a training resumes


@torch.no_grad()
def balance(prompts: MultiLabelPrompts, images: ImageLabels, num_bases: int) -> None:
    """Initialize the bias such that the logits of positives and negatives are balanced around 0.

    The threshold is the midpoint of the mean cosine similarities of positive and negative pairs, over all
    images and base classes. This is needed for a CLIP whose similarities differ from OpenAI's: with a bias
    that is far off, all logits have the same sign and the asymmetric loss has almost no gradient.

    Args:
        prompts: changed in place.
        images: training images.
        num_bases: number of base classes, which come first.

    Raises:
        ValueError: no positive or no negative pair of image and base class.
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
            'bias=None: expected training images with and without annotations of base classes, found '
            f'{int(counts[0])} positive and {int(counts[1])} negative pairs of image and class; '
            'set a bias in the config'
        )
    prompts.bias.fill_(float(prompts.scaler) * float((sums / counts).mean()))


class MultiLabelTraining:
    """Train prompts, starting from the last checkpoint in the folder if there is one.

    Args:
        prompts: prompts of all classes, base classes first; trained in place.
        categories: the category set. The loss uses base classes only.
        train: training images; labels of novel classes are ignored.
        val: images for the validation mAP, or None. The training does not depend on them.
        settings: values of the config: ``optimizer`` (``lr``, ``weight_decay``), ``loss``
            (``weight`` and the arguments of ``asymmetric_loss``), ``batch_size``, ``epochs``,
            ``seed``, ``log_interval`` and ``checkpoint_interval`` (iterations).
        world: this process and the number of processes.
        work_dir: folder of the checkpoint, which contains the history.

    Raises:
        ValueError: more processes than base classes, or a checkpoint with other settings.

    Attributes:
        history: one dict per validation: ``epoch``, ``loss`` (except before training), and
            ``base_mAP`` and ``novel_mAP`` in percent if an image has a label of such a class.
    """

    def __init__(
        self,
        prompts: MultiLabelPrompts,
        categories: Categories,
        train: ImageLabels,
        val: ImageLabels | None,
        settings: Mapping[str, Any],
        world: ProcessInfo,
        work_dir: str | os.PathLike,
    ) -> None:
        if world.size > categories.num_bases:
            raise ValueError(
                f'expected at most one process per base class, found {world.size} processes for '
                f'{categories.num_bases} base classes; use fewer processes'
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
        self._iteration = 0  # finished iterations of this epoch
        self._loss = torch.zeros((), device=world.device)  # sum over this epoch
        self.history: list[dict[str, float]] = []
        self._resume()

    @property
    def checkpoint(self) -> pathlib.Path:
        """Path of the checkpoint."""
        return self._work_dir / 'latest.pth'

    @property
    def _iterations(self) -> int:
        return -(-len(self._train) // self._settings['batch_size'])

    def run(self) -> None:
        """Train the remaining epochs; validate before the first epoch and after each epoch."""
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
        """Run an iteration and return this process's part of the loss."""
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
        """Return the sum of the losses of this epoch over all processes."""
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
        """Return the settings that must equal those of a checkpoint to resume from it."""
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
                f'{self.checkpoint}: expected a checkpoint with the same settings, found others '
                f'({", ".join(changed)} differ); delete it, or copy the config to another name, which is '
                'also the name of the folder'
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
            '%s: resuming at epoch %d, iteration %d',
            self.checkpoint,
            self._epoch + 1,
            self._iteration,
        )
