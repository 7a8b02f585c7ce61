"""Data structures of the video tasks: temporal segments and what is done with them."""

from .segments import segment_giou, segment_iou, soft_nms

__all__ = ['segment_giou', 'segment_iou', 'soft_nms']
