"""Video-level class scores of a recognizer, for the proposals of a localizer.

A class-agnostic localizer says where something happens; a recognizer that looks at
the whole video says what. ``ANetDetectionMetric(classifier_scores=...)`` multiplies
the two.
"""

import argparse
import copy
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.config import Config

from dr2net_mm.checkpoints.checkpoint_file import check_checkpoint_file
from dr2net_mm.cli.command import OneLineParser, positive_int, run_command, tool_parser
from dr2net_mm.cli.output import check_output, write_json
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    load_annotations,
)
from dr2net_mm.tasks.temporal_detection.datasets.video_folder import find_videos
from dr2net_mm.tasks.temporal_detection.datasets.video_localization import EXTENSIONS

from .model_outputs import outputs_on_test_set

# Transforms of mmaction that choose frames and know a number of clips.
_SAMPLERS = ('SampleFrames', 'UniformSample')


def config_of_videos(
    config: Config, files: Sequence[str], list_file: str, num_clips: int
) -> Config:
    """Copy a recognizer's config and let it test on given video files.

    Args:
        config: With a ``test_dataloader`` that reads video files.
        files: Paths of the videos.
        list_file: Where the annotation file of mmaction's ``VideoDataset`` goes.
        num_clips: Clips taken evenly from each video, whose scores are averaged.

    Raises:
        UserError: If the pipeline has no transform that samples clips.
    """
    config = copy.deepcopy(config)
    Path(list_file).write_text(''.join(f'{file}\t-1\n' for file in files))
    pipeline = config.test_dataloader.dataset.pipeline
    samplers = [step for step in pipeline if step['type'] in _SAMPLERS]
    if not samplers:
        raise UserError(
            f'{config.filename}: the test pipeline has none of {", ".join(_SAMPLERS)}, '
            'so the clips of a video cannot be chosen'
        )
    for step in samplers:
        step['num_clips'] = num_clips
        step['test_mode'] = True
    config.test_dataloader.batch_size = 1
    config.test_dataloader.dataset = dict(
        type='VideoDataset',
        ann_file=list_file,
        data_prefix=dict(video=''),
        delimiter='\t',
        pipeline=pipeline,
        test_mode=True,
    )
    return config


def class_probabilities(
    scores: Sequence[np.ndarray], names: Sequence[str], ignored: Sequence[str]
) -> List[List[float]]:
    """Normalize the scores of the classes that count to 1 for each video.

    Args:
        scores: Probabilities of each video, at least as many as there are names.
        names: Of the classes, in the order of the scores.
        ignored: Classes that are no action, such as the background.

    Raises:
        UserError: If the numbers do not fit or a class is unknown.
    """
    unknown = sorted(set(ignored) - set(names))
    if unknown:
        raise UserError(f'{unknown} is none of the classes {list(names)}')
    kept = [number for number, name in enumerate(names) if name not in ignored]
    rows = []
    for row in scores:
        if len(row) < len(names):
            raise UserError(
                f'the recognizer has {len(row)} classes, but {len(names)} names are '
                'given: is it the right file of class names?'
            )
        chosen = np.asarray(row, dtype=np.float64)[kept]
        rows.append((chosen / max(chosen.sum(), 1e-12)).tolist())
    return rows


def video_scores(
    config: Config,
    checkpoint: str,
    annotations: str,
    videos: str,
    names: Sequence[str],
    subset: str = 'validation',
    ignored: Sequence[str] = (),
    num_clips: int = 8,
) -> Dict[str, Any]:
    """Let a recognizer score every video of a subset.

    Args:
        config: Of the recognizer.
        checkpoint: Its weights.
        annotations: JSON in the format of ActivityNet-v1.3.
        videos: Folder of the video files.
        names: Of the recognizer's classes, in order.
        subset: Of the annotations; their segments are not looked at.
        ignored: Classes to leave out.
        num_clips: Clips taken from a video.

    Returns:
        ``{"class": [names], "results": {video id: [scores]}}``, what the argument
        ``classifier_scores`` of ``ANetDetectionMetric`` reads.

    Raises:
        DataFileError: If a video of the subset has no file.
    """
    database = load_annotations(annotations)
    ids = sorted(name for name, v in database.items() if v.belongs_to(subset))
    files = find_videos(videos, ids, 'v_', EXTENSIONS)
    missing = [name for name in ids if name not in files]
    if missing or not ids:
        raise DataFileError(
            f'{len(missing)} of the {len(ids)} videos of the subset {subset!r} have no '
            f'file in {videos!r}{": " + missing[0] if missing else ""}'
        )
    with tempfile.TemporaryDirectory() as scratch:
        changed = config_of_videos(
            config, [files[name] for name in ids], f'{scratch}/videos.txt', num_clips
        )
        outputs = outputs_on_test_set(changed, checkpoint)
    rows = class_probabilities(
        [output.pred_score.numpy() for output in outputs], names, ignored
    )
    kept = [name for name in names if name not in ignored]
    return {'class': kept, 'results': dict(zip(ids, rows))}


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/analysis/video_scores.py``."""
    run_command(_parser(), _command, arguments)


def _command(options: argparse.Namespace) -> None:
    check_output(options.out, '--out')
    check_checkpoint_file(options.checkpoint, 'CHECKPOINT')
    try:
        names = Path(options.classes).read_text().split('\n')
    except OSError as error:
        raise DataFileError(f'--classes {options.classes}: {error.strerror}') from None
    content = video_scores(
        load_config(options.config),
        options.checkpoint,
        options.annotations,
        options.videos,
        [name.strip() for name in names if name.strip()],
        options.subset,
        options.ignore,
        options.clips,
    )
    write_json(options.out, content)
    print(
        f'scores of {len(content["class"])} classes for {len(content["results"])} '
        f'videos: {options.out}'
    )


def _parser() -> OneLineParser:
    parser = tool_parser(
        'video_scores.py',
        'Let a trained recognizer score whole videos, for\n'
        "dict(type='ANetDetectionMetric', classifier_scores=OUT).",
        'Example:\n'
        '  python tools/analysis/video_scores.py CONFIG CHECKPOINT \\\n'
        '      --annotations data/spliced_clips/annotations.json \\\n'
        '      --videos data/spliced_clips/videos \\\n'
        '      --classes data/spliced_clips/classes.txt --ignore background \\\n'
        '      --out scores.json',
    )
    parser.add_argument('config', help='config of a recognizer that reads videos')
    parser.add_argument('checkpoint', help='its weights')
    for flag, text in (
        ('--annotations', 'JSON in the format of ActivityNet-v1.3'),
        ('--videos', 'folder of the video files'),
        ('--classes', 'file with the names of the classes, one a line, in order'),
        ('--out', 'JSON file to write'),
    ):
        parser.add_argument(flag, required=True, help=text)
    parser.add_argument(
        '--subset', default='validation', help='of the annotations (%(default)s)'
    )
    parser.add_argument(
        '--ignore',
        nargs='+',
        default=[],
        metavar='CLASS',
        help='classes that are no action, such as a background',
    )
    parser.add_argument(
        '--clips',
        type=positive_int,
        default=8,
        metavar='N',
        help='clips of a video, whose scores are averaged (default: %(default)s)',
    )
    return parser
