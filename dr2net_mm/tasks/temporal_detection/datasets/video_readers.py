"""Differences of the readers of video files: order of frames, rotation, failure."""

from typing import Any, Dict

import numpy as np

from dr2net_mm.errors import DataFileError


def show_upright(results: Dict[str, Any]) -> None:
    """Let an opened video be read as its rotation metadata says.

    Phones store pictures as the sensor lies and note how to turn them. decord turns
    them by itself, OpenCV on demand, PyAV and PIMS not at all.

    Args:
        results: Sample with ``video_reader`` and ``filename``.

    Raises:
        DataFileError: If the reader cannot turn the pictures of a file that asks for
            it.
    """
    import cv2

    reader = results.get('video_reader')
    capture = getattr(reader, '_vcap', None)
    if capture is not None:
        if int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360:
            if not capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1):
                raise _not_turned(results, 'this build of OpenCV')
    elif reader is not None and not hasattr(reader, 'get_frame_timestamp'):
        # Neither decord's nor OpenCV's: PyAV, alone or inside PIMS.
        capture = cv2.VideoCapture(str(results.get('filename', '')))
        degrees = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        capture.release()
        if degrees:
            raise _not_turned(results, 'PyAV' if hasattr(reader, 'streams') else 'PIMS')


class FramesInOrder:
    """Frames of a file by number, read one after another with OpenCV.

    OpenCV finds a frame by its number at the average rate, which is another frame where
    the rate varies; so it must not seek.

    Args:
        path: The video file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._capture: Any = None
        self._number, self._frame = -1, None

    def __getitem__(self, number: int) -> np.ndarray:
        """Return a frame [H, W, 3] in the order blue, green, red."""
        import cv2

        if self._capture is None or number < self._number:
            self._capture = cv2.VideoCapture(self.path)
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            self._number = -1
        while self._number < number:
            if not self._capture.grab():
                raise DataFileError(
                    f'{self.path} ends at frame {self._number}, before {number}'
                )
            self._number += 1
            self._frame = None
        frame = self._frame
        if frame is None:
            frame = self._frame = self._capture.retrieve()[1]
        return frame


def read_in_order(results: Dict[str, Any]) -> None:
    """Let frames of a variable rate be found by OpenCV, as other readers find them."""
    if hasattr(results.get('video_reader'), '_vcap'):
        path = results.get('new_path') or results['filename']
        results['video_reader'] = FramesInOrder(str(path))


def _not_turned(results: Dict[str, Any], reader: str) -> DataFileError:
    return DataFileError(
        f'{results.get("filename")} is stored on its side, with a note how to turn it, '
        f'which {reader} does not follow; read it with DecordInit and DecordDecode, or '
        'encode it upright'
    )


def reading_problem(error: Exception) -> str:
    """Explain in one line why a video cannot be read."""
    text = ' '.join(str(error).split())
    if 'from_size == to_size' in text:
        return (
            'decord cannot decode pictures of this width: it fails at some widths that '
            '32 does not divide, such as 2, 16 and 48; read it with OpenCVInit and '
            'OpenCVDecode, or encode it wider'
        )
    return f'{type(error).__name__}: {text}'
