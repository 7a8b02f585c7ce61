import torch

from dr2net_mm.backbones.base.outputs import output_list


def test_the_tensors_of_any_outputs_are_listed_in_order():
    first, second = torch.zeros(1), torch.ones(1)
    assert output_list(first) == [first]
    assert output_list((first, second)) == [first, second]
    # MViT: patches and class token of each stage.
    assert output_list([[first, None], [second]]) == [first, second]
