"""Shared parts of the command lines of ``tools/model_converters/``."""

import argparse
from typing import Callable, Dict, Iterable

from torch import Tensor

from dr2net_mm.checkpoints.checkpoint_file import (
    check_paths,
    read_weights,
    write_checkpoint,
)
from dr2net_mm.import_weights.conversion import FINAL_NORMS, Conversion
from dr2net_mm.import_weights.vit_layout import PATCH_WEIGHT
from dr2net_mm.version import __version__


def add_run_arguments(parser: argparse.ArgumentParser, target: str) -> None:
    """Add the arguments of a tool that exports the network of a training run.

    Args:
        parser: Parser of the tool.
        target: Help of the file to write.
    """
    parser.add_argument('config', help='config of the run')
    parser.add_argument('checkpoint', help='its checkpoint, or a published one')
    parser.add_argument('target', help=target)


def add_force_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets the tool replace a file."""
    parser.add_argument(
        '--force', action='store_true', help='replace the file if it exists'
    )


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the checkpoint to read and the one to write."""
    parser.add_argument('source', help='checkpoint to convert (.pth, .safetensors)')
    parser.add_argument('target', help='checkpoint to write (.pth)')


def add_direction_argument(
    parser: argparse._ActionsContainer, original: str, coefficients: str
) -> None:
    """Add the option for the other direction, to the names of the original.

    Args:
        parser: Parser of the tool, or a group of its options.
        original: Whose names are written.
        coefficients: (alpha, beta) that a dual-residual network must be at.
    """
    parser.add_argument(
        '--to-original',
        action='store_true',
        help=f'the other direction: names of {original}. A dual-residual network must '
        f'be at (alpha, beta) = {coefficients}',
    )


def add_backbone_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves everything but the backbone out."""
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help='names of the backbone alone, without "backbone." and without a '
        'classifier',
    )


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what clips the converted backbone will see."""
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
    add_backbone_argument(parser)


def print_notes(notes: Iterable[str]) -> None:
    """Print what a tool did, one note a line."""
    for note in notes:
        print(f'  {note}')


def convert_file(
    program: str,
    files: argparse.Namespace,
    convert: Callable[[Dict[str, Tensor]], Conversion],
    key: str = 'state_dict',
) -> None:
    """Convert a file, and print what was done and how to use the result.

    Args:
        program: Name of the tool.
        files: Arguments of :func:`add_file_arguments`.
        convert: The conversion.
        key: What the weights stand under in the target.

    Raises:
        UserError: If the source cannot be read or converted.
    """
    target = files.target
    check_paths(files.source, target)
    conversion = convert(read_weights(files.source))
    meta = dict(converted_by=f'dr2net_mm {__version__} {program}')
    write_checkpoint(target, conversion.weights, key, meta)
    print_notes(conversion.notes)
    print(f'wrote {len(conversion.weights)} tensors to {target}')
    if conversion.backbone:
        print(usage(conversion, target))


def usage(conversion: Conversion, target: str) -> str:
    """Return the part of a config that loads converted weights."""
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
