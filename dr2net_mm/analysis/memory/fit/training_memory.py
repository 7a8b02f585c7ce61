"""Memory of the training of a detector: weights, optimizer, activations and loss."""

import contextlib
import copy
import logging
import warnings
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from dr2net_mm.analysis.memory.detector_memory import (
    ValuesOnHost,
    deformable_attention_of_cuda,
)
from dr2net_mm.analysis.memory.given_regions import given_regions
from dr2net_mm.analysis.memory.loss_memory import (
    METHODS,
    LossSize,
    most_with_losses,
    recorded_losses,
)
from dr2net_mm.analysis.memory.step_memory import measure_step, step_meter
from dr2net_mm.analysis.memory.storage_meter import StorageMeter
from dr2net_mm.analysis.precision import PRECISIONS
from dr2net_mm.analysis.subjects.detectors import (
    AS_IT_IS,
    build_detector,
    detector_variant,
    enough_queries,
    samples_for,
)
from dr2net_mm.analysis.subjects.videos import has_video_head, video_outputs
from dr2net_mm.errors import UserError


class Setting(NamedTuple):
    """One way to train a detector.

    Attributes:
        batch: Images of a forward pass.
        accumulate: Forward passes of a step of the optimizer.
        backbone: 'conventional', 'checkpoint' (``with_cp``) or 'dr2'.
        rest: What is done about the memory of what is not the backbone.
        memory_budget: Bytes that a dual-residual backbone may store; None for none.
        precision: 'fp32', 'bf16' or 'fp16'.
    """

    batch: int
    accumulate: int
    backbone: str
    rest: str = AS_IT_IS
    memory_budget: Optional[int] = None
    precision: str = 'fp32'


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of a training.

    Attributes:
        weights: Parameters and buffers, and their running average if there is one.
        gradients: Gradients of all parameters.
        optimizer: State of the optimizer.
        activations: Most that forward pass, loss and backward pass take.
        total: Most at once.
        multiply_adds: Of an image, forward and backward.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    total: int
    multiply_adds: int


class Training:
    """The training of a config, whose memory is counted.

    Args:
        config: The config.
        detector: Arguments of its detector, see ``config_detector``.
        image_size: Height and width in pixels.
        boxes: Boxes of an image.
        cuda: Whether deformable attention and the optimizer take the memory that they
            take on CUDA, or that on the CPU.
    """

    def __init__(
        self,
        config: Config,
        detector: Dict[str, Any],
        image_size: Sequence[int],
        boxes: int,
        cuda: bool = True,
    ) -> None:
        self.config = config
        self.detector = detector
        self.image_size = image_size
        self.boxes = boxes
        self.cuda = cuda
        self._losses: Dict[Tuple[int, str], List[LossSize]] = {}

    def count(self, setting: Setting) -> TrainingMemory:
        """Count the memory of the training in one setting.

        Raises:
            UserError: If the detector cannot be counted.
        """
        # 0 stores nothing, whatever the config asks for.
        budget = setting.memory_budget or 0
        model = build_detector(
            detector_variant(self.detector, setting.backbone, memory_budget=budget),
            setting.rest,
        )
        model.to('meta')
        step, with_losses = self._step(model, setting)
        state, work_space = self._optimizer(model)
        average = step.parameter_bytes if self._averaged() else 0
        activations = max(step.peak_bytes, with_losses)
        with_gradients = step.total_bytes
        if setting.accumulate > 1:  # those of the passes before are there throughout
            with_gradients = step.parameter_bytes + step.gradient_bytes + activations
        total = max(with_gradients, step.parameter_bytes + activations)
        updating = step.parameter_bytes + step.gradient_bytes + work_space
        return TrainingMemory(
            weights=step.parameter_bytes + average,
            gradients=step.gradient_bytes,
            optimizer=state,
            activations=activations,
            total=max(total, updating) + state + average,
            multiply_adds=step.multiply_adds // setting.batch,
        )

    def _step(self, model: nn.Module, setting: Setting) -> Any:
        """Return the memory of one pass, and the most of it while losses are formed."""
        channels = self.detector['backbone'].get('in_channels', 3)
        images = torch.empty(setting.batch, channels, *self.image_size, device='meta')
        if has_video_head(model):  # whose losses take a few MB
            with self._on_meta():
                step = measure_step(
                    model,
                    images,
                    forward=lambda frames: video_outputs(model, frames),
                    amp=PRECISIONS[setting.precision],
                )
            return step, 0
        samples = samples_for(model, setting.batch, self.image_size, self.boxes)

        def forward(inputs: Tensor) -> Dict[str, Any]:
            with enough_queries(inputs):
                return model.loss(inputs, copy.deepcopy(samples))

        meter = step_meter(model, images)
        with self._on_meta(), recorded_losses(model, meter) as calls, ValuesOnHost():
            with given_regions(model, samples):
                step = measure_step(
                    model,
                    images,
                    forward=forward,
                    amp=PRECISIONS[setting.precision],
                    meter=meter,
                )
        if not calls:
            raise UserError(
                f'{type(model).__name__} forms its loss without '
                f'{" or ".join(METHODS)} of a head, which --fit looks into; use '
                '--detector'
            )
        # The same whatever is done to save memory elsewhere.
        key = (setting.batch, setting.precision)
        if key not in self._losses:
            with self._quiet():
                self._losses[key] = [call.measure() for call in calls]
        live = [meter.live_bytes(call.position) for call in calls]
        return step, most_with_losses(self._losses[key], live)

    @contextlib.contextmanager
    def _on_meta(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._quiet())
            if self.cuda:
                stack.enter_context(deformable_attention_of_cuda())
            yield

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        # mmdet leaves use_reentrant of checkpoint, and indexing of meshgrid, unsaid.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', UserWarning)
            yield

    def _averaged(self) -> bool:
        hooks = self.config.get('custom_hooks') or []
        return any(hook.get('type') == 'EMAHook' for hook in hooks)

    def _optimizer(self, model: nn.Module) -> Any:
        """Return bytes of the optimizer's state, and of what an update takes besides.

        Raises:
            UserError: If the optimizer cannot be built, or not step on meta tensors.
        """
        settings = copy.deepcopy(self.config.optim_wrapper)
        settings.pop('accumulative_counts', None)
        settings.pop('loss_scale', None)
        settings.pop('dtype', None)
        settings['type'] = 'OptimWrapper'
        logging.disable(logging.INFO)  # a line for every parameter
        try:
            optimizer = build_optim_wrapper(model, settings).optimizer
        finally:
            logging.disable(logging.NOTSET)
        trained = [p for group in optimizer.param_groups for p in group['params']]
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        resident = [*trained, *(p.grad for p in trained)]
        try:
            with StorageMeter(resident) as meter:
                optimizer.step()
        except (NotImplementedError, RuntimeError) as error:
            raise UserError(
                f'{type(optimizer).__name__} cannot step on meta tensors, on which '
                f'--fit counts its state: {error}'
            ) from error
        finally:
            model.zero_grad(set_to_none=True)
        state = meter.live_bytes()
        # On CUDA torch updates all parameters at once, with one temporary of each.
        work = sum(p.nbytes for p in trained) if self.cuda else 0
        return state, max(work, meter.peak_bytes() - state)
