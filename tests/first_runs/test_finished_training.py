import cv2
import pytest

from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.finished_training import draw_training, values_over_training

LOG = [
    dict(loss=4.0, step=5),
    dict(loss=3.0, step=10),
    dict(average_mAP=0.2, step=1),
    dict(loss=2.0, step=20),
    dict(average_mAP=0.6, step=2),
]


def test_a_validation_belongs_to_the_iteration_before_it():
    assert values_over_training(LOG, 'loss') == [(5, 4.0), (10, 3.0), (20, 2.0)]
    assert values_over_training(LOG, 'average_mAP') == [(10, 0.2), (20, 0.6)]


def test_picture_shows_loss_and_score(tmp_path):
    draw_training(LOG, 'average_mAP', tmp_path / 'new' / 'training.png', 'title')
    picture = cv2.imread(str(tmp_path / 'new' / 'training.png'))
    blue, orange = (180, 119, 31), (2, 95, 217)  # BGR
    for color in (blue, orange):
        assert (abs(picture.astype(int) - color).sum(2) < 30).sum() > 300


def test_a_log_without_losses_cannot_be_drawn(tmp_path):
    with pytest.raises(UserError, match='no losses'):
        draw_training(LOG[2:3], 'average_mAP', tmp_path / 'training.png')
