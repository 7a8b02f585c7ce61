"""Every config of the repository loads, builds and is listed where it should be."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    HOOKS,
    PARAM_SCHEDULERS,
    VISUALIZERS,
    init_default_scope,
)

ROOT = Path(__file__).resolve().parents[2]

# {model}[_{setting}...]_{schedule}_{dataset}, the schedule being
# '8xb2-12e' or, for the older detectors of mmdet, '1x'.
NAME = re.compile(r'[a-z0-9.-]+(_[a-z0-9.-]+)*_(\d+xb\d+-[a-z0-9-]+|\d+x)_[a-z0-9-]+')


def files(pattern: str) -> List[str]:
    found = (ROOT / 'configs').rglob(pattern)
    return sorted(f.relative_to(ROOT).as_posix() for f in found)


CONFIGS = [path for path in files('*.py') if '/_base_/' not in path]
# Folders whose configs extend those of a package that is an extra.
EXTRAS = {'configs/rev_vit/': 'mmpretrain'}


def missing_extra(path: str) -> str:
    """The package that a config needs and that is not installed, if there is one."""
    for folder, package in EXTRAS.items():
        if path.startswith(folder) and find_spec(package) is None:
            return package
    return ''


def config_parameter(path: str) -> Any:
    package = missing_extra(path)
    reason = f'{path} extends a config of {package}, which is not installed'
    marks = [pytest.mark.skipif(bool(package), reason=reason)]
    return pytest.param(path, marks=marks)


METAFILES = files('metafile.yml')
every_config = pytest.mark.parametrize('path', [*map(config_parameter, CONFIGS)])
every_metafile = pytest.mark.parametrize('path', METAFILES)
every_readme = pytest.mark.parametrize('path', files('README.md'))


def backbone_name(cfg: Config) -> str:
    """Where the model has its backbone."""
    return 'backbone' if 'backbone' in cfg.model else 'encoder'


def backbone_of(cfg: Config) -> Dict[str, Any]:
    return cfg.model.get(backbone_name(cfg)) or {}


def is_dual_residual(cfg: Config) -> bool:
    return str(backbone_of(cfg).get('type', '')).startswith('Dr2')


def coefficient_hooks(cfg: Config) -> List[Dict[str, Any]]:
    hooks = cfg.get('custom_hooks') or []
    return [hook for hook in hooks if hook['type'] == 'Dr2CoefficientHook']


def test_there_are_configs_to_check():
    assert CONFIGS
    assert METAFILES


@every_config
def test_a_config_is_named_by_the_openmmlab_convention(path):
    assert NAME.fullmatch(Path(path).stem), (
        f'{path}: expected {{model}}_{{setting}}_{{gpus}}xb{{batch}}-'
        f'{{schedule}}_{{dataset}}.py'
    )


@every_config
def test_a_config_loads_and_holds_plain_values_that_a_run_can_dump(configs, path):
    cfg = configs.load(path)
    for key in ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg'):
        assert key in cfg, f'{path} has no {key}'
    values = cfg.to_dict()
    assert ast.literal_eval(repr(values)) == values


@every_config
def test_a_config_stands_in_the_metafile_and_readme_of_its_folder(configs, path):
    folder = (ROOT / path).parent
    metafile = (folder / 'metafile.yml').relative_to(ROOT).as_posix()
    models = configs.load_yaml(metafile)['Models']
    assert [m['Name'] for m in models if m['Config'] == path] == [Path(path).stem]
    readme = (folder / 'README.md').read_text(encoding='utf-8')
    assert Path(path).name in readme


@every_metafile
def test_a_metafile_names_only_what_exists(configs, path):
    content = configs.load_yaml(path)
    collections = {c['Name'] for c in content['Collections']}
    for collection in content['Collections']:
        assert (ROOT / collection['README']).is_file()
    for model in content['Models']:
        assert (ROOT / model['Config']).is_file(), model['Config']
        assert model['In Collection'] in collections
        # A row without a measured value is left out, not left empty.
        for result in model.get('Results', []):
            assert result['Task'] and result['Dataset']
            values = list(result['Metrics'].values())
            assert values and all(isinstance(v, (int, float)) for v in values)
        if missing_extra(model['Config']):
            continue
        assert model['Metadata']['Epochs'] == (
            configs.load(model['Config']).train_cfg.max_epochs
        )


def test_the_model_index_imports_every_metafile_once(configs):
    assert sorted(configs.load_yaml('model-index.yml')['Import']) == METAFILES


def test_model_names_are_unique_in_the_repository(configs):
    names = [m['Name'] for f in METAFILES for m in configs.load_yaml(f)['Models']]
    assert len(names) == len(set(names))


@every_readme
def test_the_links_of_a_readme_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding='utf-8')
    folder = (ROOT / path).parent
    for link in re.findall(r'\]\((?!https?://|#)([^)#\s]+)', text):
        assert (folder / link).exists(), f'{path} links to {link}'
    for link in re.findall(r'(?<![\w/.])configs/[\w./-]+\.py', text):
        assert (ROOT / link).exists(), f'{path} names {link}'


@every_config
def test_a_dual_residual_config_imports_us_and_settles_its_coefficients(configs, path):
    cfg = configs.load(path)
    hooks = coefficient_hooks(cfg)
    if not is_dual_residual(cfg):
        assert not hooks, f'{path}: a hook, but no dual-residual backbone'
        return
    assert 'dr2net_mm' in cfg.custom_imports['imports']
    assert cfg.custom_imports['allow_failed_imports'] is False
    assert not backbone_of(cfg).get('with_cp', False)
    fixed = {'alpha', 'beta'} <= set(backbone_of(cfg).get('dual_residual') or {})
    assert len(hooks) == (0 if fixed else 1), (
        f'{path}: either fixed coefficients or one Dr2CoefficientHook'
    )


@every_config
def test_the_coefficients_of_a_config_reach_their_end_within_the_run(configs, path):
    cfg = configs.load(path)
    for hook_cfg in coefficient_hooks(cfg):
        schedule = HOOKS.build(hook_cfg).schedule_of_run(
            max_iters=cfg.train_cfg.max_epochs * 100, iters_per_epoch=100
        )
        assert schedule.coefficients(0) == tuple(hook_cfg.get('start', (1.0, 0.1)))
        assert schedule.coefficients(schedule.end_step) == tuple(hook_cfg['end'])


@every_config
def test_a_config_builds_its_model_and_optimizer(configs, path):
    cfg = configs.load(path)
    model = configs.build(cfg)
    model.train()
    optimizer = build_optim_wrapper(model, configs.optim_wrapper(cfg)).optimizer
    optimized = sum(len(group['params']) for group in optimizer.param_groups)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert optimized == len(trainable) > 0
    if is_dual_residual(cfg):
        from dr2net_mm.backbones.base.dual_residual import dual_residual_backbones

        assert set(dual_residual_backbones(model)) == {backbone_name(cfg)}


@every_config
def test_a_config_builds_its_hooks_and_parameter_schedulers(configs, path):
    cfg = configs.load(path)
    init_default_scope(cfg.default_scope)
    # The Runner names a visualizer that has no name.
    VISUALIZERS.build({'name': 'run', **cfg.visualizer})
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
