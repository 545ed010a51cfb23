"""The hashing that makes the trail provable, against RFC 9162's own definition and known answers."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.integrity import (
    GENESIS,
    Block,
    BlockHeader,
    IntegrityError,
    leaf_hash,
    merkle_root,
    verify_block,
    verify_successor,
)

# Test vectors of the Certificate Transparency implementations: leaves, and the root of the first n of them.
CT_LEAVES = [
    bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def by_the_definition(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, word for word: split at the largest power of two smaller than n."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + by_the_definition(leaves[:k]) + by_the_definition(leaves[k:])).digest()


@pytest.mark.parametrize("count", sorted(CT_ROOTS))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert merkle_root([leaf_hash(leaf) for leaf in CT_LEAVES[:count]]).hex() == CT_ROOTS[count]


@pytest.mark.parametrize("count", [*range(35), 63, 64, 65, 500])
def test_root_equals_the_recursive_definition(count: int) -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(count)]
    assert merkle_root(leaves) == by_the_definition(leaves)


def test_an_inner_node_cannot_pass_as_a_leaf() -> None:
    a, b = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(a + b) != merkle_root([a, b])


def block(
    number: int = 1, prev: str = GENESIS, first_seq: int = 1, epoch: int = 1, lines: tuple[bytes, ...] = (b"a", b"b")
) -> Block:
    header = BlockHeader(
        "proxy/0", epoch, number, first_seq, len(lines), 7, prev, merkle_root([leaf_hash(x) for x in lines]).hex()
    )
    return Block(header, b"s" * 64, b"".join(line + b"\n" for line in lines))


HEADERS = st.builds(
    BlockHeader,
    st.from_regex(r"[A-Za-z0-9_.:/-]{1,120}", fullmatch=True),
    *[st.integers(0, 2**63)] * 3,
    st.integers(1, 2**31),
    st.integers(0, 2**53),
    *[st.binary(min_size=32, max_size=32).map(bytes.hex)] * 2,
)


@given(HEADERS)
def test_a_header_reads_back(header: BlockHeader) -> None:
    assert BlockHeader.decode(header.encode()) == header
    assert header.block_id == sha256(header.encode()).hexdigest()


@given(HEADERS, st.data())
def test_a_changed_header_is_unreadable_or_has_another_id(header: BlockHeader, data: st.DataObject) -> None:
    changed = bytearray(header.encode())
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = BlockHeader.decode(bytes(changed))
    except IntegrityError:
        return
    assert read != header
    assert read.block_id != header.block_id


GOOD = block().header.encode()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"block/v1", b"block/v2"),
        GOOD.replace(b"proxy/0", b"proxy 0"),
        GOOD.replace(b"proxy/0", b""),
        GOOD.replace(b"\n1\n1\n1\n2\n", b"\n01\n1\n1\n2\n"),
        GOOD.replace(b"\n1\n1\n1\n2\n", b"\n+1\n1\n1\n2\n"),
        GOOD.replace(b"\n1\n1\n1\n2\n", b"\n-1\n1\n1\n2\n"),
        GOOD.replace(b"\n1\n1\n1\n2\n", b"\n1\n1\n1\n0\n"),
        GOOD.replace(b"\n1\n1\n1\n2\n", b"\n1\n1_0\n1\n2\n"),
        GOOD.replace(b"0" * 64, b"0" * 63),
        GOOD.replace(b"0" * 64, b"A" * 64),
        GOOD.replace(b"proxy", "pröxy".encode()),
    ],
)
def test_only_canonical_headers_are_read(bad: bytes) -> None:
    assert bad != GOOD
    with pytest.raises(IntegrityError, match="block header unreadable"):
        BlockHeader.decode(bad)


def test_a_block_survives_the_log() -> None:
    one = block()
    assert Block.from_log(one.body, one.log_headers()) == one
    assert one.lines() == [b"a", b"b"]
    headers = one.log_headers()
    assert {k: headers[k] for k in ("source", "epoch", "first_seq", "count", "schema")} == {
        "source": b"proxy/0",
        "epoch": b"1",
        "first_seq": b"1",
        "count": b"2",
        "schema": b"1",
    }
    with pytest.raises(IntegrityError, match="no block header"):
        Block.from_log(one.body, {"signature": b""})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a\nb", "does not end in a newline"),
        (b"", "does not end in a newline"),
        (b"a\n", "1 lines, header says 2"),
        (b"a\nb\nc\n", "3 lines, header says 2"),
        (b"a\n\nb\n", "3 lines, header says 2"),
        (b"b\na\n", "do not hash"),
        (b"a\nB\n", "do not hash"),
        (b"a\r\nb\n", "do not hash"),
    ],
)
def test_a_changed_body_does_not_verify(body: bytes, message: str) -> None:
    good = block()
    verify_block(good)
    with pytest.raises(IntegrityError, match=f"block 1 of proxy/0 epoch 1: .*{message}"):
        verify_block(replace(good, body=body))


def test_a_chain_holds_over_blocks_and_epochs() -> None:
    first = block().header
    verify_successor(None, first)
    second = block(2, first.block_id, 3).header
    verify_successor(first, second)
    verify_successor(second, block(3, second.block_id, 1, epoch=2).header)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"prev": "f" * 64}, "does not name block 1"),
        ({"number": 3}, "follows block number 1"),
        ({"number": 1}, "follows block number 1"),
        ({"first_seq": 4}, "starts at sequence 4, expected 3"),
        ({"first_seq": 2}, "starts at sequence 2, expected 3"),
        ({"epoch": 3, "first_seq": 1}, "epoch follows epoch 1"),
        ({"epoch": 0, "first_seq": 1}, "epoch follows epoch 1"),
        ({"epoch": 2}, "starts at sequence 3, expected 1"),
    ],
)
def test_a_broken_chain_is_named(after: dict[str, int], message: str) -> None:
    first = block().header
    good = block(2, first.block_id, 3).header
    verify_successor(first, good)
    with pytest.raises(IntegrityError, match=message):
        verify_successor(first, replace(good, **after))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"number": 2}, "is not a first block"),
        ({"prev": "a" * 64}, "is not a first block"),
        ({"epoch": 2}, "must be of epoch 1"),
        ({"first_seq": 2}, "expected 1"),
    ],
)
def test_a_first_block_must_be_one(first: dict[str, int], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        verify_successor(None, replace(block().header, **first))  # type: ignore[arg-type]
