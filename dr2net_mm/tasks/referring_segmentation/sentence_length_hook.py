"""Refuse sentences that are too long for the text encoder, before training."""

from typing import Any, Set

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class SentenceLengthHook(Hook):
    """Hook that looks at all sentences of a run before it begins.

    Without it, training stops at the first sentence that has more tokens than the text
    encoder takes, which may be hours later. Looked at are training and validation, or
    the test set, and the mirrored sentences where the pipeline mirrors them.

    Raises:
        UserError: Naming the first such sentence.
    """

    def before_train(self, runner: Runner) -> None:
        """Look at sentences of training and validation."""
        _check(runner.model, runner.train_loop.dataloader.dataset)
        if runner.val_loop is not None:
            _check(runner.model, runner.val_loop.dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Look at sentences of the test set."""
        _check(runner.model, runner.test_loop.dataloader.dataset)


def _check(model: Any, dataset: Any) -> None:
    inner = model.module if is_model_wrapper(model) else model
    inner.text_encoder.check_lengths(sorted(sentences_of(dataset)))


def sentences_of(dataset: Any) -> Set[str]:
    """Return every sentence that samples of a data set may have."""
    from .datasets.transforms.flip_with_text import FlipWithText, mirrored

    texts = {dataset.get_data_info(n)['text'] for n in range(len(dataset))}
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    if any(isinstance(step, FlipWithText) and step.prob for step in steps):
        texts |= {mirrored(text) for text in texts}
    return texts
