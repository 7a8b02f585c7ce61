"""Memory of a training step of MTTR as a whole, counted on meta tensors.

Backbone, transformer, mask features and heads run as in training, in all decoder
layers. Meta tensors have no values: the first queries stand in for those that the
instances are matched with, and the sum of their masks in full size for the losses. The
text encoder is frozen; its parameters count, its few tokens do not.
"""

import argparse
import copy
import warnings
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from dr2net_mm.analysis.precision import AMP_DTYPES
from dr2net_mm.analysis.subjects.backbones import config_backbone
from dr2net_mm.analysis.subjects.detectors import detector_variant
from dr2net_mm.cli.command import positive_int, run_command, tool_parser
from dr2net_mm.cli.output import check_output, write_json
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError

from .command import MODES, memory_table
from .step_memory import measure_step

#: A sentence of A2D-Sentences has 7 words on average.
TOKENS = 12
#: Instances of an annotated frame.
INSTANCES = 3


def config_model(path: str) -> Dict[str, Any]:
    """Read `model` of a config of MTTR, its weights untouched by checkpoints.

    Raises:
        UserError: if the file cannot be read or is of another model.
    """
    model = load_config(path).model.to_dict()
    if model.get('type') != 'MTTR':
        raise UserError(
            f'config {path!r} has the model {model.get("type")!r}; the tool takes MTTR '
            '(configs/rvos), and tools/analysis/memory.py others'
        )
    text = model['text_encoder']
    if text.pop('pretrained', None):
        # As large as RoBERTa-base, which the published configs name.
        text['config'] = dict(
            vocab_size=50265, max_position_embeddings=514, type_vocab_size=1
        )
    text.pop('tokenizer', None)
    return dict(model, backbone=config_backbone(path))


def referring_memory(
    model: Dict[str, Any],
    window: int,
    image_size: Sequence[int],
    batch: int = 1,
    amp: Optional[str] = None,
    modes: Sequence[str] = MODES,
    **dual_residual: Any,
) -> List[Dict[str, Any]]:
    """Count one training step of MTTR in several modes of its backbone.

    Args:
        model: Arguments of the model, as of :func:`config_model`.
        window: Frames of a window; the one in the middle is annotated, and all of them
            where the model takes whole videos.
        image_size: Height and width in pixels.
        batch: Windows.
        amp: 'bf16' or 'fp16' for autocast by CUDA's rules, None for fp32.
        modes: Which of :data:`MODES`, in the order of the result.
        dual_residual: Options of mode 'dr2' in place of the backbone's.

    Returns:
        One dictionary a mode: `mode`, and the fields of `StepMemory`.
    """
    from mmengine.registry import MODELS

    whole = model.get('whole_video', False)
    frames = list(range(window)) if whole else [window // 2]
    rows = []
    for mode in modes:
        variant = detector_variant(copy.deepcopy(model), mode, **dual_residual)
        built = MODELS.build(variant).train().to('meta')
        samples = [_sample(image_size, frames) for _ in range(batch)]
        video = torch.empty(batch, window, 3, *image_size, device='meta')
        _leave_out_text(built)

        def forward(inputs: Tensor, built: Any = built, samples: Any = samples) -> Any:
            return _training_outputs(built, inputs, samples, frames)

        with warnings.catch_warnings():
            # mmaction leaves use_reentrant of checkpoint, and indexing, unsaid.
            warnings.filterwarnings('ignore', message='.*(use_reentrant|meshgrid)')
            memory = measure_step(
                built, video, forward=forward, amp=AMP_DTYPES[amp] if amp else None
            )
        rows.append(dict(mode=mode, **asdict(memory)))
    return rows


def _sample(image_size: Sequence[int], frames: List[int]) -> BaseDataElement:
    shape = tuple(image_size)
    return BaseDataElement(
        metainfo=dict(text='', frames=frames, img_shape=shape, ori_shape=shape)
    )


def _leave_out_text(model: Any) -> None:
    """Let the text encoder return tokens that nothing was computed for."""
    from dr2net_mm.tasks.referring_segmentation.models.text_encoder import EncodedText

    channels = model.text_encoder.embed_dims
    model.text_encoder.forward = lambda sentences: EncodedText(
        torch.empty(len(sentences), TOKENS, channels, device='meta'),
        torch.zeros(len(sentences), TOKENS, dtype=torch.bool, device='meta'),
    )


def _training_outputs(
    model: Any, inputs: Tensor, samples: List[BaseDataElement], frames: List[int]
) -> List[Tuple[Tensor, ...]]:
    """Return scores and full-size masks of matched queries, for every layer."""
    from dr2net_mm.tasks.referring_segmentation.models.criterion import resize

    outputs = model._outputs(inputs, samples, frames)
    made: List[Tuple[Tensor, ...]] = []
    for layer in range(len(outputs.scores)):
        scores, masks = outputs.predictions(layer)
        matched = masks[:, :, :INSTANCES].float().flatten(0, 1)
        probabilities = resize(matched, inputs.shape[-2:]).sigmoid()
        made.append((scores, probabilities))
    return made


def _command(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    model = config_model(options.config)
    given = dict(arithmetic=options.arithmetic)
    rows = referring_memory(
        model,
        options.window,
        options.size,
        options.batch,
        options.amp,
        **{key: value for key, value in given.items() if value},
    )
    size = 'x'.join(map(str, (options.window, *options.size)))
    precision = f'autocast {options.amp}' if options.amp else 'fp32'
    print(f'{options.config}, {size}, batch {options.batch}, {precision}')
    print(memory_table(rows))
    if options.json:
        write_json(options.json, rows)
        print(f'written: {options.json}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/rvos_memory.py`."""
    parser = tool_parser(
        'rvos_memory.py',
        'Count the memory of a training step of MTTR as a whole, without a GPU:\n'
        f'{", ".join(MODES)} (checkpoint is with_cp=True of the backbone).',
        'kept:  after the forward: what the graph keeps, and the outputs.\n'
        'peak:  most at once; parameters, their gradients and the input not counted.\n'
        'total: most at once, with parameters and gradients.\n\n'
        'Example:\n'
        '  python tools/analysis/rvos_memory.py \\\n'
        '      configs/rvos/mttr_dr2-swin-t_w8_3xb2-amp-70e_a2d-rgb.py --window 10',
    )
    parser.add_argument('config', help='config of MTTR')
    parser.add_argument(
        '--window', type=positive_int, default=8, help='frames (default: 8)'
    )
    parser.add_argument(
        '--size',
        type=positive_int,
        nargs=2,
        default=(320, 576),
        metavar=('HEIGHT', 'WIDTH'),
        help='of a frame in pixels (default: 320 576)',
    )
    parser.add_argument(
        '--batch', type=positive_int, default=1, help='windows (default: 1)'
    )
    parser.add_argument(
        '--amp',
        choices=tuple(AMP_DTYPES),
        help="autocast by CUDA's rules (default: none, fp32)",
    )
    parser.add_argument(
        '--arithmetic',
        choices=('exact', 'float'),
        help="arithmetic of dr2 (default: the config's, or exact)",
    )
    parser.add_argument('--json', help='write the numbers to this file')
    run_command(parser, _command, arguments)
