"""Opening video files with decord."""

from typing import Any

from mmaction.datasets.transforms import DecordInit
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class DecordFileInit(DecordInit):
    """mmaction's ``DecordInit``, which lets decord read a local file by itself.

    ``DecordInit`` reads the whole file into memory first. Of an untrimmed video that is
    much, and decord 0.6.0 ends the process with a segmentation fault on a truncated
    AVI file in memory, where from a path it reports what is wrong.

    Args: as of ``DecordInit``; another ``io_backend`` than ``'disk'`` does what it does
        there.
    """

    def _get_video_reader(self, filename: str) -> Any:
        if self.io_backend != 'disk':
            return super()._get_video_reader(filename)
        try:
            import decord
        except ImportError:
            raise ImportError(
                'decord is not installed: pip install decord, or read videos with '
                'OpenCVInit and OpenCVDecode'
            ) from None
        return decord.VideoReader(filename, num_threads=self.num_threads)
