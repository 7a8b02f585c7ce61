"""Errors of dataset files that name the file.

MM's loading transforms pass on what the decoder raises, often without a file name, and
decord may end the process instead.
"""

import functools
import importlib
from importlib.util import find_spec
from typing import Any, Callable, Dict, Optional

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.video_readers import (
    reading_problem,
    show_upright,
)

# Module -> its transforms that open a file named in the sample.
_LOADERS = {
    'mmcv.transforms': ('LoadImageFromFile',),
    'mmaction.datasets.transforms': (
        'DecordInit',
        'DecordDecode',
        'ImageDecode',
        'LoadAudioFeature',
        'OpenCVInit',
        'OpenCVDecode',
        'PIMSInit',
        'PyAVInit',
        'PyAVDecode',
        'RawFrameDecode',
    ),
}
# Of these, those whose readers have to be asked to turn pictures.
_TURNED = ('OpenCVInit', 'PIMSInit', 'PyAVInit')
_PATH_KEYS = ('img_path', 'filename', 'frame_dir', 'video_path', 'audio_path')


def _sample_path(results: Dict[str, Any]) -> str:
    for key in _PATH_KEYS:
        if isinstance(results.get(key), str):
            return results[key]
    return 'of an unnamed sample'


def _naming_the_file(transform: Callable) -> Callable:
    """Wrap a loading transform's method so that its errors name the sample's file."""

    @functools.wraps(transform)
    def named(self: Any, results: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        path = _sample_path(results)
        try:
            results = transform(self, results)
        except DataFileError:
            raise
        except FileNotFoundError as error:
            raise DataFileError(
                f'file {path} is listed in the annotations but does not exist; check '
                'data_root and data_prefix of the dataset'
            ) from error
        except ImportError:
            raise
        except Exception as error:
            raise DataFileError(
                f'cannot read {path} ({reading_problem(error)}); replace the file, or '
                'take it out of the annotations'
            ) from error
        if type(self).__name__ in _TURNED:
            show_upright(results)
        return results

    named.names_the_file = True  # type: ignore[attr-defined]
    return named


def _open_local_videos_by_path() -> None:
    """Let mmaction's ``DecordInit`` pass the path of a local file on to decord.

    It reads the file into memory first, where decord 0.6.0 ends the process with a
    segmentation fault on a truncated AVI file; by its path it is read as far as it
    goes.
    """
    from mmaction.datasets.transforms import DecordInit

    in_memory = DecordInit._get_video_reader
    if hasattr(in_memory, 'opens_by_path') or find_spec('decord') is None:
        return

    @functools.wraps(in_memory)
    def reader(self: DecordInit, filename: str) -> Any:
        if self.io_backend != 'disk':
            return in_memory(self, filename)
        import decord

        return decord.VideoReader(filename, num_threads=self.num_threads)

    reader.opens_by_path = True  # type: ignore[attr-defined]
    DecordInit._get_video_reader = reader


def name_files_in_errors(default_scope: Optional[str] = None) -> None:
    """Make MM's loading transforms raise :class:`DataFileError` for a bad file.

    Acts on this process and those forked from it; a dataset worker that is spawned
    raises the decoder's own error.

    Args:
        default_scope: the config's; mmaction's transforms are imported only for its
            own configs.
    """
    for module_name, names in _LOADERS.items():
        if module_name.split('.')[0] not in ('mmcv', default_scope):
            continue
        module = importlib.import_module(module_name)
        for name in names:
            cls = getattr(module, name, None)
            if cls is None or hasattr(cls.transform, 'names_the_file'):
                continue
            cls.transform = _naming_the_file(cls.transform)
    if default_scope == 'mmaction':
        _open_local_videos_by_path()
