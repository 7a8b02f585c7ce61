"""Outputs of a model for the samples of its config's test set."""

from typing import Any, Callable, List, Optional

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from mmengine.utils import ProgressBar

from dr2net_mm.launch import prepare_mmengine


def outputs_on_test_set(
    config: Config,
    checkpoint: Optional[str] = None,
    seed: int = 0,
    edit: Callable[[Any], None] = lambda batch: None,
) -> List[Any]:
    """Run a model over the ``test_dataloader`` of its config, on the CPU.

    Args:
        config: A config of mmaction, or with models of this package.
        checkpoint: Weights, with the coefficients that they were trained to. Without
            it the model is as before training, which shows what its form alone
            achieves.
        seed: Of the random weights.
        edit: Called on every batch before the model sees it.

    Returns:
        What ``predict`` returns, a list over all samples in the order of the data set.
    """
    prepare_mmengine()
    init_default_scope(config.get('default_scope') or 'mmaction')
    set_random_seed(seed)
    model = MODELS.build(config.model)
    if checkpoint is None:
        _init_weights_quietly(model)
    else:
        load_checkpoint(model, checkpoint, map_location='cpu')
    model.eval()
    loader = Runner.build_dataloader(config.test_dataloader)
    bar, outputs = ProgressBar(len(loader)), []
    with torch.no_grad():
        for batch in loader:
            edit(batch)
            outputs += model.test_step(batch)
            bar.update()
    print(flush=True)
    return outputs


def _init_weights_quietly(model: torch.nn.Module) -> None:
    """Initialize weights without MMEngine's three lines for every parameter."""
    import logging

    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)
