"""S3DIS: six areas of indoor rooms, 13 classes."""

from pathlib import Path
from typing import Any, List, Sequence

from mmengine.registry import DATASETS

from .cloud import Cloud
from .s3dis_areas import load_area
from .s3dis_text import AREAS, CLASSES
from .sphere_dataset import SphereDataset


@DATASETS.register_module()
class S3DISDataset(SphereDataset):
    """Spheres of the areas of S3DIS, which ``tools/data/s3dis.py`` has prepared.

    Args:
        data_root: Folder of the prepared files, ``Area_1.npz`` and so on.
        areas: Numbers of the areas.
        **kwargs: Arguments of :class:`SphereDataset`.

    Raises:
        DataFileError: If a file is missing or cannot be used.
        ValueError: If there is no area of a number, or another argument is out of
            range.

    Source: Armeni et al., CVPR 2016; ``S3DISSphere`` of openpoints.
    """

    CLASSES = CLASSES

    def __init__(self, data_root: str, areas: Sequence[int], **kwargs: Any) -> None:
        areas = tuple(areas)
        if not areas or len(set(areas)) < len(areas) or not set(areas) <= set(AREAS):
            raise ValueError(
                f'areas is {list(areas)}; give different ones of {list(AREAS)}'
            )
        self.data_root, self.areas = Path(data_root), areas
        super().__init__(**kwargs)

    def load_clouds(self) -> List[Cloud]:
        """Load the clouds of the split."""
        return [load_area(self.data_root, area) for area in self.areas]
