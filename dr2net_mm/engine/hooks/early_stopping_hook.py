"""Early stopping that a resumed run continues."""

from typing import Dict

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

# Where checkpoints keep the state of the hook, by the name of its metric.
STATE_INFO = 'early_stopping/{}'


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """``EarlyStoppingHook`` that stops a resumed run where it would have stopped.

    MMEngine's hook forgets the best score and the validations without improvement. A
    resumed run would train for longer, and one that had stopped would start again.

    Takes the arguments of ``EarlyStoppingHook``.
    """

    # Before the checkpoint of a new best result is saved, so that it holds the state.
    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        """Restore the early-stopping state; stop at once if the run had stopped."""
        state = runner.message_hub.runtime_info.get(STATE_INFO.format(self.monitor))
        if state is None:
            return
        self.best_score, self.wait_count = state['best_score'], state['wait_count']
        reached = self.stopping_threshold is not None and self.rule_map[self.rule](
            self.best_score, self.stopping_threshold
        )
        if reached or self.wait_count >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info(
                f'The run that is resumed had stopped early: {self.monitor} was '
                f'{self.best_score} at best, and {self.wait_count} validations did not '
                f'improve it (patience: {self.patience}, stopping_threshold: '
                f'{self.stopping_threshold}).'
            )

    def after_val_epoch(self, runner: Runner, metrics: Dict[str, float]) -> None:
        """Decide whether to stop, and keep what the next decision needs."""
        super().after_val_epoch(runner, metrics)
        state = dict(best_score=self.best_score, wait_count=self.wait_count)
        runner.message_hub.update_info(STATE_INFO.format(self.monitor), state)
