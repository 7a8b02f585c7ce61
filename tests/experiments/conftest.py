import pytest

from dr2net_mm.experiments.rows import ROWS


@pytest.fixture()
def record():
    """A record of a run as run.py writes it, with made-up numbers."""

    def make(row, seed, value, **changes):
        reversible = ROWS[row].network == 'dual_residual'
        return {
            **dict(
                task='classification',
                row=row,
                seed=seed,
                metrics={'classification/auc': value, 'classification/accuracy': 0.5},
                failure=None,
                gradient_error=dict(first=0.0, last=0.0) if reversible else None,
                memory=dict(
                    kept_bytes=10**6, peak_bytes=5 * 10**6 if reversible else 45 * 10**6
                ),
                cpu_seconds=150.0 if reversible else 100.0,
                iterations=4,
                curve=dict(iteration=[2, 4], loss=[0.7, 0.5]),
                config=dict(
                    optim_wrapper=dict(
                        optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.05)
                    ),
                    train_cfg=dict(max_epochs=2),
                    batch_size=8,
                    image_size=[56, 56],
                ),
                versions=dict(torch='2.13.0'),
                machine='a processor, 1 thread(s)',
            ),
            **changes,
        }

    return make
