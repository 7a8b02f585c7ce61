"""What goes with the points of a sample."""

from mmengine.structures import BaseDataElement


class PointSample(BaseDataElement):
    """Labels and predictions of a part of a cloud.

    Data fields, each with one entry a point:

    - ``labels``: int64 [N], the class, or 255 where none is known.
    - ``indices``: int64 [N], which points of the subsampled cloud these are.
    - ``valid``: bool [N], False of points that repeat others to fill the sample.
    - ``logits``: float32 [N, classes], of a prediction.

    Meta information: ``cloud``, the number of the cloud in the data set; ``center``,
    the place of the sample in it, meters.
    """
