"""Models on videos: localizers that train from frames, and recognizers."""

from typing import Any

from torch import Tensor, nn

#: Parts of a model by which it is one on videos.
HEADS = ('localizer', 'cls_head')


def has_video_head(model: Any) -> bool:
    """Return whether a model, or its arguments, are of one on videos."""
    if isinstance(model, nn.Module):
        return any(hasattr(model, head) for head in HEADS)
    return any(head in model for head in HEADS)


def video_outputs(model: nn.Module, frames: Tensor) -> Any:
    """Return everything of a model's outputs that a loss uses.

    Args:
        model: The model.
        frames: [B, C, T, H, W].
    """
    if hasattr(model, 'localizer'):
        return model(frames, mode='tensor')
    # A recognizer takes the clips of a video, [B, clips, C, T, H, W].
    return model.extract_feat(frames[:, None], stage='head')[0]
