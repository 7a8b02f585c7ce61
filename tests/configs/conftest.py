"""What the tests of configs/ share: reading, building and comparing configs."""

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).resolve().parents[2]


class MetaParameters(TorchFunctionMode):
    """Makes what layers allocate for parameters on the meta device.

    Models then have their full size, but nothing is allocated or initialized.
    ``torch.device('meta')`` would do the same to ``torch.linspace``, from
    which backbones read their drop path rates.
    """

    factories = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in self.factories:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


@lru_cache(maxsize=None)
def parse(path: str) -> Config:
    return Config.fromfile(ROOT / path)


def flatten(value: Any, prefix: str = '') -> Dict[str, Any]:
    """Nested dicts as {'dotted.key': leaf}."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    leaves: Dict[str, Any] = {}
    for key, child in value.items():
        leaves.update(flatten(child, f'{prefix}.{key}' if prefix else key))
    return leaves


class ConfigTools:
    """Paths are relative to the root of the repository."""

    root = ROOT
    absent = '(absent)'

    def load(self, path: str) -> Config:
        # Detectors write into the config that they are built from.
        return copy.deepcopy(parse(path))

    def load_yaml(self, path: str) -> Dict[str, Any]:
        return yaml.safe_load((ROOT / path).read_text(encoding='utf-8'))

    def build(self, cfg: Config) -> torch.nn.Module:
        """The model of a config, its parameters on the meta device."""
        init_default_scope(cfg.default_scope)
        text = cfg.model.get('text_encoder') or {}
        if text.pop('pretrained', None):
            # A random RoBERTa in place of weights that a test does not fetch.
            text.config = dict(hidden_size=768, num_hidden_layers=1)
        # The first run writes its tokenizer beside its data.
        text.pop('tokenizer', None)
        with MetaParameters():
            return MODELS.build(cfg.model)

    def optim_wrapper(self, cfg: Config) -> Dict[str, Any]:
        """The optimizer of a config, without the mixed precision that needs a GPU."""
        wrapper = copy.deepcopy(cfg.optim_wrapper)
        if wrapper.get('type') == 'AmpOptimWrapper' and not torch.cuda.is_available():
            wrapper.type = 'OptimWrapper'
            for option in ('loss_scale', 'dtype', 'use_fsdp'):
                wrapper.pop(option, None)
        return wrapper

    def upstream_of(self, path: str) -> Config:
        """The upstream config that a config names in its ``_base_``."""
        text = (ROOT / path).read_text(encoding='utf-8')
        base = re.search(r"'((?:mmdet|mmaction)::[^']+)'", text).group(1)
        return Config.fromstring(f"_base_ = '{base}'\n", file_format='.py')

    def difference(self, base: Config, other: Config) -> Dict[str, Tuple[Any, Any]]:
        """{'dotted.key': (value in base, value in other)} where they differ."""
        before, after = flatten(base.to_dict()), flatten(other.to_dict())
        pairs = {
            key: (before.get(key, self.absent), after.get(key, self.absent))
            for key in sorted(before.keys() | after.keys())
        }
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


@pytest.fixture(scope='session')
def configs() -> ConfigTools:
    return ConfigTools()
