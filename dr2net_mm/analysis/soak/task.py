"""Task of a soak: a backbone or a detector on random inputs of varying size."""

import contextlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    packaged_config,
)
from dr2net_mm.analysis.subjects.detectors import (
    build_detector,
    config_detector,
    enough_queries,
    random_samples,
)
from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError

#: Heights and widths are multiples of it: the largest patch of a backbone.
SIZE_STEP = 16

SMALLEST = 2 * SIZE_STEP


#: Small, so that hundreds of steps on random targets do not diverge.
LEARNING_RATE = 1e-5


class SoakTask(NamedTuple):
    """A model with its optimizer and its data; an epoch is a batch of every size."""

    model: BaseModel
    optimizer: OptimWrapper
    batches: DataLoader
    sizes: List[Tuple[int, ...]]


class BackboneTask(BaseModel):
    """A backbone that is trained to give small outputs."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self,
        inputs: List[Tensor],
        data_samples: Optional[List[Any]] = None,
        mode: str = 'tensor',
    ) -> Any:
        """Return the backbone's outputs, or for ``mode='loss'`` their mean square."""
        outputs = output_list(self.backbone(torch.stack(list(inputs))))
        if mode != 'loss':
            return outputs
        return dict(loss=sum(output.square().mean() for output in outputs))


class RandomInputs(Dataset):
    """Random images or videos, the same at each look.

    Args:
        sizes: Their sizes: (height, width), or (frames, height, width).
        batch: Samples of a size, one after the other.
        classes: Classes of the random boxes that they get; None for no boxes.
    """

    def __init__(
        self, sizes: Sequence[Tuple[int, ...]], batch: int, classes: Optional[int]
    ) -> None:
        self.sizes = list(sizes)
        self.batch = batch
        self.classes = classes

    def __len__(self) -> int:
        return len(self.sizes) * self.batch

    def __getitem__(self, index: int) -> Dict[str, Any]:
        size = self.sizes[index // self.batch]
        generator = torch.Generator().manual_seed(index)
        if self.classes is None:
            return dict(inputs=torch.randn(3, *size, generator=generator))
        pixels = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
        (sample,) = random_samples(1, size, self.classes)
        return dict(inputs=pixels, data_samples=sample)


class HostAmpOptimWrapper(OptimWrapper):
    """Autocast to bfloat16 on the CPU, which MMEngine's wrapper leaves out."""

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Open the context of the forward pass."""
        with super().optim_context(model):
            with torch.autocast('cpu', dtype=torch.bfloat16):
                yield


def varying_sizes(largest: Sequence[int], count: int) -> List[Tuple[int, ...]]:
    """Return different sizes from half to all of the largest one, largest first.

    Args:
        largest: (height, width), or frames in front, which stay.
        count: How many.

    Raises:
        UserError: If there are not so many.
    """
    *frames, height, width = largest
    heights, widths = _steps(height), _steps(width)
    if not heights or not widths or count > len(heights) * len(widths):
        raise UserError(
            f'--sizes {count}: between half and all of {height}x{width} there are '
            f'{len(heights) * len(widths)} sizes, in steps of {SIZE_STEP} pixels from '
            f'{SMALLEST} on; give a larger --img-size or fewer --sizes'
        )
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(heights) * len(widths), generator=generator).tolist()
    chosen = [(heights[-1], widths[-1])]
    for place in order:
        size = (heights[place // len(widths)], widths[place % len(widths)])
        if len(chosen) < count and size not in chosen:
            chosen.append(size)
    return [(*frames, *size) for size in chosen]


def _steps(largest: int) -> List[int]:
    steps = range(SMALLEST, largest + 1, SIZE_STEP)
    return [step for step in steps if 2 * step >= largest]


def make_backbone_task(backbone: Dict[str, Any], **settings: Any) -> SoakTask:
    """Make the task of training a backbone; see :func:`_make_task`."""
    return _make_task(BackboneTask(build_backbone(backbone)), None, **settings)


def make_detector_task(
    path: str, backbone: Dict[str, Any], **settings: Any
) -> SoakTask:
    """Make the task of training the detector of a config with its own loss.

    Args:
        path: A config file, or ``mmdet::…`` for one of mmdet's own.
        backbone: Arguments of the backbone that it gets.
        settings: See :func:`_make_task`.

    Raises:
        UserError: If the detector cannot be built.
    """
    config = packaged_config(path) if '::' in path else load_config(path)
    preprocessor = config.model.get('data_preprocessor') or config.get(
        'data_preprocessor'
    )
    detector = dict(
        config_detector(path),
        backbone=backbone,
        data_preprocessor=preprocessor and preprocessor.to_dict(),
    )
    model = build_detector(detector)
    return _make_task(model, model.bbox_head.num_classes, **settings)


def _make_task(
    model: BaseModel,
    classes: Optional[int],
    sizes: Sequence[Tuple[int, ...]],
    batch: int,
    device: str = 'cpu',
    amp: Optional[str] = None,
    workers: int = 0,
) -> SoakTask:
    """Make the optimizer and the data for a model.

    Args:
        model: In training mode.
        classes: See :class:`RandomInputs`.
        sizes: See :class:`RandomInputs`.
        batch: Images or videos.
        device: 'cpu' or 'cuda'.
        amp: 'bf16' or 'fp16' for mixed precision, None for none.
        workers: Processes that load data, started anew for every epoch.
    """
    model.to(device)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE
    )
    if amp is None:
        wrapper = OptimWrapper(optimizer)
    elif device == 'cpu':
        wrapper = HostAmpOptimWrapper(optimizer)
    else:
        wrapper = AmpOptimWrapper(
            dtype='bfloat16' if amp == 'bf16' else 'float16', optimizer=optimizer
        )
    batches = DataLoader(
        RandomInputs(sizes, batch, classes),
        batch_size=batch,
        num_workers=workers,
        collate_fn=pseudo_collate,
    )
    return SoakTask(model, wrapper, batches, list(sizes))


def train_step(task: SoakTask, data: Dict[str, Any]) -> float:
    """Run one iteration as MMEngine's loops do it; return the loss."""
    # Only DETR-like detectors can find images too small.
    with enough_queries(data['inputs'][0]):
        losses = task.model.train_step(data, task.optimizer)
    return losses['loss'].item()
