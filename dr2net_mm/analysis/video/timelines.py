"""Picture of predicted against annotated segments of videos, on their time lines."""

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dr2net_mm.cli.command import OneLineParser, positive_int, run_command, tool_parser
from dr2net_mm.cli.output import check_output
from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    AnnotatedVideo,
    load_annotations,
    without_prefix,
)

TRUTH_COLOR, PREDICTION_COLOR = '#d09000', '#1f77b4'
_SHOWN_VIDEOS = 8


class Prediction(NamedTuple):
    """A predicted segment in seconds."""

    start: float
    end: float
    score: float
    label: Optional[str] = None


class Timeline(NamedTuple):
    """Drawn segments of one video; times in seconds, predictions best first."""

    video: AnnotatedVideo
    predictions: List[Prediction]


def load_predictions(path: str) -> Dict[str, List[Prediction]]:
    """Read predicted segments.

    Args:
        path: JSON of one of the forms ``{"results": {video: [{"segment": [start, end],
            "score": s, "label": name}]}}`` (ActivityNet's, and what mmaction's
            ``ANetMetric`` writes), the inner dictionary alone, or a list of
            ``{"video_name": video, "proposal_list": [...]}``. Labels may be missing.

    Returns:
        Predictions by video id without ``v_``, the best-scored first.

    Raises:
        DataFileError: if the file is missing or of another form.
    """
    try:
        content = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise DataFileError(f'there is no file {path}') from None
    except ValueError as error:
        raise DataFileError(f'{path} is not a JSON file: {error}') from None
    if isinstance(content, dict):
        content = content.get('results', content)
    try:
        if isinstance(content, list):
            content = {v['video_name']: v['proposal_list'] for v in content}
        return {
            without_prefix(name): sorted(
                map(_prediction, proposals), key=lambda p: -p.score
            )
            for name, proposals in content.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataFileError(
            f'{path} holds no predicted segments ({type(error).__name__}: {error}); '
            'expected {"results": {video: [{"segment": [start, end], "score": s}]}}'
        ) from None


def _prediction(proposal: Dict[str, Any]) -> Prediction:
    start, end = proposal['segment']
    return Prediction(
        float(start), float(end), float(proposal['score']), proposal.get('label')
    )


def choose_videos(names: Sequence[str], count: int) -> List[str]:
    """Choose names spread evenly over the sorted list, not by their results.

    From the first to the last: a plain stride would meet the same class again and again
    where classes follow one another in turn.
    """
    names = sorted(names)
    count = min(count, len(names))
    step = (len(names) - 1) / max(count - 1, 1)
    return [names[round(number * step)] for number in range(count)]


def shown_predictions(
    timeline: Timeline, top: Optional[int] = None
) -> List[Prediction]:
    """Return the ``top`` best predictions; None: as many as annotated segments.

    The second takes no score threshold, which could be chosen to flatter.
    """
    return timeline.predictions[: top or len(timeline.video.actions)]


def draw_timelines(
    timelines: Sequence[Timeline],
    out: Path,
    top: Optional[int] = None,
    title: str = '',
) -> None:
    """Draw a line for each video, annotated above predicted segments, to a PNG file.

    A prediction is the fainter the lower its score is beside the best of its video.

    Args:
        timelines: the videos, from top to bottom.
        out: the picture.
        top: see :func:`shown_predictions`.
        title: of the picture.
    """
    height = 0.9 + 0.62 * len(timelines)
    figure = Figure(figsize=(9, height), layout='constrained')
    axes = figure.add_subplot()
    for row, timeline in enumerate(timelines):
        video, shown = timeline.video, shown_predictions(timeline, top)
        axes.broken_barh(
            [(0, video.duration)], (row - 0.36, 0.72), facecolor='#eeeeee', zorder=0
        )
        for action in video.actions:
            span = (action.start, action.end)
            _bar(axes, span, row - 0.34, TRUTH_COLOR, 1.0, action.label)
        best = shown[0].score if shown else 1.0
        for prediction in reversed(shown):
            share = prediction.score / best if best > 0 else 1.0
            span = (prediction.start, prediction.end)
            strength = 0.35 + 0.65 * max(0.0, min(1.0, share))
            text = f'{prediction.label or ""} {prediction.score:.2f}'.strip()
            _bar(axes, span, row + 0.02, PREDICTION_COLOR, strength, text)
    axes.set_yticks(range(len(timelines)), [t.video.video_id for t in timelines])
    axes.set(xlabel='time (s)', ylim=(len(timelines) - 0.4, -0.6))
    axes.set_xlim(0, max(timeline.video.duration for timeline in timelines))
    axes.tick_params(axis='y', length=0)
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)
    handles = [
        Line2D([], [], color=TRUTH_COLOR, linewidth=6, label='annotated'),
        Line2D([], [], color=PREDICTION_COLOR, linewidth=6, label='predicted (score)'),
    ]
    figure.legend(handles=handles, loc='outside upper right', ncols=2, frameon=False)
    if title:
        axes.set_title(title, fontsize='medium', loc='left')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)


def _bar(
    axes: Any,
    span: Tuple[float, float],
    bottom: float,
    color: str,
    strength: float,
    text: str,
) -> None:
    start, end = span
    axes.broken_barh(
        [(start, end - start)],
        (bottom, 0.32),
        facecolor=color,
        alpha=strength,
        edgecolor='white',
    )
    axes.text(
        (start + end) / 2,
        bottom + 0.17,
        text,
        ha='center',
        va='center',
        fontsize=6,
        color='black',
        clip_on=True,
    )


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/analysis/plot_timeline.py``."""
    run_command(_parser(), _command, arguments)


def timelines_of(
    videos: Dict[str, AnnotatedVideo],
    predictions: Dict[str, List[Prediction]],
    subset: str,
    chosen: Optional[Sequence[str]] = None,
    count: int = _SHOWN_VIDEOS,
) -> List[Timeline]:
    """Return the videos of a subset with their predictions.

    Args:
        videos: annotations by video id.
        predictions: by video id; a video without any is drawn without.
        subset: of the annotations.
        chosen: video ids; ``count`` of those with predictions if None.
        count: see ``chosen``.

    Raises:
        UserError: if a video is unknown or no video has predictions.
    """
    inside = {name: v for name, v in videos.items() if v.belongs_to(subset)}
    if not inside:
        subsets = sorted({str(video.subset) for video in videos.values()})
        raise UserError(f'there is no subset {subset!r}; there are {subsets}')
    if chosen is None:
        predicted = [name for name in inside if name in predictions]
        if not predicted:
            raise UserError(
                f'none of the {len(inside)} videos of the subset {subset!r} has '
                'predictions: do results and annotations belong together?'
            )
        chosen = choose_videos(predicted, count)
    chosen = [name if name in inside else without_prefix(name) for name in chosen]
    unknown = [name for name in chosen if name not in inside]
    if unknown:
        raise UserError(
            f'{", ".join(unknown)} is not in the subset {subset!r}, which holds '
            f'{", ".join(sorted(inside)[:3])} ...'
        )
    return [Timeline(inside[name], predictions.get(name, [])) for name in chosen]


def _command(options: argparse.Namespace) -> None:
    out = options.out or Path(options.results).with_suffix('.png')
    check_output(str(out), '--out')
    timelines = timelines_of(
        load_annotations(options.annotations),
        load_predictions(options.results),
        options.subset,
        options.videos,
        options.count,
    )
    draw_timelines(timelines, out, options.top, Path(options.results).stem)
    print(f'picture of {len(timelines)} videos: {out}')


def _parser() -> OneLineParser:
    parser = tool_parser(
        'plot_timeline.py',
        'Draw predicted against annotated segments of videos.',
        'Example:\n'
        '  python tools/analysis/plot_timeline.py work_dirs/video_first_run/'
        'results.json \\\n'
        '      data/spliced_clips/annotations.json --count 6',
    )
    parser.add_argument('results', help='JSON with predicted segments')
    parser.add_argument(
        'annotations', help="JSON in the format of ActivityNet-v1.3 or mmaction's"
    )
    parser.add_argument(
        '--subset', default='validation', help='of the annotations (%(default)s)'
    )
    parser.add_argument(
        '--videos',
        nargs='+',
        metavar='ID',
        help='these videos; without it some spread evenly over all that have '
        'predictions',
    )
    parser.add_argument(
        '--count',
        type=positive_int,
        default=_SHOWN_VIDEOS,
        metavar='N',
        help='number of videos (default: %(default)s)',
    )
    parser.add_argument(
        '--top',
        type=positive_int,
        metavar='N',
        help='draw the N best predictions of a video (default: as many as it has '
        'annotated segments, so that no score threshold flatters)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='PNG',
        help='picture to write (default: RESULTS.png beside the results)',
    )
    return parser
