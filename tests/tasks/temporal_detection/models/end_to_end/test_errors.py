"""What the end-to-end localizer refuses."""

import pytest
import torch

from tests.tasks.temporal_detection.models.end_to_end.toolbox import losses_of


class TestErrors:
    """What cannot be right is refused with its value and the remedy."""

    def test_length_of_the_localizer(self, build):
        with pytest.raises(ValueError, match='temporal_length is 12.*length 8'):
            build(
                localizer=dict(type='FeatureProbe', temporal_length=8),
                temporal_length=12,
            )

    def test_length_out_of_range(self, build):
        with pytest.raises(ValueError, match='temporal_length is 0'):
            build(temporal_length=0)

    def test_channels_of_the_localizer(self, build):
        model = build(localizer=dict(type='FeatureProbe', in_channels=24))
        with pytest.raises(ValueError, match='16 channels, but FeatureProbe takes 24'):
            model(torch.randn(1, 3, 16, 16, 16))

    def test_data_preprocessor_of_the_localizer(self, build):
        localizer = dict(
            type='FeatureProbe', data_preprocessor=dict(type='ActionDataPreprocessor')
        )
        with pytest.raises(ValueError, match='would never run'):
            build(localizer=localizer)

    @pytest.mark.parametrize(
        ('backbone', 'message'),
        [
            (dict(shape=(1, 16)), 'return_feat_map=True'),
            (dict(shape=(1, 16, 8, 2, 2), count=2), 'returns 2 feature maps'),
        ],
    )
    def test_features_of_the_backbone(self, build, backbone, message):
        model = build(backbone=dict(type='OtherMaps', **backbone))
        with pytest.raises(ValueError, match=message):
            model(torch.randn(1, 3, 16, 16, 16))

    @pytest.mark.parametrize('shape', [(2, 2, 3, 16, 16, 16), (2, 3, 16, 16)])
    def test_shape_of_the_frames(self, build, shape):
        with pytest.raises(ValueError, match='one clip of one crop'):
            build()(torch.randn(shape))

    def test_frames_that_nothing_normalized(self, build, localizing):
        model = build(data_preprocessor=None)
        with pytest.raises(ValueError, match=r'uint8.*ActionDataPreprocessor'):
            losses_of(model, localizing.batch())

    def test_videos_of_different_lengths(self, build, localizing):
        batch = localizing.batch()
        batch['inputs'][1] = localizing.video(1, frames=14)
        with pytest.raises(ValueError, match=r'1, 3, 14.*same number of frames'):
            losses_of(build(), batch)

    def test_samples_that_do_not_fit_the_videos(self, build, localizing):
        clips = torch.randn(2, 3, 16, 16, 16)
        samples = localizing.batch(1)['data_samples']
        for mode, given in (('loss', samples), ('predict', None)):
            with pytest.raises(ValueError, match='2 videos and [01] data samples'):
                build()(clips, given, mode=mode)

    def test_unknown_mode(self, build):
        with pytest.raises(RuntimeError, match="mode is 'train'"):
            build()(torch.randn(1, 3, 16, 16, 16), mode='train')
