"""Search of the file of a video in a folder."""

import os.path as osp
from typing import Dict, Iterable, Optional, Sequence

from mmengine.fileio import join_path, list_dir_or_file

from dr2net_mm.errors import DataFileError


def find_videos(
    folder: str,
    video_ids: Iterable[str],
    name_prefix: str,
    extensions: Sequence[str],
    backend_args: Optional[dict] = None,
) -> Dict[str, str]:
    """Find the files of videos by their names, reading the folder once.

    Args:
        folder: Holds the files; folders in it are not searched.
        video_ids: Ids of the videos.
        name_prefix: What file names have before the id. A file without it is taken
            where there is none with it.
        extensions: Endings of video files in lower case, the preferred one first.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        ``{video id: path}`` of the videos that have a file.

    Raises:
        DataFileError: If the folder does not exist.
    """
    try:
        names = list(
            list_dir_or_file(folder, list_dir=False, backend_args=backend_args)
        )
    except (FileNotFoundError, NotADirectoryError):
        raise DataFileError(
            f'video folder {folder!r} does not exist; set data_root and '
            "data_prefix=dict(video=...) of the dataset to the videos' folder"
        ) from None
    ranks = {extension: rank for rank, extension in enumerate(extensions)}
    by_stem: Dict[str, str] = {}
    for name in sorted(names):
        stem, extension = osp.splitext(name)
        rank = ranks.get(extension.lower())
        if rank is None:
            continue
        before = by_stem.get(stem)
        if before is None or rank < ranks[osp.splitext(before)[1].lower()]:
            by_stem[stem] = name
    found = {}
    for video_id in video_ids:
        name = by_stem.get(f'{name_prefix}{video_id}') or by_stem.get(video_id)
        if name is not None:
            found[video_id] = join_path(folder, name, backend_args=backend_args)
    return found
