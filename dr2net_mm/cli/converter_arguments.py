"""What the command lines of ``tools/model_converters/`` share."""

import argparse
from typing import Callable, Dict

from torch import Tensor

from dr2net_mm.checkpoints.checkpoint_file import (
    check_paths,
    read_weights,
    write_checkpoint,
)
from dr2net_mm.import_weights.conversion import FINAL_NORMS, Conversion
from dr2net_mm.import_weights.vit_layout import PATCH_WEIGHT
from dr2net_mm.version import __version__


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments for the checkpoint that is read and the one that is written."""
    parser.add_argument('source', help='checkpoint to convert (.pth, .safetensors)')
    parser.add_argument('target', help='checkpoint to write (.pth)')


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say what clips the converted backbone will see."""
    parser.add_argument(
        '--img-size',
        type=int,
        default=224,
        help='height and width of a frame in pixels; sets the number of position '
        'embeddings (default: %(default)s)',
    )
    parser.add_argument(
        '--num-frames',
        type=int,
        default=16,
        help='frames of a clip (default: %(default)s)',
    )
    parser.add_argument(
        '--final-norm',
        choices=FINAL_NORMS,
        help='the norm layer behind the last block. fc_norm: behind mean pooling, as '
        'a recognizer has it; norm: behind every token, for use_mean_pooling=False; '
        'fresh: fc_norm with weight 1 and bias 0. Default: as the checkpoint has it '
        'if it was mean-pooled, otherwise fresh',
    )
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help='names of the backbone alone, without "backbone." and without a '
        'classifier',
    )


def convert_file(
    program: str,
    source: str,
    target: str,
    convert: Callable[[Dict[str, Tensor]], Conversion],
    key: str,
) -> None:
    """Convert a file, and print what was done and how to use the result.

    Args:
        program: Name of the tool.
        source: Checkpoint to read.
        target: Checkpoint to write.
        convert: The conversion.
        key: What the weights stand under in the target.

    Raises:
        UserError: If the source cannot be read or converted.
    """
    check_paths(source, target)
    conversion = convert(read_weights(source))
    meta = dict(converted_by=f'dr2net_mm {__version__} {program}')
    write_checkpoint(target, conversion.weights, key, meta)
    for note in conversion.notes:
        print(f'  {note}')
    print(f'wrote {len(conversion.weights)} tensors to {target}')
    if conversion.backbone:
        print(usage(conversion, target))


def usage(conversion: Conversion, target: str) -> str:
    """The part of a config that loads converted weights."""
    arguments = dict(conversion.backbone)
    whole = PATCH_WEIGHT not in conversion.weights
    prefix = ", prefix='backbone.'" if whole else ''
    init = f"dict(type='Pretrained', checkpoint={target!r}{prefix})"
    lines = [f'    {name}={value!r},' for name, value in arguments.items()]
    return '\n'.join(
        [
            'they fit (num_heads is not in weights: 6 in ViT-S, 12 in ViT-B, 16 in '
            'ViT-L)',
            'backbone=dict(',
            *lines,
            f'    init_cfg={init},',
            ')',
        ]
    )
