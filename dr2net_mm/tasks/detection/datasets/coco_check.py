"""Check of a COCO-format file before anything is trained on it.

A file that is checked without an error is built, trained on and evaluated by mmdet's
``CocoDataset`` and ``CocoMetric`` as it was meant; what mmdet leaves out silently is
counted. Consequences and remedies: docs/data_checks.md.
"""

import gc
from typing import List, NamedTuple, Tuple

from .coco_boxes import check_annotations
from .coco_classes import check_classes, labels_of
from .coco_findings import CocoUse, Entry, Finding
from .coco_structure import check_structure, load_json


class CocoReport(NamedTuple):
    """Findings of a file, the class of each label, and its images."""

    findings: List[Finding]
    labels: Tuple[str, ...]
    images: List[Entry]

    @property
    def errors(self) -> List[Finding]:
        """Findings with which the file must not be used."""
        return [finding for finding in self.findings if finding.is_error]


def check_coco_file(path: str, use: CocoUse) -> CocoReport:
    """Check an annotation file for a use; COCO's own takes seconds.

    Args:
        path: The JSON file.
        use: What a config does with it.
    """
    # The garbage collector would visit millions of objects again and again.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _check(path, use)
    finally:
        if collects:
            gc.enable()


def _check(path: str, use: CocoUse) -> CocoReport:
    content, finding = load_json(path)
    findings = [finding] if finding else check_structure(content, path)
    if findings:
        return CocoReport(findings, (), [])
    findings = check_classes(content, path, use)
    if not findings:
        findings = check_annotations(content, path, use)
    images = [
        Entry(image['file_name'], image['width'], image['height'])
        for image in content['images']
    ]
    return CocoReport(findings, labels_of(content, use.classes), images)


def evenly(images: List[Entry], count: int) -> List[Entry]:
    """Return ``count`` images spread over the file; all if there are no more."""
    if len(images) <= count:
        return images
    return [images[i * len(images) // count] for i in range(count)]
