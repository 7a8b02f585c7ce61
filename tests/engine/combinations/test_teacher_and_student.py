"""Two networks that are validated one after the other, with the coefficient hook."""

from mmdet.engine.hooks import MeanTeacherHook
from mmdet.engine.runner import TeacherStudentValLoop
from mmengine.model import BaseModel

from dr2net_mm.backbones import dual_residual_backbones

COEFFICIENTS = dict(type='Dr2CoefficientHook', end_iter=9, interval=1)


class TeacherAndStudent(BaseModel):
    """Two networks, as mmdet's semi-supervised detectors have them."""

    def __init__(self, make):
        super().__init__()
        self.teacher, self.student = make(), make()
        self.semi_test_cfg = dict(predict_on='teacher')

    def forward(self, inputs, data_samples, mode='tensor'):
        used = 'student' if mode == 'loss' else self.semi_test_cfg['predict_on']
        return getattr(self, used)(inputs, data_samples, mode)


def test_a_teacher_has_the_coefficients_of_its_student(make_run, make_regressor):
    run = make_run(
        dict(type=MeanTeacherHook, momentum=0.1),
        COEFFICIENTS,
        model=TeacherAndStudent(make_regressor),
        val_cfg=dict(type=TeacherStudentValLoop),
    )
    assert set(dual_residual_backbones(run.runner.model)) == {
        'teacher.backbone', 'student.backbone',
    }  # fmt: skip
    # The watcher has seen to it that they were the same at every iteration.
    assert run.watcher.validated == {i: run.watcher.trained[i - 1] for i in (3, 6, 9)}
    assert len(run.watcher.outputs[9]) == 12
    saved = run.saved('epoch_3.pth')['state_dict']
    for name in ('alpha', 'beta'):
        values = [
            float(saved[f'{network}.backbone.dual_residual.{name}'])
            for network in ('teacher', 'student')
        ]
        assert values == [run.watcher.trained[8][name == 'beta']] * 2
