"""Reading the frames of a window."""

from typing import Any, Dict

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image

from dr2net_mm.errors import DataFileError

from ..windows import window_around


@TRANSFORMS.register_module()
class LoadVideoWindow(BaseTransform):
    """Decode the window around the annotated frame of a video file.

    Required keys: ``video_path``, ``frame`` (number of the annotated frame, from 0) and
    ``window_size``. Added keys: ``frames``, RGB uint8 arrays [H, W, 3], and
    ``annotated``, the place of the annotated frame in the window.

    Raises:
        DataFileError: If the file is missing or cannot be decoded.
    """

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Add the decoded frames."""
        import decord

        path, size = results['video_path'], results['window_size']
        try:
            reader = decord.VideoReader(path, num_threads=1)
            numbers = window_around(results['frame'], size, len(reader))
            frames = reader.get_batch(numbers).asnumpy()
        # decord has error classes of its own.
        except Exception as error:
            reason = ''.join(str(error).strip().splitlines()[:1])
            raise DataFileError(
                f'video {path} cannot be read ({reason}): copy it again'
            ) from None
        results['frames'] = list(frames)
        results['annotated'] = [size // 2]
        return results


@TRANSFORMS.register_module()
class LoadFrameFiles(BaseTransform):
    """Read the frames of a window from image files.

    Required key: ``frame_paths``, and ``annotated`` if not every frame is. Added key:
    ``frames``, RGB uint8 arrays [H, W, 3].

    Raises:
        DataFileError: If a file is missing or damaged.
    """

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Add the frames of the files."""
        results['frames'] = [read_rgb(path) for path in results['frame_paths']]
        results.setdefault('annotated', list(range(len(results['frames']))))
        return results


def read_rgb(path: str) -> np.ndarray:
    """Read an RGB picture uint8 [H, W, 3].

    Raises:
        DataFileError: If the file is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))
    except (OSError, SyntaxError) as error:
        raise DataFileError(f'frame {path} cannot be read ({error})') from None
