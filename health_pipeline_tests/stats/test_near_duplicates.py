"""Near-duplicates are grouped as comparing all with all would, and what is different stays apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph

from health_pipeline.stats.near_duplicates import centre, near_hashes, near_texts

CAPTIONS = (
    "Chốt kèo nhanh trong hôm nay, inbox shop để nhận giá tốt nhất nhé mọi người",
    "ชุดนี้ใส่สบายมาก ผ้านุ่ม สีไม่ตก ส่งฟรีทั่วประเทศวันนี้วันเดียวเท่านั้น",
    "这款面霜我用了三个月皮肤真的变好了今天直播间买一送一千万不要错过",
    "Unboxing the new phone case, it survived every drop in my kitchen",
)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_hashes_are_grouped_as_by_comparing_all_with_all(seed: int, distance: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.integers(0, 2**64, 5, dtype=np.uint64)
    hashes = sources[rng.integers(0, 5, 60)]
    for bit in rng.integers(0, 64, (4, 60)):
        hashes = np.where(rng.random(60) < 0.6, hashes ^ (np.uint64(1) << bit.astype(np.uint64)), hashes)
    differing = np.bitwise_count(hashes[:, None] ^ hashes)
    _, expected = csgraph.connected_components(sparse.csr_array(differing <= distance), directed=False)
    group = near_hashes(hashes, distance)
    assert np.array_equal(group[:, None] == group, expected[:, None] == expected)
    assert np.array_equal(group, group[group]) and (group <= np.arange(60)).all(), "named after its first"


def test_a_distance_beyond_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 6 bits"):
        near_hashes(np.zeros(2, np.uint64), 7)


def test_the_centre_of_variants_is_what_they_were_made_from() -> None:
    source = 0x3C6EF372FE94F82A
    variants = [source ^ (1 << bit) for bit in range(0, 60, 7)]
    assert centre(np.array(variants, np.uint64)) == source


def test_captions_in_any_script_are_alike_but_for_a_few_characters() -> None:
    changed = [f"  {text.upper()}!" for text in CAPTIONS]
    group = near_texts([*CAPTIONS, *changed])
    assert group.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_captions_without_a_text_are_nobodys_duplicates() -> None:
    assert near_texts(["", "   ", CAPTIONS[0], ""]).tolist() == [0, 1, 2, 3]


def test_a_caption_may_hold_any_character() -> None:
    """A NUL in one is neither its end nor the end of another's."""
    texts = [CAPTIONS[0], f"{CAPTIONS[0]}\0", "\0", "\0" * 5_000, f"\0{CAPTIONS[1]}", *CAPTIONS[1:]]
    assert near_texts(texts).tolist() == [0, 0, 2, 3, 4, 4, 6, 7]
