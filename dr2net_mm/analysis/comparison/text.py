"""Text of ``docs/comparison.md`` that no record changes."""

TITLE = '# Ours against everything else'

READING = """\
## How to read this page

`tools/analysis/comparison.py` writes it from the files in `evidence/comparison`; a
test makes it again from them. The same network, the same input, one training step in
float32 without a head; the loss is the sum of the outputs, and lets go of them.

- **Peak**: most bytes of activations at once, counted storage by storage on meta
  tensors, for every row (`tools/analysis/memory.py`), which agrees with what torch's
  CPU allocator hands out; what a kernel allocates inside is not seen.
- **Moved**: bytes that go to the host and come back. The count takes the host's
  memory as free.
- **Work**: multiply-adds, relative to conventional training.
- **Gradients and AdamW**: bytes of the gradients and of the state of torch's AdamW
  for what is trained. **Everything**: activations, weights, gradients and AdamW, most
  at once.
- **Gradient error**: |g − r| / |r| over all parameters, against the same network with
  everything stored in float32, random weights and inputs. Of `dr2` the reference has
  float streams too, so the error of exact arithmetic is the rounding of its streams
  to 2⁻¹⁶; what it recomputes is equal bit for bit (*of recomputation* in the table of
  engines). *autograd*: what is trained gets its gradients from ordinary autograd.

- **conventional**: the MM stack's own class.
- **with_cp**: its own `with_cp=True`.
- **block-wise checkpoint**: `torch.utils.checkpoint`, not reentrant, around each
  block.
- **selective checkpoint**: the same, with `create_selective_checkpoint_contexts`:
  results of matrix products and of fused attention are kept.
- **partitioner, budget B**: torch's min-cut partitioner with
  `torch._functorch.config.activation_memory_budget = B`, the whole backbone one
  region; its graphs run operator by operator, as with `torch.compile`'s `aot_eager`:
  the cut is made for inductor's fused kernels, which would keep less and run faster.
- **offload**: saved tensors wait on the host (`save_on_cpu`, without weights, and
  each tensor once).
- **quantized, b bits**: saved tensors in b bits, groups of 256 with a smallest value
  and a step each, rounded at random (ActNN, without its choice of bits by layer).
- **frozen backbone**: no gradient below its outputs; a trained scalar on them stands
  for a head.
- **LoRA, rank 8**: A and B at every linear layer; everything else frozen, without
  LoRA's dropout.
- **adapters, width 64**: after every block, as in Mona: scaled norm, 64 channels,
  depthwise convolutions of 3, 5 and 7, GELU; Mona has two a block, and dropout, which
  this has not.
- **dr2 exact, float**: this project at (α, β) = (1, 0.1), exact and with the
  arithmetic of the paper.
- **dr2 exact, budget B**: with `memory_budget=B`, as a share of conventional
  training.
"""

DROP_PATH = """\
Torch's partitioner draws drop path anew where it recomputes it, so that its gradients
can be wrong below a budget of 1 in a network that has drop path or dropout, as these
have ([pytorch/pytorch#190758](https://github.com/pytorch/pytorch/issues/190758), also
with inductor). Without drop path they are right
(`tests/analysis/peers/test_catalog.py`).
"""

ENGINES = """\
All engines run the same branches with the same weights, as a RevNet, (α, β) = (0, 1),
the member of the family that each can express; two rows are at (1, 0.1), which the
others cannot. *Gradient error* is against everything stored in float32, all others
against everything stored in the arithmetic of the engine under the same conditions.
*Peak* is that of torch's CPU allocator, without gradients of parameters. All columns
behind time: images of {size} pixels. *Two forwards*: two inputs before one backward
pass; *two models*: two models before one. *DDP*: gradients in two processes, of
{depth} blocks, without and with `find_unused_parameters`. *Dropout*: the share of
recomputations that draw the masks of the forward pass. Autocast is that of the CPU.
memcnn runs with `preserve_rng_state=True`; mmpretrain's layers and backward pass run
the branches' own modules. `dr2` rows are `DualResidualSequential`, which runs a branch
on all tokens at once; the backbones run them in pieces.
"""

REPEAT = """\
## Measure again

```bash
{memory}
{time}
{engines}
python tools/analysis/comparison.py
```

The engines of others are no requirement of this project:

```bash
{install}
```
"""
