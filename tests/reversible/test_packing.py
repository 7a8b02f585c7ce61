import pytest
import torch

from dr2net_mm.reversible.packing import pack, packed_size, packed_width, unpack


@pytest.mark.parametrize('width', [1, 2, 4, 8, 16])
@pytest.mark.parametrize('count', [1, 7, 8, 9, 64, 1001])
def test_unpack_undoes_pack_and_uses_width_bits_a_value(width, count):
    values = torch.randint(0, 1 << width, (count,), dtype=torch.int32)
    values[0] = (1 << width) - 1
    packed = pack(values, width)
    assert packed.numel() == packed_size(count, width)
    assert packed.nbytes <= (count * width + 7) // 8 + 1
    assert torch.equal(unpack(packed, width, count), values)


@pytest.mark.parametrize(
    'largest, width', [(0, 0), (1, 1), (2, 2), (3, 2), (9, 4), (100, 8), (65535, 16)]
)
def test_width_is_the_smallest_that_holds_the_largest_value(largest, width):
    assert packed_width(largest) == width


def test_a_value_of_more_than_16_bits_is_refused():
    with pytest.raises(ValueError, match='65536'):
        packed_width(65536)
