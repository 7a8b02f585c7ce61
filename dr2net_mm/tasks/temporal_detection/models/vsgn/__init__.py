"""VSGN, a detector of actions in time, on the features of a video.

Video Self-Stitching Graph Network for Temporal Action Localization (Zhao, Thabet,
Ghanem; ICCV 2021) finds the start and the end of actions in an untrimmed video with
anchors on a temporal pyramid. On features [B, C, 256]:

- an **encoder** of five levels at strides 2 to 32, each a convolution beside a graph
  that joins every position to the ten nearest ones in feature space (xGN; with
  ``use_graph=False`` convolutions only), and a **decoder** that fuses them coarse to
  fine, 256 channels wide;
- a **first stage** with two anchors a location, 3 and 7.5 strides wide, 496 in all:
  a class tower and a segment tower;
- a **second stage** on the finest level: scores of start, end and action for each of
  the 256 cells, and an offset for either end of every proposal from the features
  around it;
- **inference** by class score × start score × end score, soft-NMS (σ = 0.5), 100
  proposals. They are class-agnostic; on ActivityNet an external classifier's
  video-level scores are multiplied in by the metric.

Trained with GIoU on anchors (IoU ≥ 0.6), focal loss (α = 0.35, γ = 2) on decoded
proposals, balanced cross-entropy on the boundary scores and GIoU on the adjusted
proposals (IoU ≥ 0.7). Settings are those of OpenTAD's ``configs/vsgn/anet_tsp_gcn.py``,
which reaches 36.89 average mAP on ActivityNet-v1.3 with TSP features (36.27 without the
graph).

Not included: video self-stitching, which OpenTAD leaves out too, so that the edges of
the graph stay within one time scale; and what only the original code has: the losses on
the encoder's levels and the fusion of the input into the finest level. Different here:
proposals are cut to the whole video, [0, T], where OpenTAD cuts to [0, T - 1]; anchors
that touch no ground truth are never a low-quality match; several classes are
independent sigmoids, where OpenTAD has a balanced softmax with background for
THUMOS-14.

Config::

    model = dict(type='VSGN', in_channels=512, temporal_length=256)

From raw frames, ``EndToEndLocalizer`` takes it as ``localizer``. The recipe: AdamW,
learning rate and weight decay 1e-4, batch 32, 15 epochs at a constant rate, gradient
norm clipped at 1.
"""

from .criterion import VSGNCriterion, VSGNOutputs
from .vsgn import VSGN

__all__ = ['VSGN', 'VSGNCriterion', 'VSGNOutputs']
