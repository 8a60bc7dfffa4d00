from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.blocks import BlockSizes

TOKENS = st.lists(st.integers(1, 200_000), min_size=1, max_size=50)
SIZES = st.sampled_from([16, 32, 64, 128, 256, 512, 1024])


@given(TOKENS, SIZES, st.integers(1, 7))
def test_the_size_is_found_from_a_row_of_three_blocks_or_more(tokens, size, together):
    tokens = [3 * size, *tokens]
    sizes = BlockSizes()
    for begin in range(0, len(tokens), together):
        part = tokens[begin : begin + together]
        assert sizes.add(part, [-(-number // size) for number in part]) is None
    assert sizes.likely == size


@given(TOKENS, SIZES)
def test_the_size_is_found_if_only_full_blocks_have_ids(tokens, size):
    tokens = [8 * size + 1, *tokens]
    sizes = BlockSizes()
    assert sizes.add(tokens, [number // size for number in tokens]) is None
    assert sizes.likely == size


@given(TOKENS, SIZES)
def test_the_first_row_that_fits_no_size_is_reported_and_the_rows_before_it_count(tokens, size):
    sizes = BlockSizes()
    tokens = [9 * size, *tokens, 9 * size, 9 * size]
    ids = [-(-number // size) for number in tokens]
    ids[-2] = 21  # fits neither this size nor another
    assert sizes.add(tokens, ids) == len(tokens) - 2


def test_rows_without_ids_give_no_size():
    sizes = BlockSizes()
    assert sizes.add([5, 100_000], [0, 0]) is None
    assert not sizes
    assert sizes.add([48], [3]) is None
    assert sizes
    assert sizes.likely == 16
