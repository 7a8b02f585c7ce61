"""The ONNX file of a trained backbone or recognizer."""

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.backbones import DualResidualBackbone, dual_residual_backbones
from dr2net_mm.checkpoints.checkpoint_file import check_paths, read_checkpoint
from dr2net_mm.checkpoints.coefficients import coefficients_of
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError

from .networks import filled, weights_below
from .onnx_export import OPSET, TOLERANCE, Exported, check_packages, export_onnx

#: What can be exported.
PARTS = ('backbone', 'recognizer')

_BACKBONE = 'backbone.'


class ClipLogits(nn.Module):
    """Backbone, neck and head of a recognizer, for clips [N, 3, T, H, W].

    The logits of each clip come out; averaging over the clips of a video, and softmax,
    are left to what comes after it.

    Args:
        recognizer: mmaction's ``Recognizer3D``.
    """

    def __init__(self, recognizer: nn.Module) -> None:
        super().__init__()
        self.recognizer = recognizer

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits [N, classes]."""
        features = self.recognizer.backbone(x)
        if self.recognizer.with_neck:
            features, _ = self.recognizer.neck(features)
        return self.recognizer.cls_head(features)


def export_onnx_file(
    config: str,
    source: str,
    target: str,
    shape: Optional[Sequence[int]] = None,
    part: Optional[str] = None,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    force: bool = False,
) -> List[str]:
    """Write the graph of a run's network.

    Args:
        config: Config file of the run.
        source: Its checkpoint.
        target: ONNX file to write.
        shape: Height and width of images, or frames, height and width of videos; a
            ViT's own by default.
        part: One of ``PARTS``; by default the recognizer if the model is one.
        opset: Version of ONNX's operators.
        tolerance: Most that outputs may differ by, as a share of the largest one.
        force: Whether to replace a file.

    Returns:
        What was done, a sentence each.

    Raises:
        UserError: If a file cannot be used or replaced, the model has no dual-residual
            backbone, or the graph gives other outputs.
    """
    check_packages()
    check_paths(source, target)
    if os.path.exists(target) and not force:
        raise UserError(f'{target!r} exists; replace it with --force, or name another')
    cfg = load_config(config)
    if cfg.get('model') is None or cfg.model.get('backbone') is None:
        raise UserError(
            f'config {config!r} has no model with a backbone; give the config of the '
            'run'
        )
    weights = read_checkpoint(source)['state_dict']
    recognizes = cfg.model.get('cls_head') is not None
    part = part or ('recognizer' if recognizes else 'backbone')
    if part == 'recognizer' and not recognizes:
        raise UserError(
            f'model.type={cfg.model.type!r} is no recognizer: it has no cls_head; '
            'export its backbone: --part backbone'
        )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        network, backbone = _build(cfg, weights, part)
        example = _example(backbone, shape)
        name = 'logits' if part == 'recognizer' else None
        exported = export_onnx(network, example, opset, tolerance, name)
    with atomic_open(target) as file:
        file.write(exported.content)
    given = bool(coefficients_of(weights))
    return [
        f'{part}: alpha = {backbone.alpha}, beta = {backbone.beta}, '
        + ('of the checkpoint' if given else 'of the config; the checkpoint has none'),
        *_described(cfg, example, exported),
        f'wrote {len(exported.content) / 2**20:.1f} MiB to {target}',
    ]


def _build(
    cfg: Config, weights: Mapping[str, Tensor], part: str
) -> Tuple[nn.Module, DualResidualBackbone]:
    """Build the network to export, and return it with its backbone.

    Raises:
        UserError: If the backbone is of another kind, or the weights do not fit.
    """
    if part == 'recognizer':
        recognizer = filled(cfg.model, weights, 'model')
        network: nn.Module = ClipLogits(recognizer)
        backbone = recognizer.backbone
    else:
        weights = weights_below(weights, _BACKBONE) or weights
        network = backbone = filled(cfg.model.backbone, weights, 'model.backbone')
    if backbone not in dual_residual_backbones(network).values():
        raise UserError(
            f'model.backbone.type={cfg.model.backbone.type!r} is no dual-residual '
            'backbone; networks of mmdet and mmaction are exported with MMDeploy'
        )
    return network, backbone


def _example(backbone: DualResidualBackbone, shape: Optional[Sequence[int]]) -> Tensor:
    """Make an input of the wanted size.

    Raises:
        UserError: If the size is needed and not given, or has another number of axes.
    """
    example = backbone.example_input()
    axes = ('height', 'width') if example.dim() == 4 else ('frames', 'height', 'width')
    if shape is None and backbone.has_own_size:
        return example
    if shape is None or len(shape) != len(axes) or min(shape) < 1:
        raise UserError(
            f'{type(backbone).__name__} needs --shape {" ".join(axes).upper()}, each 1 '
            f'or more, got {list(shape or [])}: the size that the graph is for'
        )
    generator = torch.Generator().manual_seed(0)
    return torch.randn((1, example.shape[1], *shape), generator=generator)


def _described(cfg: Config, example: Tensor, exported: Exported) -> List[str]:
    """Describe inputs, outputs and how near they are."""
    preprocessor: Dict[str, Any] = cfg.model.get('data_preprocessor') or {}
    sizes = ', '.join(str(length) for length in example.shape[1:])
    line = f'input: float32 [batch, {sizes}]'
    if preprocessor.get('mean') is not None:
        line += (
            f', normalized beforehand: (pixel - mean) / std with '
            f'mean={list(preprocessor["mean"])}, std={list(preprocessor["std"])}'
        )
    outputs = [
        f'{name}: float32 [batch, {", ".join(str(length) for length in shape[1:])}]'
        for name, shape in exported.outputs.items()
    ]
    return [
        line,
        *outputs,
        f'largest difference from torch: {exported.from_network:.1e} of the largest '
        f'output (from float arithmetic, as in the graph: {exported.from_float:.1e})',
    ]
