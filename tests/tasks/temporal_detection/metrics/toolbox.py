"""What the tests of the metric share: its definition by words, files and outputs."""

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from dr2net_mm.tasks.temporal_detection.metrics import ANetDetectionMetric

THRESHOLDS = [0.5 + 0.05 * step for step in range(10)]
# (video, start, end, class), and with a score for predictions.
Truth = List[Tuple[str, float, float, str]]
Prediction = Tuple[str, float, float, Optional[str], float]

SWIMMING = dict(
    subset='training',
    duration=9.0,
    annotations=[dict(segment=[0, 1], label='swim')],
)

TWO_CLASSES: Truth = [('a', 0, 10, 'run'), ('a', 20, 30, 'jump'), ('b', 0, 9, 'jump')]
UNLABELED: List[Prediction] = [
    ('a', 0, 10, None, 0.9),
    ('a', 20, 30, None, 0.8),
    ('b', 0, 9, None, 0.5),
]


def overlap(a: Tuple[float, float], b: Tuple[float, float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def definition(truth: Truth, predictions: List[Prediction], threshold: float) -> float:
    """mAP at one threshold by the words of the definition, without any shortcut."""
    precisions = []
    for label in sorted({t[3] for t in truth}):
        wanted = [t for t in truth if t[3] == label]
        taken: set = set()
        hits = []
        ranked = [p for p in predictions if p[3] == label]
        for video, start, end, _, _ in sorted(ranked, key=lambda p: -p[4]):
            best, best_overlap = None, threshold
            for index, (other, *segment, _) in enumerate(wanted):
                value = overlap((start, end), tuple(segment))
                if other == video and index not in taken and value >= best_overlap:
                    if best is None or value > best_overlap:
                        best, best_overlap = index, value
            hits.append(best is not None)
            taken.add(best)
        area, recall_before = 0.0, 0.0
        points = [
            (sum(hits[:n]) / len(wanted), sum(hits[:n]) / n)
            for n in range(1, len(hits) + 1)
        ]
        for index, (recall, _) in enumerate(points):
            best_precision = max(precision for _, precision in points[index:])
            area += (recall - recall_before) * best_precision
            recall_before = recall
        precisions.append(area)
    return sum(precisions) / len(precisions)


def annotation_file(folder: Path, truth: Truth, extra: Optional[dict] = None) -> str:
    database: Dict[str, dict] = {}
    for video, start, end, label in truth:
        entry = database.setdefault(
            video, dict(subset='validation', duration=100.0, annotations=[])
        )
        entry['annotations'].append(dict(segment=[start, end], label=label))
    database.update(extra or {})
    path = folder / 'annotations.json'
    path.write_text(json.dumps(dict(version='1.3', database=database, taxonomy=[])))
    return str(path)


def outputs(predictions: List[Prediction], prefix: str = 'v_') -> List[dict]:
    """What a localizer returns, a dict for each video."""
    videos: Dict[str, list] = {}
    for video, start, end, label, score in predictions:
        proposal: Dict[str, Any] = dict(score=score, segment=[start, end])
        if label is not None:
            proposal['label'] = label
        videos.setdefault(video, []).append(proposal)
    return [
        dict(video_name=f'{prefix}{video}', proposal_list=found)
        for video, found in videos.items()
    ]


def evaluate(metric: ANetDetectionMetric, predictions: List[Prediction]) -> dict:
    samples = outputs(predictions)
    metric.process(data_batch=None, data_samples=samples)
    return metric.evaluate(size=len(samples))
