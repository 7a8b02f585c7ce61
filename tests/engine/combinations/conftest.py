"""A small dual-residual network in MMEngine's Runner, with hooks to be combined."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor, nn
from torch.utils.data import Dataset

from dr2net_mm.backbones import dual_residual_backbones
from tests.fixtures.tiny import TINY_DR2_SWIN

ITERATIONS = 3
"""Of an epoch."""

TINY_SWIN = dict(TINY_DR2_SWIN, out_indices=(1,))


class Regressor(BaseModel):
    """A linear layer on a tiny dual-residual backbone; gives a number an image."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MODELS.build(TINY_SWIN)
        self.head = nn.Linear(16, 1)

    def forward(
        self, inputs: Tensor, data_samples: Tensor, mode: str = 'tensor'
    ) -> Any:
        outputs = self.head(self.backbone(torch.stack(list(inputs)))[-1].mean((2, 3)))
        if mode == 'loss':
            targets = torch.tensor(data_samples).unsqueeze(1)
            return dict(loss=(outputs - targets).square().mean())
        return list(outputs)


class Pictures(Dataset):
    """Six random pictures, the same ones each time."""

    metainfo: Dict[str, Any] = {}

    def __len__(self) -> int:
        return 2 * ITERATIONS

    def __getitem__(self, index: int) -> Dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        picture = torch.randn(3, 16, 16, generator=generator)
        return dict(inputs=picture, data_samples=float(index))


class Scores(BaseMetric):
    """Gives ``acc`` the next of a list at each evaluation; repeats the last one."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.scores = list(scores)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        self.results.extend(data_samples)

    def compute_metrics(self, results: List[Any]) -> Dict[str, float]:
        return dict(acc=self.scores.pop(0) if self.scores[1:] else self.scores[0])


def coefficients_of(model: nn.Module) -> Tuple[float, float]:
    """(alpha, beta), which must be the same in all backbones of a model."""
    (values,) = {
        (backbone.alpha, backbone.beta)
        for backbone in dual_residual_backbones(model).values()
    }
    return values


class Watcher(Hook):
    """Notes coefficients and outputs; sees what all other hooks have done."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.trained: Dict[int, Tuple[float, float]] = {}
        self.validated: Dict[int, Tuple[float, float]] = {}
        self.outputs: Dict[int, List[Tensor]] = {}
        self.weights: List[Tensor] = []

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        self.trained[runner.iter] = coefficients_of(runner.model)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = 0
    ) -> None:
        head = getattr(runner.model, 'head', None)
        if head is not None:
            self.weights.append(head.weight.detach().clone())

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        self.validated[runner.iter] = coefficients_of(runner.model)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = 0
    ) -> None:
        self.outputs.setdefault(runner.iter, []).extend(outputs)


def _load(path: Path) -> Dict[str, Any]:
    return torch.load(str(path), map_location='cpu', weights_only=False)


def _coefficients_in(state_dict: Dict[str, Tensor], prefix: str = '') -> Tuple:
    names = [f'{prefix}backbone.dual_residual.{name}' for name in ('alpha', 'beta')]
    return tuple(float(state_dict[name]) for name in names)


def _outputs_of(path: Path) -> List[Tensor]:
    """Outputs for all pictures of a new network that loads a checkpoint."""
    model = Regressor()
    load_checkpoint(model, str(path), map_location='cpu', strict=True)
    model.eval()
    samples = [Pictures()[index] for index in range(len(Pictures()))]
    with torch.no_grad():
        # In batches as in the run: other batches may give other last bits.
        return [
            output
            for sample in samples
            for output in model([sample['inputs']], [sample['data_samples']])
        ]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Trains with hooks, and returns the runner, its watcher and its work dir."""
    count = iter(range(100))

    def run(
        *hooks: Dict[str, Any],
        epochs: int = 3,
        scores: Sequence[float] = (0.0,),
        checkpoint: Optional[Dict[str, Any]] = None,
        resume: Optional[Path] = None,
        work_dir: Optional[Path] = None,
        model: Optional[BaseModel] = None,
        **settings: Any,
    ) -> SimpleNamespace:
        work_dir = work_dir or tmp_path / f'run{next(count)}'
        torch.manual_seed(0)
        arguments = dict(
            model=model or Regressor(),
            work_dir=str(work_dir),
            train_dataloader=dict(
                dataset=Pictures(),
                batch_size=2,
                sampler=dict(type='DefaultSampler', shuffle=True),
            ),
            train_cfg=dict(type='ResumableEpochLoop', max_epochs=epochs),
            val_dataloader=dict(
                dataset=Pictures(),
                batch_size=1,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            val_cfg=dict(),
            val_evaluator=Evaluator(Scores(scores)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            default_hooks=dict(
                checkpoint={
                    'type': 'SafeCheckpointHook',
                    'interval': 1,
                    **(checkpoint or {}),
                },
                logger=dict(type='LoggerHook', interval=1),
            ),
            custom_hooks=list(hooks),
            randomness=dict(seed=0),
            load_from=resume and str(resume),
            resume=resume is not None,
            experiment_name=f'{work_dir}-{next(count)}',
        )
        runner = Runner(**dict(arguments, **settings))
        watcher = Watcher()
        runner.register_hook(watcher)
        runner.train()
        return SimpleNamespace(
            runner=runner,
            watcher=watcher,
            work_dir=work_dir,
            saved=lambda name: _load(work_dir / name),
            outputs_of=lambda name: _outputs_of(work_dir / name),
            checkpoints=lambda: sorted(path.name for path in work_dir.glob('*.pth')),
            log=lambda: ''.join(p.read_text() for p in work_dir.glob('*/*.log')),
        )

    return run


@pytest.fixture
def coefficients_in() -> Callable[..., Tuple[float, float]]:
    """(alpha, beta) in a state dict, below a prefix."""
    return _coefficients_in


@pytest.fixture
def make_regressor() -> Callable[[], Regressor]:
    return Regressor
