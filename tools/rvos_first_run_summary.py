"""Say what a finished training of `tools/rvos_first_run.sh` shows.

Prints losses and validation scores, compares the model with what can be had without
reading the sentence (the largest mask, a random candidate, the sentence of another
clip), all measured, and draws frames, prediction and ground truth of some sentences.
Its argument is the work dir of the run.
"""

from __future__ import annotations

import sys
import warnings
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from dr2net_mm.cli.command import run_command, tool_parser
from dr2net_mm.cli.output import format_table
from dr2net_mm.first_runs.finished_training import (
    Training,
    draw_training,
    find_training,
    values_over_training,
)

REMEDY = 'run tools/rvos_first_run.sh'
SCORE = 'rvos/mean_IoU'
SHOWN = ('mean_IoU', 'overall_IoU', 'P@0.5', 'P@0.7', 'mAP')
GUESSES = 10
DRAWN = 8


def describe_training(log: list[dict]) -> str:
    """Describe loss, coefficients and scores of the training."""
    steps = [line for line in log if 'loss' in line]
    said = [f'loss {steps[0]["loss"]:.2f} -> {steps[-1]["loss"]:.2f}']
    scheduled = [line for line in steps if 'dr2/alpha' in line]
    if scheduled:
        pairs = [
            f'({line["dr2/alpha"]:.2f}, {line["dr2/beta"]:.2f})'
            for line in (scheduled[0], scheduled[-1])
        ]
        said.append(f'(alpha, beta) {pairs[0]} -> {pairs[1]}')
    scores = [f'{value:.3f}' for _, value in values_over_training(log, SCORE)]
    if scores:
        said.append(f'mean IoU by validation {", ".join(scores)}')
    return '\n'.join(said)


def shuffled_sentences(config: Config) -> dict[str, str]:
    """Give each validation sample the sentence of another one."""
    from mmengine.registry import DATASETS

    from dr2net_mm.first_runs.sentence_baselines import other_sentences

    data = DATASETS.build(config.test_dataloader.dataset)
    found = [data.get_data_info(number) for number in range(len(data))]
    return other_sentences({sample['image_id']: sample['text'] for sample in found})


def predictions(config: Config, checkpoint: str) -> dict[str, list]:
    """Return predictions of the model as it is, misled, and before training."""
    from dr2net_mm.analysis.video.model_outputs import outputs_on_test_set

    print('trained model:', flush=True)
    made = {'trained': outputs_on_test_set(config, checkpoint)}
    sentences = shuffled_sentences(config)

    def mislead(batch: dict) -> None:
        for sample in batch['data_samples']:
            sample.set_metainfo(dict(text=sentences[sample.image_id]))

    print('the same with sentences of other clips:', flush=True)
    made['misled'] = outputs_on_test_set(config, checkpoint, edit=mislead)
    print('model before training:', flush=True)
    made['untrained'] = outputs_on_test_set(config)
    return made


def compare_with_baselines(made: dict[str, list], evaluator: dict) -> str:
    """Tabulate the model and what can be had without the sentence."""
    from dr2net_mm.first_runs.sentence_baselines import (
        evaluate,
        largest_mask,
        random_query,
        rescored,
    )

    trained = made['trained']
    guesses = [
        evaluate(rescored(trained, random_query(seed)), evaluator)
        for seed in range(GUESSES)
    ]
    random = {name: float(np.mean([m[name] for m in guesses])) for name in SHOWN}
    results = [
        ('trained model', evaluate(trained, evaluator)),
        ('  sentence of another clip', evaluate(made['misled'], evaluator)),
        ('  its largest mask', evaluate(rescored(trained, largest_mask), evaluator)),
        (f'  a random one of its masks, mean of {GUESSES}', random),
        ('  before training', evaluate(made['untrained'], evaluator)),
    ]
    rows = [
        (name, *(f'{metrics[key]:.3f}' for key in SHOWN)) for name, metrics in results
    ]
    count = len(trained)
    return f'{format_table((f"{count} validation samples", *SHOWN), rows)}'


def compare_kinds(made: dict[str, list], evaluator: dict) -> str:
    """Tabulate mean IoU by what a sentence goes by."""
    from dr2net_mm.first_runs.sentence_baselines import evaluate, kind_of

    kinds: dict[str, list[int]] = {}
    for number, sample in enumerate(made['trained']):
        kinds.setdefault(kind_of(sample.text), []).append(number)
    rows = []
    for kind, numbers in sorted(kinds.items()):
        right, misled = (
            evaluate([made[name][n] for n in numbers], evaluator)['mean_IoU']
            for name in ('trained', 'misled')
        )
        rows.append((kind, str(len(numbers)), f'{right:.3f}', f'{misled:.3f}'))
    head = ('the sentence goes by', 'samples', 'mean IoU', 'sentence of another clip')
    return format_table(head, rows)


def spread_over_kinds(texts: list[str], count: int) -> list[int]:
    """Choose samples of each kind of sentence in turn, spread over the set."""
    from dr2net_mm.first_runs.sentence_baselines import kind_of

    kinds: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        kinds.setdefault(kind_of(text), []).append(number)
    turns = -(-count // len(kinds))
    chosen = [
        numbers[len(numbers) * (2 * turn + 1) // (2 * turns)]
        for turn in range(turns)
        for _, numbers in sorted(kinds.items())
    ]
    return chosen[:count]


def draw(config: Config, trained: list, picture: Path) -> int:
    """Draw some samples of every kind of sentence; returns how many."""
    from mmengine.registry import DATASETS

    from dr2net_mm.first_runs.referring_picture import Row, referring_picture

    data = DATASETS.build(config.test_dataloader.dataset)
    rows = []
    for number in spread_over_kinds([sample.text for sample in trained], DRAWN):
        frames = data[number]['inputs'].permute(0, 2, 3, 1).numpy()
        sample = trained[number]
        best = int(torch.argmax(sample.pred_instances.scores[:, 0]))
        rows.append(
            Row(
                sample.text,
                frames,
                sample.frames[0],
                sample.pred_instances.masks[best, 0].numpy(),
                sample.truth[0].numpy(),
            )
        )
    referring_picture(rows).save(picture)
    return len(rows)


def describe_files(work_dir: Path, training: Training) -> str:
    """Say where things lie and what to type next."""
    return f"""Files
  checkpoint  {training.checkpoint}
  sentences   {work_dir / 'sentences.png'}
  loss curve  {work_dir / 'training.png'}

What to type next
  . tools/setup_env.sh
  python tools/test.py {training.config_file} {training.checkpoint}
  python tools/data/check_rvos.py a2d data/moving_digits
  bash tools/rvos_first_run.sh --work-dir work_dirs/rvos_longer \\
      --cfg-options train_cfg.max_epochs=20"""


def summarize(options: Namespace) -> None:
    """Print the summary and draw the pictures."""
    warnings.filterwarnings('ignore')
    # Each of many evaluations would write its metrics.
    MMLogger.get_instance('summary', log_level='ERROR')
    work_dir = options.work_dir
    training = find_training(work_dir, REMEDY)
    config = Config.fromfile(str(training.config_file))
    made = predictions(config, str(training.checkpoint))

    print(f'\n{describe_training(training.log)}')
    print('All weights were random at the start; nothing pretrained was used.\n')
    print(compare_with_baselines(made, config.test_evaluator), end='\n\n')
    print(compare_kinds(made, config.test_evaluator), end='\n\n')
    drawn = draw(config, made['trained'], work_dir / 'sentences.png')
    draw_training(training.log, SCORE, work_dir / 'training.png', 'MTTR')
    print(f'Picture of {drawn} validation sentences, of each kind in turn\n')
    print(describe_files(work_dir, training))


def main() -> None:
    """Run the tool."""
    parser = tool_parser('rvos_first_run_summary.py', __doc__)
    parser.add_argument('work_dir', type=Path, help='where the training wrote')
    run_command(parser, summarize)


if __name__ == '__main__':
    main()
