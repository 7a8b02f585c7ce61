"""Say what finished trainings of `tools/video_first_run.sh` show.

Prints losses and validation scores, compares the detector with chance (itself before
the training, and random segments), lets the recognizer name the classes, and draws
predicted against annotated segments. Its argument is the work dir of the run.
"""

from __future__ import annotations

import sys
import warnings
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger

from dr2net_mm.cli.command import run_command, tool_parser
from dr2net_mm.cli.output import format_table, write_json
from dr2net_mm.first_runs.finished_training import (
    Training,
    draw_training,
    find_training,
    values_over_training,
)

REMEDY = 'run tools/video_first_run.sh'
SCORE = 'average_mAP'
SHOWN = (SCORE, 'mAP@0.50', 'mAP@0.75')
GUESSES = 10


def describe_detector(log: list[dict]) -> str:
    """Describe loss, coefficients and mAP of the detector's training."""
    steps = [line for line in log if 'loss' in line]
    said = [f'detector    loss {steps[0]["loss"]:.2f} -> {steps[-1]["loss"]:.2f}']
    scheduled = [line for line in steps if 'dr2/alpha' in line]
    if scheduled:
        pairs = [
            f'({line["dr2/alpha"]:.2f}, {line["dr2/beta"]:.2f})'
            for line in (scheduled[0], scheduled[-1])
        ]
        said.append(f'            (alpha, beta) {pairs[0]} -> {pairs[1]}')
    scores = [f'{value:.3f}' for _, value in values_over_training(log, SCORE)]
    if scores:
        said.append(f'            mean mAP by epoch {", ".join(scores)}')
    return '\n'.join(said)


def describe_recognizer(log: list[dict]) -> str:
    """Describe loss and accuracy of the recognizer's training."""
    steps = [line for line in log if 'loss' in line]
    accuracy = [f'{value:.2f}' for _, value in values_over_training(log, 'acc/top1')]
    return (
        f'recognizer  loss {steps[0]["loss"]:.2f} -> {steps[-1]["loss"]:.2f}\n'
        f'            accuracy by epoch {", ".join(accuracy)} (trimmed clips)'
    )


def annotated_lengths(annotations: str, subset: str) -> list[float]:
    """Return the lengths in seconds of the annotated segments of a subset."""
    from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
        load_annotations,
    )

    return [
        action.end - action.start
        for video in load_annotations(annotations).values()
        if video.belongs_to(subset)
        for action in video.actions
    ]


def guesses(results: list[dict], annotations: str) -> list[list[dict]]:
    """Make random proposals for the videos of some results, several times."""
    from dr2net_mm.first_runs.chance_level import random_proposals
    from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
        load_annotations,
    )

    videos = load_annotations(annotations)
    durations = {f'v_{name}': video.duration for name, video in videos.items()}
    lengths = annotated_lengths(annotations, 'training')
    return [random_proposals(results, durations, lengths, i) for i in range(GUESSES)]


def compare_with_chance(
    results: list[dict], untrained: list[dict], evaluator: dict, scores_file: Path
) -> str:
    """Compare the detector with itself before training and with chance.

    Args:
        results: Of the trained detector.
        untrained: Of the detector with random weights.
        evaluator: Config of the metric, class-agnostic.
        scores_file: Video-level scores of the recognizer.
    """
    from dr2net_mm.first_runs.chance_level import evaluate

    with_classes = dict(class_agnostic=False, classifier_scores=str(scores_file))
    random = guesses(results, evaluator['ann_file'])

    def row(name: str, given: list[list[dict]], **changes: object) -> tuple[str, ...]:
        metrics = [evaluate(one, evaluator, **changes) for one in given]
        return (name, *(f'{np.mean([m[key] for m in metrics]):.3f}' for key in SHOWN))

    rows = [
        row('where: trained detector', [results]),
        row('  the same before training', [untrained]),
        row(f'  random segments, mean of {GUESSES}', random),
        row('where and what: trained', [results], **with_classes),
        row('  before training', [untrained], **with_classes),
        row(f'  random segments, mean of {GUESSES}', random, **with_classes),
    ]
    table = format_table(('validation videos', *SHOWN), rows)
    return (
        f'{table}\n(mean mAP is over tIoU 0.5:0.05:0.95. Random segments: as many as '
        'the detector gives,\nwith lengths of annotated training segments. "Where": '
        'all classes are one. "Where and\nwhat": every segment is given the two '
        "classes that the recognizer's scores for the whole\nvideo name first, in all "
        'three rows)'
    )


def named_videos(scores: dict, annotations: str) -> str:
    """Count the videos that get the right class from the recognizer."""
    from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
        load_annotations,
    )

    videos = load_annotations(annotations)
    right = sum(
        scores['class'][int(np.argmax(row))] in {a.label for a in videos[name].actions}
        for name, row in scores['results'].items()
    )
    return f'{right} of {len(scores["results"])} videos'


def describe_memory(config: Config, config_file: Path) -> str:
    """Measure one training step of the detector's backbone in three modes."""
    from dr2net_mm.analysis.memory.command import backbone_memory, memory_table
    from dr2net_mm.analysis.subjects.backbones import config_backbone

    size, batch = tuple(config.video_size), config.train_dataloader.batch_size
    rows = backbone_memory(config_backbone(str(config_file)), size, batch)
    shape = 'x'.join(map(str, size))
    return (
        f'{memory_table(rows)}\n(one step of the backbone, {batch} videos of {shape}; '
        'counted, not timed)'
    )


def draw(results_file: Path, annotations: str, picture: Path) -> int:
    """Draw time lines of some validation videos; returns how many."""
    from dr2net_mm.analysis.video.timelines import (
        draw_timelines,
        load_predictions,
        timelines_of,
    )
    from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
        load_annotations,
    )

    timelines = timelines_of(
        load_annotations(annotations), load_predictions(str(results_file)), 'validation'
    )
    draw_timelines(
        timelines, picture, title='as many best-scored segments as there are annotated'
    )
    return len(timelines)


def describe_files(work_dir: Path, detector: Training, annotations: str) -> str:
    """Describe where things lie and what to type next."""
    return f"""Files
  checkpoint   {detector.checkpoint}
  predictions  {work_dir / 'results.json'}
  class scores {work_dir / 'scores.json'}
  time lines   {work_dir / 'timelines.png'}
  loss curve   {work_dir / 'training.png'}

What to type next
  . tools/setup_env.sh
  python tools/test.py {detector.config_file} {detector.checkpoint}
  python tools/analysis/plot_timeline.py {work_dir / 'results.json'} \\
      {annotations} --count 20 --top 5
  bash tools/video_first_run.sh --work-dir work_dirs/longer \\
      --cfg-options train_cfg.max_epochs=30"""


def summarize(options: Namespace) -> None:
    """Print the summary and draw the pictures."""
    from dr2net_mm.analysis.video.model_outputs import outputs_on_test_set
    from dr2net_mm.analysis.video.scores import video_scores
    from dr2net_mm.first_runs.chance_level import evaluate

    warnings.filterwarnings('ignore')
    # Each of many evaluations would write its table and its hints.
    MMLogger.get_instance('summary', log_level='ERROR')
    work_dir = options.work_dir
    detector = find_training(work_dir / 'detection', REMEDY)
    recognizer = find_training(work_dir / 'recognition', REMEDY)
    config = Config.fromfile(str(detector.config_file))
    clips = Config.fromfile(str(recognizer.config_file))
    annotations, root = config.test_evaluator.ann_file, Path(config.data_root)

    print('trained detector:', flush=True)
    results = outputs_on_test_set(config, str(detector.checkpoint))
    print('detector before training:', flush=True)
    untrained = outputs_on_test_set(config)
    print('recognizer on whole videos:', flush=True)
    scores = video_scores(
        clips,
        str(recognizer.checkpoint),
        annotations,
        str(root / 'videos'),
        (root / 'classes.txt').read_text().split(),
        ignored=['background'],
    )
    write_json(str(work_dir / 'scores.json'), scores)
    evaluate(
        results,
        config.test_evaluator,
        class_agnostic=False,
        classifier_scores=str(work_dir / 'scores.json'),
        classifier_top_k=1,
        outfile_prefix=str(work_dir / 'results'),
    )

    print(f'\n{describe_detector(detector.log)}')
    print(describe_recognizer(recognizer.log))
    print(f'            names the class of {named_videos(scores, annotations)}')
    print('All weights were random at the start; nothing pretrained was used.\n')
    print(
        compare_with_chance(
            results, untrained, config.test_evaluator, work_dir / 'scores.json'
        ),
        end='\n\n',
    )
    print(describe_memory(config, detector.config_file), end='\n\n')
    drawn = draw(work_dir / 'results.json', annotations, work_dir / 'timelines.png')
    draw_training(detector.log, SCORE, work_dir / 'training.png', 'detector')
    print(f'Picture of {drawn} validation videos, spread evenly over all', end='\n\n')
    print(describe_files(work_dir, detector, annotations))


def main() -> None:
    """Run the tool."""
    parser = tool_parser('video_first_run_summary.py', __doc__)
    parser.add_argument('work_dir', type=Path, help='where the trainings wrote')
    run_command(parser, summarize)


if __name__ == '__main__':
    main()
