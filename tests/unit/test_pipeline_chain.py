"""A source's chain: what follows, what leaves a gap, what fills one, what contradicts it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processors.chain import MAX_GAPS, Chain, Place, follow
from schemas.integrity import BlockHeader, IntegrityError
from tests.support.event_blocks import Source


def headers(count: int, epoch_every: int = 3) -> list[BlockHeader]:
    """A chain of small blocks, over several epochs."""
    source = Source()
    found = []
    for n in range(count):
        if n and n % epoch_every == 0:
            source.next_epoch()
        found.append(next(source.blocks(1, events=2)).header)
    return found


def feed(order: list[BlockHeader], chain: Chain | None = None) -> tuple[Chain, list[Place]]:
    chain = chain or Chain()
    places = []
    for header in order:
        chain, place = follow(chain, header)
        places.append(place)
    return chain, places


def test_a_chain_in_order_has_no_gap() -> None:
    blocks = headers(7)
    chain, places = feed(blocks)
    assert places == [Place.NEXT] * 7
    assert (chain.last, chain.gaps, chain.missing) == (blocks[-1], (), 0)


def test_missing_blocks_are_a_gap_and_the_chain_goes_on_from_what_came() -> None:
    blocks = headers(9)
    chain, places = feed([*blocks[:2], *blocks[5:]])
    assert places == [Place.NEXT, Place.NEXT, Place.AFTER_GAP, Place.NEXT, Place.NEXT, Place.NEXT]
    assert [(g.first, g.last) for g in chain.gaps] == [(3, 5)]
    assert chain.missing == 3


def test_a_source_first_seen_in_its_middle_lacks_its_beginning() -> None:
    blocks = headers(4)
    chain, places = feed(blocks[2:])
    assert places == [Place.AFTER_GAP, Place.NEXT]
    assert [(g.first, g.last) for g in chain.gaps] == [(1, 2)]


@pytest.mark.parametrize("late", [(2, 3, 4), (4, 3, 2), (3, 2, 4), (3, 4, 2)])
def test_late_blocks_close_their_gap_in_any_order(late: tuple[int, ...]) -> None:
    blocks = headers(9)
    chain, places = feed([*blocks[:2], *blocks[5:], *(blocks[i] for i in late)])
    assert places[-3:] == [Place.FILLS_GAP] * 3
    assert (chain.gaps, chain.missing, chain.last) == ((), 0, blocks[-1])


def test_a_block_that_the_next_one_does_not_name_cannot_fill_the_gap() -> None:
    blocks = headers(6)
    chain, _ = feed([*blocks[:2], *blocks[3:]])
    with pytest.raises(IntegrityError, match="is not the block that block 4 names"):
        follow(chain, replace(blocks[2], sealed_at=blocks[2].sealed_at + 1))
    with pytest.raises(IntegrityError, match="does not name block 2"):
        follow(chain, replace(blocks[2], prev="f" * 64))


def test_the_newest_block_again_is_a_repeat_and_another_of_its_number_is_not() -> None:
    blocks = headers(3)
    chain, _ = feed(blocks)
    assert follow(chain, blocks[2]) == (chain, Place.SEEN)
    with pytest.raises(IntegrityError, match="another block of this number"):
        follow(chain, replace(blocks[2], root="0" * 64))


def test_an_older_block_is_judged_by_the_record_of_it() -> None:
    blocks = headers(3)
    chain, _ = feed(blocks)
    assert follow(chain, blocks[0], blocks[0].block_id)[1] is Place.SEEN
    with pytest.raises(IntegrityError, match="another block of this number"):
        follow(chain, blocks[0], "0" * 64)
    with pytest.raises(IntegrityError, match="no record of it is left"):
        follow(chain, blocks[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prev": "a" * 64}, "does not name block 2"),
        ({"first_seq": 9}, "starts at sequence 9"),
        ({"epoch": 7}, "epoch"),
        ({"number": 0}, "start at 1"),
    ],
)
def test_a_header_that_does_not_link_is_refused(change: dict[str, object], message: str) -> None:
    blocks = headers(3)
    chain, _ = feed(blocks[:2])
    with pytest.raises(IntegrityError, match=message):
        follow(chain, replace(blocks[2], **change))  # type: ignore[arg-type]


def test_a_block_numbered_later_must_not_be_of_earlier_sequences() -> None:
    blocks = headers(5)
    chain, _ = feed(blocks[:2])
    with pytest.raises(IntegrityError, match="its sequences are not"):
        follow(chain, replace(blocks[2], number=7, first_seq=1))


def test_gaps_past_the_limit_stay_counted() -> None:
    blocks = headers(2 * MAX_GAPS + 6, epoch_every=10**9)
    chain, _ = feed(blocks[::2])
    assert len(chain.gaps) == MAX_GAPS
    assert chain.missing == MAX_GAPS + 2
