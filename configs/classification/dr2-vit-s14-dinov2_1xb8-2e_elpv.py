_base_ = './vit-s14-dinov2_1xb8-2e_elpv.py'

# (alpha, beta) stays at (0.9, 0.1), near the pretrained network: docs/evidence.md
# compares it with other paths. The hook reports overflows.
model = dict(
    backbone=dict(type='Dr2TimmBackbone', dual_residual=dict(alpha=0.9, beta=0.1))
)
custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(0.9, 0.1),
        end=(0.9, 0.1),
        end_iter=1,
    )
]
