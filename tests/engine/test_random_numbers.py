import random

import numpy as np
import torch

from dr2net_mm.engine.random_numbers import PrivateRandomNumbers, seed_random_numbers


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_a_key_gives_the_same_numbers_whatever_was_drawn_before():
    seed_random_numbers((1, 2))
    first = draw()
    draw()
    seed_random_numbers((1, 2))
    assert draw() == first


def test_keys_that_differ_anywhere_give_other_numbers_in_every_generator():
    numbers = []
    for key in ((1, 2), (2, 1), (1, 3), (1, 2, 1)):
        seed_random_numbers(key)
        numbers.append(draw())
    for of_one_generator in zip(*numbers):
        assert len(set(of_one_generator)) == 4


def test_private_numbers_go_on_where_they_were_left_and_disturb_nobody():
    seed_random_numbers((0,))
    undisturbed = [draw() for _ in range(3)]
    private = PrivateRandomNumbers((1,))
    with private:
        at_once = [draw() for _ in range(2)]
    private = PrivateRandomNumbers((1,))
    seed_random_numbers((0,))
    outer, inner = [draw()], []
    for _ in range(2):
        with private:
            inner.append(draw())
        outer.append(draw())
    assert inner == at_once and outer == undisturbed
