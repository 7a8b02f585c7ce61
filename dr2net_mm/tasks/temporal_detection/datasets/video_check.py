"""Trying the videos of a data set without decoding all of them."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Callable, Iterator, Optional, Tuple

from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope

from dr2net_mm.errors import UserError

from .video_readers import reading_problem


class VideoReader:
    """The part of a data set's pipeline that reads frames, for three of them.

    Args:
        options: Config of a ``VideoLocalizationDataset``.
        scope: Default scope of the config.

    Raises:
        UserError: If it is another data set, or its pipeline decodes nothing.
    """

    def __init__(self, options: dict, scope: str) -> None:
        init_default_scope(scope)
        if options['type'] != 'VideoLocalizationDataset':
            raise UserError(
                f'the data set is a {options["type"]}; only the videos of a '
                'VideoLocalizationDataset can be checked'
            )
        steps = options['pipeline']
        decoding = [i for i, x in enumerate(steps) if x['type'].endswith('Decode')]
        if not decoding:
            raise UserError('the pipeline of the data set decodes no video')
        self.steps = [TRANSFORMS.build(step) for step in steps[: decoding[0] + 1]]
        self.dataset = DATASETS.build({**options, 'pipeline': []})

    def __len__(self) -> int:
        return len(self.dataset)

    def __call__(self, index: int) -> Tuple[str, str]:
        """Name of a video, and what is wrong with it or an empty string."""
        results = self.dataset.get_data_info(index)
        name, path = results['video_name'], results['filename']
        try:
            for step in self.steps[:-1]:
                results = step(results)
            frames = results['frame_inds'].ravel()
            results['frame_inds'] = frames[[0, len(frames) // 2, -1]]
            self.steps[-1](results)
        except ImportError:
            raise
        except Exception as error:
            reason = ' '.join(str(error).split())
            if not isinstance(error, UserError):
                reason = reading_problem(error)
            return name, reason if path in reason else f'{path}: {reason}'
        return name, ''


_reader: Optional[Callable[[int], Tuple[str, str]]] = None


def _read(index: int) -> Tuple[str, str]:
    assert _reader is not None, 'read_all sets it before it starts processes'
    return _reader(index)


def read_all(reader: VideoReader, workers: int) -> Iterator[Tuple[str, str]]:
    """Yield the results of all videos in order, read by one or more processes.

    Args:
        reader: What reads a video.
        workers: Processes, 0 for this one alone.

    Raises:
        UserError: If a decoder crashes, which ends its process.
    """
    global _reader
    indices = range(len(reader))
    if not workers:
        yield from map(reader, indices)
        return
    # Forked processes share the annotations.
    _reader = reader
    with ProcessPoolExecutor(workers, get_context('fork')) as pool:
        try:
            yield from pool.map(_read, indices)
        except BrokenProcessPool:
            raise UserError(
                'a video crashes the decoder and the process that runs it; use '
                'DecordFileInit or OpenCVInit in the pipeline'
            ) from None
