"""The steps of the report: what each measures, at full size and in miniature."""

from typing import Any, Callable, Dict, List, NamedTuple

from . import checks


class Step(NamedTuple):
    """One step.

    Attributes:
        name: What it is called on the command line; its files are named after it.
        what: One line for ``--list``.
        kind: Which table its results go into.
        function: One of :mod:`.checks`.
        settings: Argument of the function.
    """

    name: str
    what: str
    kind: str
    function: Callable[[Dict[str, Any], str], checks.Outcome]
    settings: Dict[str, Any]


DINO_T = 'configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py'
DINO_L = 'configs/dino/dino-5scale_dr2-swin-l_8xb2-12e_coco.py'
DINO_TINY = 'configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py'
#: Folders with tests marked ``cuda``.
CUDA_TESTS = ['tests/reversible', 'tests/backbones', 'tests/analysis', 'tests/tasks']
MODES = ['conventional', 'checkpoint', 'dr2 float', 'dr2 exact']
BOTH = ['fp32', 'bf16']

TINY_SWIN = dict(
    type='SwinTransformer', embed_dims=8, depths=(1, 1), num_heads=(1, 2),
    strides=(4, 2), out_indices=(0, 1), window_size=4, drop_path_rate=0.3,
)  # fmt: skip
TINY_VIDEO_SWIN = dict(
    type='SwinTransformer3D', pretrained2d=False, window_size=(2, 2, 2),
    arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), out_indices=(0, 1),
)  # fmt: skip
TINY_VIT = dict(
    type='VisionTransformer', img_size=16, patch_size=8, embed_dims=8, depth=2,
    num_heads=2, num_frames=4, drop_path_rate=0.3,
)  # fmt: skip


def _tests(fused: str, tiny: bool) -> Dict[str, Any]:
    """Return the settings of a test run; in miniature, a few that a CPU can run."""
    environment = {'DR2NET_FUSED': fused}
    if not tiny:
        # A package that is missing keeps one file from being collected, not all.
        arguments = ['-m', 'cuda', '--continue-on-collection-errors', *CUDA_TESTS]
    elif fused == '1':
        environment['TRITON_INTERPRET'] = '1'
        arguments = ['--noconftest', '-k', 'gradients_of_streams', CUDA_TESTS[0]]
        arguments[-1] += '/kernels/test_fused.py'
    else:
        arguments = ['--noconftest', 'tests/reversible/test_packing.py']
    return dict(arguments=arguments, environment=environment)


def _subjects(tiny: bool) -> List[Dict[str, Any]]:
    """Return the backbones whose memory and determinism are looked at."""
    if tiny:
        return [
            dict(name='swin', backbone=TINY_SWIN, size=(32, 40), batch=2),
            dict(
                name='video-swin', backbone=TINY_VIDEO_SWIN, size=(4, 32, 32), batch=1
            ),
            dict(name='vit', backbone=TINY_VIT, size=(4, 16, 16), batch=1),
        ]
    return [
        dict(backbone='swin-t', size=(512, 512), batch=2),
        dict(backbone='swin-l', size=(384, 384), batch=2),
        dict(backbone='video-swin-t', size=(16, 224, 224), batch=1),
        dict(backbone='videomae-s', size=(16, 224, 224), batch=2),
    ]


def _timing(tiny: bool, **settings: Any) -> Dict[str, Any]:
    """Return the settings of a benchmark, with what all of them share."""
    shared = dict(modes=MODES, precisions=BOTH, budgets=[0.3], rounds=10, warm_up=3)
    if tiny:
        shared.update(precisions=['fp32'], rounds=1, warm_up=1)
    return {**shared, **settings}


def make_steps(tiny: bool = False) -> List[Step]:
    """Return all steps, in the order in which they are run.

    Args:
        tiny: Miniatures of them, for a CPU.
    """
    dino = dict(config=DINO_TINY, detector=dict(num_queries=20), size=(160, 160))
    swin = ['--backbone', 'swin-t', '--img-size', '512', '--sizes', '8']
    tiny_soak = '--backbone swin-t --depths 1 1 1 1 --width 12 --img-size 64 --sizes 2'
    timed: Dict[str, Dict[str, Any]] = {
        'swin-t': dict(backbone='swin-t', size=(1024, 1024), batch=2),
        'swin-l': dict(backbone='swin-l', size=(1024, 1024), batch=2),
        'video-swin-t': dict(backbone='video-swin-t', size=(32, 224, 224), batch=2),
        'videomae-s': dict(backbone='videomae-s', size=(16, 224, 224), batch=12),
        'dino-swin-t': dict(config=DINO_T, size=(800, 1344), batch=2),
        'dino-swin-l': dict(
            config=DINO_L, size=(800, 1344), batch=1, precisions=['bf16'], rounds=6
        ),
        'video-swin-t-768': dict(
            backbone='video-swin-t', size=(768, 224, 224), batch=1, rounds=3,
            warm_up=1, precisions=['bf16'], budgets=[],
        ),
    }  # fmt: skip
    if tiny:
        swin_tiny, video, vit = _subjects(True)
        timed = {
            'swin-t': swin_tiny,
            'video-swin-t': dict(video, modes=['conventional', 'dr2 exact']),
            'videomae-s': dict(vit, modes=['conventional', 'dr2 exact']),
            'dino-swin-t': dict(
                dino, batch=1, modes=['dr2 exact'], budgets=[], savings=[]
            ),
        }
    memory = dict(
        subjects=_subjects(tiny),
        modes=['conventional', 'checkpoint', 'dr2 exact'],
        precisions=['fp32'] if tiny else BOTH,
        tolerance=0.15,
    )
    soaks = {
        'soak': [*swin, '--steps', '400', '--amp', 'bf16'],
        'soak-dino': [
            '--detector', DINO_T, '--img-size', '512', '--sizes', '5',
            '--steps', '150', '--amp', 'fp16', '--workers', '2',
        ],
    }  # fmt: skip
    if tiny:
        soaks = {'soak': [*tiny_soak.split(), '--steps', '6', '--warm-up', '1']}
    steps = [
        Step('tests', 'pytest -m cuda, fused kernels on', 'tests', checks.run_tests,
             _tests('1', tiny)),
        Step('tests-unfused', 'pytest -m cuda, DR2NET_FUSED=0', 'tests',
             checks.run_tests, _tests('0', tiny)),
        Step('memory', 'memory counted against memory allocated', 'memory',
             checks.compare_memory, memory),
        Step('determinism', 'reversible against stored gradients, verify=True',
             'determinism', checks.check_determinism,
             dict(subjects=_subjects(tiny), precisions=['fp32'] if tiny else BOTH)),
    ]  # fmt: skip
    steps += [
        Step(
            name,
            f'time and memory: {name}, {"x".join(map(str, given["size"]))}',
            'benchmark',
            checks.time_steps,
            _timing(tiny, **given),
        )
        for name, given in timed.items()
    ]
    return steps + [
        Step(name, f'does anything grow: {name}', 'soak', checks.soak,
             dict(arguments=arguments))
        for name, arguments in soaks.items()
    ]  # fmt: skip
