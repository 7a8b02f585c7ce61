"""Everything that is wrong in a folder of a data set, found before training."""

import json
import os.path as osp
from collections import defaultdict
from glob import glob
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from dr2net_mm.errors import DataFileError

from .a2d_files import (
    UNUSABLE_VIDEO,
    Sentence,
    read_instances,
    read_missed_videos,
    read_sentences,
    read_video_subsets,
)
from .jhmdb_files import read_person_masks
from .jhmdb_sentences import read_sentences as read_jhmdb_sentences
from .palette_masks import read_palette
from .sentences import normalized
from .transforms.load_frames import read_rgb

#: By how many pixels masks may differ from their frames; resizing makes up for them.
SIZE_TOLERANCE = 2


class Part(NamedTuple):
    """A part of a data set that is checked by itself.

    Attributes:
        name: Of the video.
        check: Gives what is wrong, a line each.
    """

    name: str
    check: Callable[[], List[str]]


#: Describes the first sentence that is too long, or returns None.
TooLong = Callable[[Sequence[str]], Optional[str]]


def _nothing(sentences: Sequence[str]) -> None:
    return None


def _too_long(too_long: TooLong, texts: Sequence[str]) -> List[str]:
    """Return a line for every sentence that is too long."""
    return [problem for text in texts for problem in [too_long([text])] if problem]


def a2d_parts(root: str, too_long: TooLong = _nothing) -> Iterator[Part]:
    """Yield parts of A2D-Sentences: the tables, then every video that has a sentence.

    Raises:
        DataFileError: If a table cannot be read.
    """
    texts = osp.join(root, 'text_annotations')
    subsets = read_video_subsets(osp.join(root, 'Release/videoset.csv'))
    missed = {*read_missed_videos(osp.join(texts, 'a2d_missed_videos.txt'))}
    sentences: Dict[str, List[Sentence]] = defaultdict(list)
    for sentence in read_sentences(osp.join(texts, 'a2d_annotation.txt')):
        if sentence.video not in missed | {UNUSABLE_VIDEO}:
            sentences[sentence.video].append(sentence)
    for video, found in sentences.items():
        unlisted = video not in subsets

        def check(
            video: str = video,
            found: List[Sentence] = found,
            unlisted: bool = unlisted,
        ) -> List[str]:
            problems = ['is not in Release/videoset.csv'] if unlisted else []
            problems += _too_long(too_long, [sentence.text for sentence in found])
            return problems + _check_a2d_video(root, video, found)

        yield Part(video, check)


def _check_a2d_video(root: str, video: str, sentences: Sequence[Sentence]) -> List[str]:
    problems = []
    path = osp.join(root, 'Release/clips320H', f'{video}.mp4')
    shape, length = (0, 0), 0
    try:
        shape, length = video_size(path)
    except DataFileError as error:
        problems.append(str(error))
    folder = osp.join(root, 'text_annotations/a2d_annotation_with_instances', video)
    seen: set = set()
    files = sorted(glob(osp.join(folder, '*.h5')))
    if not files:
        problems.append(f'{folder} holds no annotations')
    for file in files:
        try:
            instances = read_instances(file)
        except DataFileError as error:
            problems.append(str(error))
            continue
        ids = instances.ids.tolist()
        seen.update(ids)
        if len(ids) != len(set(ids)):
            problems.append(f'{file} lists an instance twice: {ids}')
        size = instances.masks.shape[1:]
        if length and np.abs(np.subtract(size, shape)).max() > SIZE_TOLERANCE:
            problems.append(f'{file} has masks of {size} for frames of {shape}')
        frame = int(osp.splitext(osp.basename(file))[0])
        if length and not 1 <= frame <= length:
            problems.append(f'{file} is of frame {frame}; the video has {length}')
    problems += [
        f'the sentence {sentence.text!r} means the instance {sentence.instance}, which '
        'no annotation has'
        for sentence in sentences
        if files and sentence.instance not in seen
    ]
    return problems


def video_size(path: str) -> tuple:
    """Return height and width, and number of frames, of a video.

    Raises:
        DataFileError: If it is missing, or its first, middle or last frame cannot be
            decoded.
    """
    import decord

    if not osp.exists(path):
        raise DataFileError(f'{path} is missing')
    try:
        reader = decord.VideoReader(path, num_threads=1)
        length = len(reader)
        frames = reader.get_batch([0, length // 2, length - 1]).asnumpy()
    # decord has error classes of its own.
    except Exception as error:
        reason = ''.join(str(error).strip().splitlines()[:1])
        raise DataFileError(f'{path} cannot be decoded ({reason})') from None
    return tuple(frames.shape[1:3]), length


def jhmdb_parts(root: str, too_long: TooLong = _nothing) -> Iterator[Part]:
    """Yield the videos of JHMDB-Sentences.

    Raises:
        DataFileError: If the sentences cannot be read.
    """
    folders = {
        osp.basename(folder): folder
        for folder in glob(osp.join(root, 'Rename_Images', '*', '*'))
    }
    for video, text in read_jhmdb_sentences(osp.join(root, 'jhmdb_annotation.txt')):

        def check(video: str = video, text: str = text) -> List[str]:
            if not text.strip():
                return ['its sentence is empty']
            problems = _too_long(too_long, [normalized(text)])
            if video not in folders:
                return [*problems, f'{root}/Rename_Images has no folder of it']
            return problems + _check_jhmdb_video(root, folders[video])

        yield Part(video, check)


def _check_jhmdb_video(root: str, folder: str) -> List[str]:
    action, video = folder.split('/')[-2:]
    files = sorted(glob(osp.join(folder, '*.png')))
    if not files:
        return [f'{folder} holds no frames']
    try:
        shape = read_rgb(files[0]).shape[:2]
        path = osp.join(root, 'puppet_mask', action, video, 'puppet_mask.mat')
        masks = read_person_masks(path)
    except DataFileError as error:
        return [str(error)]
    problems = []
    numbers = [int(osp.splitext(osp.basename(file))[0]) for file in files]
    if numbers != list(range(1, len(files) + 1)):
        problems.append(f'{folder}: frames are not numbered from 1 without gaps')
    if masks.shape[1:] != shape:
        problems.append(f'{path} has masks of {masks.shape[1:]} for frames of {shape}')
    return problems


def ref_youtube_vos_parts(root: str, too_long: TooLong = _nothing) -> Iterator[Part]:
    """Yield the videos of both subsets of Ref-YouTube-VOS.

    Raises:
        DataFileError: If the expressions cannot be read.
    """
    expressions = {}
    for subset in ('train', 'valid', 'test'):
        path = osp.join(root, 'meta_expressions', subset, 'meta_expressions.json')
        try:
            with open(path, encoding='utf-8') as file:
                expressions[subset] = json.load(file)['videos']
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataFileError(f'{path} is no list of expressions ({error})') from None
    for subset in ('train', 'valid'):
        for name, video in sorted(expressions[subset].items()):
            if subset == 'valid' and name in expressions['test']:
                continue

            def check(
                name: str = name, video: dict = video, subset: str = subset
            ) -> List[str]:
                texts = [e.get('exp', '') for e in video['expressions'].values()]
                problems = _too_long(too_long, [normalized(text) for text in texts])
                folder = osp.join(root, subset)
                return problems + _check_youtube_video(folder, name, video)

            yield Part(f'{subset}/{name}', check)


def _check_youtube_video(folder: str, name: str, video: dict) -> List[str]:
    problems, seen = [], set()
    annotated = osp.basename(folder) == 'train'
    for frame in video['frames']:
        try:
            shape = read_rgb(osp.join(folder, 'JPEGImages', name, f'{frame}.jpg')).shape
            if not annotated:
                continue
            path = osp.join(folder, 'Annotations', name, f'{frame}.png')
            numbers = read_palette(path)
        except DataFileError as error:
            problems.append(str(error))
            continue
        seen.update(np.unique(numbers).tolist())
        if numbers.shape != shape[:2]:
            problems.append(f'{path} is of {numbers.shape} for a frame of {shape[:2]}')
    for number, entry in video['expressions'].items():
        if not entry.get('exp', '').strip():
            problems.append(f'expression {number} is empty')
        elif annotated and int(entry['obj_id']) not in seen:
            problems.append(
                f'expression {number} means the object {entry["obj_id"]}, which no '
                'frame shows'
            )
    return problems


PARTS: Dict[str, Callable[[str, TooLong], Iterator[Part]]] = {
    'a2d': a2d_parts,
    'jhmdb': jhmdb_parts,
    'ref-youtube-vos': ref_youtube_vos_parts,
}
