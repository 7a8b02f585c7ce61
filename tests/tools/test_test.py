"""Behavior of tools/test.py on input that is in order."""

import pickle


def test_metrics_predictions_and_pictures_are_written(toy_run, evaluate, checkpoint):
    predictions = toy_run.folder / 'predictions.pkl'
    arguments = ['--out', str(predictions), '--show-dir', 'drawn']
    assert evaluate(toy_run, str(checkpoint), *arguments) == 0
    with open(str(predictions), 'rb') as file:
        assert len(pickle.load(file)) == 2
    assert len(list(toy_run.work_dir.rglob('drawn/*.png'))) == 2


def test_flipping_is_the_default_test_time_augmentation(toy_run, evaluate, checkpoint):
    assert evaluate(toy_run, str(checkpoint), '--tta') == 0
