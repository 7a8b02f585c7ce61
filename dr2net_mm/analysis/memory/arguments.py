"""Arguments of the command that counts memory."""

import argparse
from typing import Any, Dict

from dr2net_mm.analysis.backbone_arguments import backbone_parser
from dr2net_mm.analysis.precision import AMP_DTYPES
from dr2net_mm.analysis.subjects.detectors import BOXES
from dr2net_mm.cli.command import OneLineParser, chunk_size, positive_int

from .fit.report import byte_size
from .plan_report import memory_budget

BATCH = 2
"""Images or videos of a count, where no config and no --batch says it."""

MODES = ('conventional', 'checkpoint', 'dr2')
"""The MM stack's own class, the same checkpointed block by block, and ours."""


def memory_parser() -> OneLineParser:
    """Return the parser of ``memory.py``."""
    parser = backbone_parser(
        'memory.py',
        'Count the memory of one forward and backward of a backbone, without a GPU.\n'
        f'Modes: {", ".join(MODES)} (checkpoint is with_cp=True, for every block).',
        'kept:  after the forward: what the graph keeps, and the outputs.\n'
        'peak:  most at once; parameters, their gradients and the input not counted.\n'
        'total: most at once, with parameters and gradients.\n'
        'work:  multiply-adds of matrix products and convolutions.\n'
        'The loss is the sum of all outputs. Counted on meta tensors, storage by\n'
        'storage; what a kernel allocates inside is not seen. GB = 1e9 bytes.\n\n'
        'Example:\n'
        '  python tools/analysis/memory.py --backbone swin-t --img-size 1024\n'
        '  python tools/analysis/memory.py --backbone swin-l --budget 0.3 4e9\n'
        '  python tools/analysis/memory.py --backbone video-swin-t --frames 768 '
        '--batch 1\n'
        '  python tools/analysis/memory.py my_config.py --fit 24GB\n'
        '  python tools/analysis/memory.py --backbone swin-t --peers\n'
        '  python tools/analysis/memory.py --detector \\\n'
        '      configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py',
        batch=f'{BATCH}; with --fit that of CONFIG',
    )
    parser.add_argument(
        '--budget',
        type=memory_budget,
        nargs='+',
        default=[],
        metavar='B',
        help='also count dr2 with this memory_budget, and show which steps it stores: '
        'a share of conventional up to 1, or bytes (2e9); several are accepted',
    )
    parser.add_argument(
        '--chunk',
        type=chunk_size,
        metavar='TOKENS',
        help="tokens that dr2 evaluates a branch on at a time: a number, 'auto' or "
        "'none' for all (default: the config's, or auto)",
    )
    parser.add_argument(
        '--fit',
        type=byte_size,
        metavar='SIZE',
        help='plan the training of CONFIG, a detector, within a memory such as 12e9 or '
        '24GB: weights, gradients, optimizer, activations and loss; prints the config '
        'of least work that fits',
    )
    parser.add_argument(
        '--peers',
        action='store_true',
        help='compare with everything else that saves memory: checkpoints, selective '
        "ones, torch's partitioner, offload, quantized activations, and a frozen "
        'backbone, LoRA and adapters; with gradient errors and the state of AdamW',
    )
    parser.add_argument(
        '--boxes',
        type=positive_int,
        default=BOXES,
        metavar='N',
        help='boxes of an image, with --fit (default: %(default)s)',
    )
    parser.add_argument(
        '--detector',
        action='store_true',
        help='count the whole detector of CONFIG, as it is, with a checkpointed '
        'encoder, and in pieces; the sum of the outputs of its head stands in for '
        'its loss',
    )
    parser.add_argument(
        '--deformable-attention',
        choices=('cuda', 'torch'),
        default='cuda',
        help='with --detector and --fit: memory of which implementation in mmcv '
        '(default: cuda)',
    )
    parser.add_argument(
        '--arithmetic',
        choices=('exact', 'float'),
        help="arithmetic of dr2 (default: the config's, or exact)",
    )
    parser.add_argument(
        '--amp',
        choices=tuple(AMP_DTYPES),
        help="autocast by CUDA's rules (default: none, fp32)",
    )
    return parser


def dual_residual_options(options: argparse.Namespace) -> Dict[str, Any]:
    """Return the options of mode dr2 that the command line gives."""
    given = dict(
        alpha=options.alpha,
        beta=options.beta,
        arithmetic=options.arithmetic,
        chunk=options.chunk,
    )
    return {key: value for key, value in given.items() if value is not None}
