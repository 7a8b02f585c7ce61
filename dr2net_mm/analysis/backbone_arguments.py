"""Arguments by which the commands of this package choose a backbone and its input."""

import argparse
from typing import Any, Dict, Optional, Sequence, Tuple

from dr2net_mm.analysis.subjects.backbones import (
    BACKBONES,
    PUBLISHED_BACKBONES,
    config_backbone,
    input_frames,
    named_backbone,
    with_frames,
)
from dr2net_mm.analysis.subjects.timm_models import fitted, is_timm, own_size
from dr2net_mm.cli.command import OneLineParser, coefficient, positive_int, tool_parser
from dr2net_mm.errors import UserError


def backbone_parser(
    program: str, description: str, example: str, batch: str = '%(default)s'
) -> OneLineParser:
    """Return the parser of a tool that takes a backbone and its input."""
    parser = tool_parser(program, description, example)
    parser.add_argument(
        'config',
        nargs='?',
        metavar='CONFIG',
        help='take model.backbone of this config (a file, or mmdet::dino/….py)',
    )
    parser.add_argument(
        '--backbone',
        metavar='NAME',
        help=f'in place of CONFIG: {", ".join((*BACKBONES, *PUBLISHED_BACKBONES))} '
        '(windows of 7, Swin-L 12; of 8x7x7 for video), or timm:NAME for a model of '
        'timm',
    )
    parser.add_argument(
        '--alpha',
        type=coefficient,
        metavar='A',
        help='coefficient of the pretrained residual connections, in [0, 1]',
    )
    parser.add_argument(
        '--beta',
        type=coefficient,
        metavar='B',
        help='coefficient of the added residual connections, in [0, 1]',
    )
    parser.add_argument(
        '--img-size',
        type=positive_int,
        nargs='+',
        metavar='N',
        help='height and width of the input in pixels, or one number for both',
    )
    parser.add_argument(
        '--frames',
        type=positive_int,
        metavar='N',
        help='frames of the input of a video backbone (default: 32; VideoMAE 16)',
    )
    parser.add_argument(
        '--batch',
        type=positive_int,
        metavar='N',
        help=f'images or videos in the input (default: {batch})',
    )
    parser.add_argument('--json', metavar='FILE', help='write the results here')
    return parser


def chosen_backbone(
    options: argparse.Namespace,
    depths: Optional[Sequence[int]] = None,
    width: Optional[int] = None,
) -> Dict[str, Any]:
    """Return the arguments of the backbone that the command line names.

    Raises:
        UserError: unless exactly one of CONFIG and --backbone is given and usable.
    """
    if (options.config is None) == (options.backbone is None):
        given = 'both' if options.config else 'neither'
        raise UserError(
            f'give either CONFIG or --backbone NAME, got {given}; names: '
            f'{", ".join(BACKBONES)}, timm:NAME'
        )
    if options.backbone is not None:
        return named_backbone(options.backbone, depths, width)
    if depths is not None or width is not None:
        raise UserError(
            '--depths and --width go with --backbone; edit the config to change those '
            'of CONFIG'
        )
    return config_backbone(options.config)


def chosen_input(
    options: argparse.Namespace, backbone: Dict[str, Any], default: int
) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """Return the backbone, made for the input of the command line, and its size.

    Args:
        options: The parsed command line.
        backbone: Arguments of the backbone.
        default: Height and width of images where none are given; videos have 224,
            and a timm model the size that it is built for.

    Returns:
        The arguments, and (height, width) or (frames, height, width).

    Raises:
        UserError: if there are more than two sizes, or frames for images.
    """
    frames = input_frames(backbone)
    size = options.img_size or [default if frames is None else 224]
    if is_timm(backbone) and not options.img_size:
        size = list(own_size(backbone))
    if len(size) > 2:
        raise UserError(
            f'--img-size {" ".join(map(str, size))}: give one number, or height and '
            'width'
        )
    if frames is None:
        if options.frames is not None:
            raise UserError(
                f'--frames {options.frames}: the backbone takes images; leave it out, '
                'or choose a video backbone'
            )
        if is_timm(backbone):
            backbone = fitted(backbone, [(size[0], size[-1])])
        return backbone, (size[0], size[-1])
    frames = options.frames or frames
    return with_frames(backbone, frames), (frames, size[0], size[-1])


def size_text(size: Sequence[int]) -> str:
    """Format a size of images or videos in words."""
    text = f'{size[-2]}x{size[-1]}'
    return text if len(size) == 2 else f'{size[0]} frames of {text}'
