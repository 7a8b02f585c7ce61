"""Scores without reading, and the picture of sentences."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from dr2net_mm.first_runs.data.moving_digits import FORMS, WORDS
from dr2net_mm.first_runs.referring_picture import Row, overlap, referring_picture
from dr2net_mm.first_runs.sentence_baselines import (
    evaluate,
    kind_of,
    largest_mask,
    other_sentences,
    random_query,
    rescored,
)


def sample():
    """A small right candidate with the better score, and a large wrong one."""
    masks = torch.zeros(2, 1, 20, 30, dtype=torch.bool)
    masks[0, 0, :5, :10], masks[1, 0, 8:, :] = True, True
    made = BaseDataElement(metainfo=dict(image_id='a', text='the two'))
    made.truth = masks[0]
    made.pred_instances = InstanceData(masks=masks, scores=torch.tensor([[0.9], [0.1]]))
    return made


def test_other_scores_choose_other_masks_of_the_same_prediction():
    evaluator = dict(type='ReferringSegmentationMetric')
    assert evaluate([sample()], evaluator)['P@0.5'] == 1
    largest = rescored([sample()], largest_mask)
    assert largest[0].pred_instances.scores.flatten().tolist() == [50, 360]
    assert evaluate(largest, evaluator)['P@0.5'] == 0
    chosen = [
        evaluate(rescored([sample()], random_query(seed)), evaluator)['P@0.5']
        for seed in range(20)
    ]
    assert 0.2 < np.mean(chosen) < 0.8


def test_every_sample_gets_a_sentence_that_reads_differently():
    texts = {str(n): ('the one', 'the two', 'the six')[n % 3] for n in range(30)}
    shuffled = other_sentences(texts)
    assert shuffled.keys() == texts.keys()
    assert all(shuffled[name] != text for name, text in texts.items())
    assert shuffled == other_sentences(texts)
    with pytest.raises(ValueError, match='all sentences are the same'):
        other_sentences({'a': 'x', 'b': 'x'})


def test_a_sentence_tells_what_it_goes_by():
    words = dict(digit=WORDS[3], direction='left', size='small', position='on the left')
    for kind, forms in FORMS.items():
        for form in forms:
            assert kind_of(form.format(words[kind])) == kind


def test_a_picture_has_a_line_of_four_panels_for_each_sentence():
    frames = np.full((3, 10, 20, 3), 100, np.uint8)
    truth = np.zeros((10, 20), bool)
    truth[2:6, 2:10] = True
    row = Row('the two', frames, 1, ~truth, truth)
    picture = referring_picture([row, row], scale=2)
    assert picture.size == (4 * 40, 2 * (20 + 20))
    assert overlap(row) == 0 and overlap(row._replace(predicted=truth)) == 1
    # The middle of the ground truth is yellow, the same place of the prediction gray.
    right, left = (
        picture.getpixel((3 * 40 + 10, 28)),
        picture.getpixel((2 * 40 + 10, 28)),
    )
    assert right[2] < 80 < right[0] and left == (100, 100, 100)
    with pytest.raises(ValueError, match='no sentences'):
        referring_picture([])
