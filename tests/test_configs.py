"""Every config of the repository loads, builds and says what its row claims.

Parameters are made on the meta device: the models have their full size, but
nothing is allocated, initialised or downloaded.
"""

import ast
import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
import yaml
from mmengine.config import Config
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
DINO = CONFIGS / 'dino'

# {model}[_{setting}...]_{schedule}_{dataset}, the schedule being
# '8xb2-12e' or, for the older detectors of mmdet, '1x'.
NAME = re.compile(r'[a-z0-9.-]+(_[a-z0-9.-]+)*_(\d+xb\d+-[a-z0-9-]+|\d+x)_[a-z0-9-]+')
ABSENT = '(absent)'


def all_configs() -> List[str]:
    files = (
        file.relative_to(ROOT).as_posix()
        for file in CONFIGS.rglob('*.py')
        if '_base_' not in file.parts
    )
    return sorted(files)


def all_metafiles() -> List[str]:
    files = CONFIGS.rglob('metafile.yml')
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


@lru_cache(maxsize=None)
def _parse(path: str) -> Config:
    return Config.fromfile(ROOT / path)


def load(path: str) -> Config:
    # Detectors write into the config that they are built from.
    return copy.deepcopy(_parse(path))


def load_yaml(path: str) -> Dict[str, Any]:
    return yaml.safe_load((ROOT / path).read_text(encoding='utf-8'))


def is_dual_residual(cfg: Config) -> bool:
    backbone = cfg.model.get('backbone') or {}
    return str(backbone.get('type', '')).startswith('Dr2')


def coefficient_hooks(cfg: Config) -> List[Dict[str, Any]]:
    hooks = cfg.get('custom_hooks') or []
    return [hook for hook in hooks if hook['type'] == 'Dr2CoefficientHook']


CONFIG_FILES = all_configs()
METAFILES = all_metafiles()
every_config = pytest.mark.parametrize('path', CONFIG_FILES)
every_metafile = pytest.mark.parametrize('path', METAFILES)


class MetaParameters(TorchFunctionMode):
    """Makes what layers allocate for parameters on the meta device.

    ``torch.device('meta')`` would do the same to ``torch.linspace``, from
    which backbones read their drop path rates.
    """

    factories = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in self.factories:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


def build(path: str) -> torch.nn.Module:
    from mmengine.registry import MODELS, init_default_scope

    cfg = load(path)
    init_default_scope(cfg.default_scope)
    with MetaParameters():
        return MODELS.build(cfg.model)


def flatten(value: Any, prefix: str = '') -> Dict[str, Any]:
    """Nested dicts as {'dotted.key': leaf}."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    leaves: Dict[str, Any] = {}
    for key, child in value.items():
        leaves.update(flatten(child, f'{prefix}.{key}' if prefix else key))
    return leaves


def upstream_of(path: str) -> Config:
    """The mmdet config that a config names in its ``_base_``."""
    text = (ROOT / path).read_text(encoding='utf-8')
    base = re.search(r"_base_ = '(mmdet::[^']+)'", text).group(1)
    return Config.fromstring(f"_base_ = '{base}'\n", file_format='.py')


def difference(base: Config, other: Config) -> Dict[str, Tuple[Any, Any]]:
    """{'dotted.key': (value in base, value in other)} where they differ."""
    before, after = flatten(base.to_dict()), flatten(other.to_dict())
    pairs = {
        key: (before.get(key, ABSENT), after.get(key, ABSENT))
        for key in sorted(before.keys() | after.keys())
    }
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


# --- every config of the repository ---------------------------------------


def test_there_are_configs_to_check():
    assert CONFIG_FILES
    assert METAFILES


@every_config
def test_a_config_is_named_by_the_openmmlab_convention(path):
    assert NAME.fullmatch(Path(path).stem), (
        f'{path}: expected {{model}}_{{setting}}_{{gpus}}xb{{batch}}-'
        f'{{schedule}}_{{dataset}}.py'
    )


@every_config
def test_a_config_loads_and_holds_plain_values_that_a_run_can_dump(path):
    cfg = load(path)
    for key in ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg'):
        assert key in cfg, f'{path} has no {key}'
    values = cfg.to_dict()
    assert ast.literal_eval(repr(values)) == values


@every_config
def test_a_config_stands_in_the_metafile_and_readme_of_its_folder(path):
    folder = (ROOT / path).parent
    metafile = (folder / 'metafile.yml').relative_to(ROOT).as_posix()
    models = load_yaml(metafile)['Models']
    assert [m['Name'] for m in models if m['Config'] == path] == [Path(path).stem]
    readme = (folder / 'README.md').read_text(encoding='utf-8')
    assert Path(path).name in readme


@every_metafile
def test_a_metafile_names_only_what_exists(path):
    content = load_yaml(path)
    collections = {c['Name'] for c in content['Collections']}
    for collection in content['Collections']:
        assert (ROOT / collection['README']).is_file()
    for model in content['Models']:
        assert (ROOT / model['Config']).is_file(), model['Config']
        assert model['In Collection'] in collections
        assert model['Metadata']['Epochs'] == (
            load(model['Config']).train_cfg.max_epochs
        )


def test_the_model_index_imports_every_metafile_once():
    assert sorted(load_yaml('model-index.yml')['Import']) == METAFILES


def test_model_names_are_unique_in_the_repository():
    names = [m['Name'] for f in METAFILES for m in load_yaml(f)['Models']]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    'readme',
    sorted(f.relative_to(ROOT).as_posix() for f in CONFIGS.rglob('README.md')),
)
def test_the_config_links_of_a_readme_lead_somewhere(readme):
    text = (ROOT / readme).read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!https?://|#)([^)#\s]+)', text)
    links += [link for link in re.findall(r'configs/[\w./-]+\.py', text)]
    for link in links:
        start = ROOT if link.startswith('configs/') else (ROOT / readme).parent
        assert (start / link).exists(), f'{readme} links to {link}'


@every_config
def test_a_dual_residual_config_imports_us_and_settles_its_coefficients(path):
    cfg = load(path)
    hooks = coefficient_hooks(cfg)
    if not is_dual_residual(cfg):
        assert not hooks, f'{path}: a hook, but no dual-residual backbone'
        return
    assert 'dr2net_mm' in cfg.custom_imports['imports']
    assert cfg.custom_imports['allow_failed_imports'] is False
    assert not cfg.model.backbone.get('with_cp', False)
    fixed = {'alpha', 'beta'} <= set(cfg.model.backbone.get('dual_residual') or {})
    assert len(hooks) == (0 if fixed else 1), (
        f'{path}: either fixed coefficients or one Dr2CoefficientHook'
    )


@every_config
def test_a_config_builds_its_model_and_optimizer(path):
    from mmengine.optim import build_optim_wrapper

    cfg = load(path)
    model = build(path)
    model.train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    optimised = sum(len(group['params']) for group in optimizer.param_groups)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert optimised == len(trainable) > 0
    if is_dual_residual(cfg):
        from dr2net_mm.models.backbones.dual_residual import (
            dual_residual_backbones,
        )

        assert set(dual_residual_backbones(model)) == {'backbone'}


@every_config
def test_a_config_builds_its_hooks_and_parameter_schedulers(path):
    from mmengine.registry import (
        HOOKS,
        PARAM_SCHEDULERS,
        VISUALIZERS,
        init_default_scope,
    )

    cfg = load(path)
    init_default_scope(cfg.default_scope)
    VISUALIZERS.build(cfg.visualizer)
    hooks = list((cfg.get('default_hooks') or {}).values())
    hooks += cfg.get('custom_hooks') or []
    for hook in hooks:
        HOOKS.build(hook)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedulers = cfg.param_scheduler
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    for scheduler in schedulers:
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=10)
        )


# --- configs/dino: each row differs from its base in what it is about ------

CONVENTIONAL = 'configs/dino/dino-4scale_swin-t_8xb2-12e_coco.py'
IMPORTS = dict(imports=['dr2net_mm'], allow_failed_imports=False)
TO_DR2 = {
    'model.backbone.type': ('SwinTransformer', 'Dr2SwinTransformer'),
    'custom_imports.imports': (ABSENT, IMPORTS['imports']),
    'custom_imports.allow_failed_imports': (ABSENT, False),
}


def row(setting: str) -> str:
    return f'configs/dino/dino-4scale_{setting}_8xb2-12e_coco.py'


def residual(**options: Any) -> Dict[str, Tuple[Any, Any]]:
    return {
        f'model.backbone.dual_residual.{name}': (ABSENT, value)
        for name, value in options.items()
    }


def hook(**options: Any) -> Dict[str, Tuple[Any, Any]]:
    scheduled = dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
        **options,
    )
    return {'custom_hooks': (ABSENT, [scheduled])}


PAPER = residual(arithmetic='float')
REVERSIBLE = residual(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean')
PRETRAINED = load(CONVENTIONAL).model.backbone.init_cfg.to_dict()
ROWS = {
    'swin-t_frozen': {
        'model.backbone.frozen_stages': (ABSENT, 4),
        'find_unused_parameters': (ABSENT, True),
    },
    'dr2-swin-t': {**TO_DR2, **hook()},
    'dr2-swin-t_float': {**TO_DR2, **hook(), **PAPER},
    'dr2-swin-t_alpha-first': {**TO_DR2, **hook(order='alpha_first')},
    'dr2-swin-t_beta-first': {**TO_DR2, **hook(order='beta_first')},
    'dr2-swin-t_alpha-first_float': {
        **TO_DR2,
        **hook(order='alpha_first'),
        **PAPER,
    },
    'dr2-swin-t_beta-first_float': {
        **TO_DR2,
        **hook(order='beta_first'),
        **PAPER,
    },
    'dr2-swin-t_vanilla': {**TO_DR2, **residual(alpha=1.0, beta=0.1)},
    'dr2-swin-t_vanilla_float': {
        **TO_DR2,
        **residual(alpha=1.0, beta=0.1),
        **PAPER,
    },
    'dr2-swin-t_hard-finetune': {**TO_DR2, **REVERSIBLE},
    'dr2-swin-t_scratch': {
        **TO_DR2,
        **REVERSIBLE,
        'model.backbone.init_cfg': (ABSENT, None),
        **{
            f'model.backbone.init_cfg.{key}': (value, ABSENT)
            for key, value in PRETRAINED.items()
        },
    },
}


def test_every_four_scale_row_of_dino_is_described_here():
    described = {CONVENTIONAL} | {row(setting) for setting in ROWS}
    present = {p for p in CONFIG_FILES if '/dino/dino-4scale' in p}
    assert described == present


@pytest.mark.parametrize('setting', ROWS)
def test_a_dino_row_differs_from_conventional_training_only_as_named(setting):
    assert difference(load(CONVENTIONAL), load(row(setting))) == ROWS[setting]


def test_the_conventional_row_changes_only_backbone_and_neck_of_mmdet():
    changed = difference(upstream_of(CONVENTIONAL), load(CONVENTIONAL))
    changed.pop('pretrained', None)
    assert changed
    assert all(
        key.startswith('model.backbone.') or key == 'model.neck.in_channels'
        for key in changed
    )


@pytest.mark.parametrize(
    'path',
    [
        'configs/dino/dino-5scale_dr2-swin-l_8xb2-12e_coco.py',
        'configs/mask_rcnn/mask-rcnn_dr2-swin-t-p4-w7_fpn_1x_coco.py',
        'configs/retinanet/retinanet_dr2-swin-t-p4-w7_fpn_1x_coco.py',
    ],
)
def test_an_mmdet_config_becomes_dual_residual_by_three_lines(path):
    changed = difference(upstream_of(path), load(path))
    changed.pop('model.backbone.with_cp', None)
    assert changed == {**TO_DR2, **hook()}


def test_the_swin_l_rows_differ_only_in_the_backbone_and_its_schedule():
    conventional = load('configs/dino/dino-5scale_swin-l_no-cp_8xb2-12e_coco.py')
    ours = load('configs/dino/dino-5scale_dr2-swin-l_8xb2-12e_coco.py')
    assert conventional.model.backbone.with_cp is False
    assert difference(conventional, ours) == {**TO_DR2, **hook()}


def test_the_conventional_backbone_is_the_published_swin_t():
    backbone = build(CONVENTIONAL).backbone
    count = sum(p.numel() for p in backbone.parameters())
    output_norms = 2 * (192 + 384 + 768)
    classifier, final_norm = 768 * 1000 + 1000, 2 * 768
    # swin_tiny_patch4_window7_224 has 28,288,354 parameters.
    assert count - output_norms == 28_288_354 - classifier - final_norm


def test_the_frozen_row_trains_no_parameter_of_its_backbone():
    model = build(row('swin-t_frozen'))
    model.train()
    trainable = [
        name for name, p in model.backbone.named_parameters() if p.requires_grad
    ]
    assert trainable == []
    assert not any(
        m.training
        for m in model.backbone.modules()
        if m is not model.backbone and not isinstance(m, torch.nn.ModuleList)
    )
    assert all(p.requires_grad for p in model.encoder.parameters())


@pytest.mark.parametrize('stages', [-1, 3])
def test_fewer_frozen_stages_would_leave_the_backbone_training(stages):
    from mmengine.registry import MODELS, init_default_scope

    cfg = load(row('swin-t_frozen'))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.frozen_stages = stages
    with MetaParameters():
        backbone = MODELS.build(cfg.model.backbone)
    backbone.train()
    assert any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize(
    ('setting', 'alpha', 'beta', 'arithmetic', 'fusion'),
    [
        ('dr2-swin-t', 1.0, 0.1, 'exact', 'last'),
        ('dr2-swin-t_float', 1.0, 0.1, 'float', 'last'),
        ('dr2-swin-t_vanilla', 1.0, 0.1, 'exact', 'last'),
        ('dr2-swin-t_scratch', 0.0, 1.0, 'float', 'mean'),
        ('dr2-swin-t_hard-finetune', 0.0, 1.0, 'float', 'mean'),
    ],
)
def test_a_dino_row_starts_with_its_coefficients_and_arithmetic(
    setting, alpha, beta, arithmetic, fusion
):
    backbone = build(row(setting)).backbone
    assert (backbone.alpha, backbone.beta) == (alpha, beta)
    options = backbone.dual_residual_options
    assert options.arithmetic == arithmetic
    assert options.fusion == fusion
    assert options.backprop == 'reversible'


@pytest.mark.parametrize('path', [CONVENTIONAL, row('dr2-swin-t')])
def test_the_backbone_learns_at_a_tenth_of_the_rate(path):
    from mmengine.optim import build_optim_wrapper

    model = build(path)
    wrapper = build_optim_wrapper(model, load(path).optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        name = names[id(group['params'][0])]
        rate = 1e-5 if name.startswith('backbone.') else 1e-4
        assert group['lr'] == pytest.approx(rate), name
        assert group['weight_decay'] == pytest.approx(1e-4), name
