"""ledger.merkle against the recursion of RFC 9162, and against every mutation of a proof."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import NotFound, VerificationError
from ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    Growth,
    check_consistency,
    check_inclusion,
    check_inclusion_of_all,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root,
    siblings_of_all,
)
from tests.ledger import rfc9162

SIZE_MAX = 70
LEAVES = rfc9162.leaves(SIZE_MAX)
VECTORS = Path(__file__).parents[1] / "vectors"
GOLDEN = json.loads((VECTORS / "merkle.json").read_text())
PUBLISHED = json.loads((VECTORS / "transparency-dev-merkle.json").read_text())
BOGUS = bytes(range(32))


def flip(value: bytes, bit: int) -> bytes:
    at, mask = divmod(bit, 8)
    return value[:at] + bytes([value[at] ^ 1 << mask]) + value[at + 1 :]


def proof_mutations(proof: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Every way to be nearly this proof."""
    for at, one in enumerate(proof):
        for bit in (0, 100, 255):
            yield f"bit {bit} of hash {at} flipped", [*proof[:at], flip(one, bit), *proof[at + 1 :]]
        yield f"hash {at} dropped", proof[:at] + proof[at + 1 :]
        yield f"hash {at} doubled", [*proof[: at + 1], *proof[at:]]
        yield f"hash {at} one byte short", [*proof[:at], one[:-1], *proof[at + 1 :]]
        yield f"hash {at} one byte long", [*proof[:at], one + b"\0", *proof[at + 1 :]]
        yield f"hash {at} empty", [*proof[:at], b"", *proof[at + 1 :]]
        for other in range(at):
            swapped = list(proof)
            swapped[at], swapped[other] = swapped[other], swapped[at]
            yield f"hashes {other} and {at} swapped", swapped
    for at in range(len(proof) + 1):
        yield f"padded before hash {at}", [*proof[:at], BOGUS, *proof[at:]]
    if proof:
        yield "all dropped", []


def refuses(check: Callable[[], None]) -> bool:
    try:
        check()
    except VerificationError:
        return True
    return False


# --- proofs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(SIZE_MAX + 1))
def test_roots_and_inclusion_proofs_are_those_of_the_rfc(size: int) -> None:
    leaves = LEAVES[:size]
    head = rfc9162.mth(leaves)
    assert root(leaves) == head
    for index in range(size):
        proof = prove_inclusion(leaves, index)
        assert proof == rfc9162.path(index, leaves)
        check_inclusion(proof, leaf_hash=leaves[index], index=index, tree_size=size, root=head)


@pytest.mark.parametrize("size", range(SIZE_MAX + 1))
def test_consistency_proofs_are_those_of_the_rfc(size: int) -> None:
    leaves = LEAVES[:size]
    for old_size in range(size + 1):
        proof = prove_consistency(leaves, old_size)
        if old_size:  # the RFC defines none from the empty tree
            assert proof == rfc9162.proof(old_size, leaves)
        check_consistency(
            proof,
            old_size=old_size,
            old_root=rfc9162.mth(leaves[:old_size]),
            new_size=size,
            new_root=rfc9162.mth(leaves),
        )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33])
def test_a_mutated_inclusion_proof_fails(size: int) -> None:
    leaves = LEAVES[:size]
    head = rfc9162.mth(leaves)

    def check(proof: list[bytes], leaf: bytes, at: int, tree_size: int = size, root: bytes = head) -> bool:
        return refuses(
            lambda: check_inclusion(proof, leaf_hash=leaf, index=at, tree_size=tree_size, root=root)
        )

    for index in range(size):
        proof, leaf = prove_inclusion(leaves, index), leaves[index]
        assert not check(proof, leaf, index)
        for name, mutated in proof_mutations(proof):
            assert check(mutated, leaf, index), f"{name}: entry {index} of {size}"
        for other in [-1, *range(size + 2), 1 << 64]:
            if other != index:
                assert check(proof, leaf, other), f"as entry {other} instead of {index} of {size}"
        for bit in range(256):
            assert check(proof, flip(leaf, bit), index), f"bit {bit} of the leaf"
            assert check(proof, leaf, index, root=flip(head, bit)), f"bit {bit} of the root"
        for wrong in (b"", leaf[:-1], leaf + b"\0", BOGUS):
            assert check(proof, wrong, index), f"leaf hash of {len(wrong)} bytes"
        for wrong in (b"", head[:-1], head + b"\0", BOGUS):
            assert check(proof, leaf, index, root=wrong), f"root of {len(wrong)} bytes"


@pytest.mark.parametrize("size", range(1, 34))
def test_an_inclusion_proof_holds_for_another_size_only_where_the_path_is_the_same(
    size: int,
) -> None:
    # The path names no size: the checkpoint binds size and root together, not the proof. What is
    # asserted is that no other size is taken whose own path has another shape.
    leaves = LEAVES[:size]
    for index in range(size):
        proof = prove_inclusion(leaves, index)
        for other in range(-1, 70):
            taken = not refuses(
                lambda other=other, index=index, proof=proof: check_inclusion(
                    proof,
                    leaf_hash=leaves[index],
                    index=index,
                    tree_size=other,
                    root=rfc9162.mth(leaves),
                )
            )
            if other <= index:
                assert not taken
            elif taken and other != size:
                assert len(rfc9162.path(index, LEAVES[:other])) == len(proof)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33])
def test_a_mutated_consistency_proof_fails(size: int) -> None:
    leaves = LEAVES[:size]
    new_root = rfc9162.mth(leaves)
    for old_size in range(1, size):
        proof, old_root = prove_consistency(leaves, old_size), rfc9162.mth(leaves[:old_size])

        def check(
            proof: list[bytes] = proof,
            old_size: int = old_size,
            old_root: bytes = old_root,
            new_root: bytes = new_root,
        ) -> bool:
            return refuses(
                lambda: check_consistency(
                    proof,
                    old_size=old_size,
                    old_root=old_root,
                    new_size=size,
                    new_root=new_root,
                )
            )

        assert not check()
        for name, mutated in proof_mutations(proof):
            assert check(mutated), f"{name}: from {old_size} to {size}"
        for other in [-1, *range(size + 2), 1 << 64]:
            if other != old_size:
                assert check(old_size=other), f"from {other} instead of {old_size} to {size}"
        for bit in range(256):
            assert check(old_root=flip(old_root, bit)), f"bit {bit} of the old root"
            assert check(new_root=flip(new_root, bit)), f"bit {bit} of the new root"
        for wrong in (b"", BOGUS[:-1], BOGUS + b"\0", BOGUS):
            assert check(old_root=wrong), f"old root of {len(wrong)} bytes"
            assert check(new_root=wrong), f"new root of {len(wrong)} bytes"
        assert check(old_root=new_root, new_root=old_root), "roots swapped"


def test_a_consistency_proof_holds_for_another_new_size_only_where_the_path_is_the_same() -> None:
    for size in range(2, 34):
        leaves = LEAVES[:size]
        for old_size in range(1, size):
            proof = prove_consistency(leaves, old_size)
            for other in [*range(-1, size), *range(size + 1, 70)]:
                taken = not refuses(
                    lambda other=other, old_size=old_size, leaves=leaves, proof=proof: check_consistency(
                        proof,
                        old_size=old_size,
                        old_root=rfc9162.mth(leaves[:old_size]),
                        new_size=other,
                        new_root=rfc9162.mth(leaves),
                    )
                )
                if other <= old_size:
                    assert not taken
                elif taken:
                    assert len(rfc9162.proof(old_size, LEAVES[:other])) == len(proof)


def test_equal_sizes_need_equal_roots_and_an_empty_proof() -> None:
    head = root(LEAVES)
    check_consistency([], old_size=70, old_root=head, new_size=70, new_root=head)
    with pytest.raises(VerificationError, match="two roots at size 70: the log has forked"):
        check_consistency([], old_size=70, old_root=head, new_size=70, new_root=BOGUS)
    with pytest.raises(VerificationError, match="has 1 hashes, must have 0"):
        check_consistency([BOGUS], old_size=70, old_root=head, new_size=70, new_root=head)


def test_the_empty_tree_is_continued_by_any_tree_with_an_empty_proof_alone() -> None:
    check_consistency([], old_size=0, old_root=EMPTY_ROOT, new_size=5, new_root=BOGUS)
    check_consistency([], old_size=0, old_root=EMPTY_ROOT, new_size=0, new_root=EMPTY_ROOT)
    with pytest.raises(VerificationError, match="has 1 hashes, must have 0"):
        check_consistency([BOGUS], old_size=0, old_root=EMPTY_ROOT, new_size=5, new_root=BOGUS)
    with pytest.raises(VerificationError, match="root of the empty tree must be e3b0c442"):
        check_consistency([], old_size=0, old_root=BOGUS, new_size=5, new_root=BOGUS)
    with pytest.raises(VerificationError, match="root of the empty tree must be e3b0c442"):
        check_consistency([], old_size=0, old_root=BOGUS, new_size=0, new_root=BOGUS)
    with pytest.raises(VerificationError, match="new root is 12 bytes, must be 32"):
        check_consistency([], old_size=0, old_root=EMPTY_ROOT, new_size=5, new_root=BOGUS[:12])


def test_the_words_say_what_is_wrong_and_what_would_be_right() -> None:
    leaf, head = LEAVES[0], root(LEAVES[:2])
    for index in (-1, 2):
        with pytest.raises(VerificationError, match=f"index is {index}, must be from 0 and below"):
            check_inclusion([], leaf_hash=leaf, index=index, tree_size=2, root=head)
    with pytest.raises(VerificationError, match="the proof has 0 hashes, must have 1"):
        check_inclusion([], leaf_hash=leaf, index=0, tree_size=2, root=head)
    with pytest.raises(VerificationError, match="hash 0 of the proof is 31 bytes, must be 32"):
        check_inclusion([BOGUS[1:]], leaf_hash=leaf, index=0, tree_size=2, root=head)
    with pytest.raises(VerificationError, match=f"leads to root .*, must be {head.hex()} at size"):
        check_inclusion([BOGUS], leaf_hash=leaf, index=0, tree_size=2, root=head)
    for old_size in (-1, 3):
        with pytest.raises(VerificationError, match=f"old size is {old_size}, must be from 0 and "):
            check_consistency([], old_size=old_size, old_root=head, new_size=2, new_root=head)
    with pytest.raises(NotFound, match=r"index is 2, must be within 0\.\.1"):
        prove_inclusion(LEAVES[:2], 2)
    with pytest.raises(NotFound, match=r"old size is 3, must be within 0\.\.2"):
        prove_consistency(LEAVES[:2], 3)


# --- growing --------------------------------------------------------------------------------------

splits = st.lists(st.integers(0, SIZE_MAX), max_size=6).map(lambda cuts: sorted({0, *cuts}))


def frontier_of(size: int) -> Frontier:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    return frontier


@pytest.mark.parametrize("size", range(SIZE_MAX + 1))
def test_the_frontier_has_the_root_of_the_rfc_and_survives_its_bytes(size: int) -> None:
    frontier = frontier_of(size)
    assert frontier.size == size
    assert frontier.root() == rfc9162.mth(LEAVES[:size])
    assert Frontier.from_bytes(size, frontier.to_bytes()) == frontier


def test_a_frontier_of_another_size_is_refused() -> None:
    raw = frontier_of(6).to_bytes()
    for size in (-6, 0, 1, 2, 4, 7, 8, 15):
        with pytest.raises(VerificationError, match=r"has 2 hashes, must have one for each bit"):
            Frontier.from_bytes(size, raw)
    for wrong in (raw[:-1], raw + b"\0"):
        with pytest.raises(VerificationError, match="must be a multiple of 32"):
            Frontier.from_bytes(6, wrong)
    with pytest.raises(VerificationError, match="a hash of the frontier is 31 bytes, must be 32"):
        Frontier(1, [BOGUS[1:]])


@pytest.mark.parametrize("old_size", range(SIZE_MAX + 1))
def test_growth_gives_root_frontier_and_proofs_of_the_rfc(old_size: int) -> None:
    old = frontier_of(old_size)
    for size in range(old_size, SIZE_MAX + 1):
        leaves = LEAVES[:size]
        growth = Growth(old, leaves[old_size:])
        assert (growth.old_size, growth.size) == (old_size, size)
        assert growth.root == rfc9162.mth(leaves)
        assert growth.frontier() == frontier_of(size)
        for index in range(old_size, size):
            assert growth.prove_inclusion(index) == rfc9162.path(index, leaves)
        if old_size:
            assert growth.prove_consistency() == rfc9162.proof(old_size, leaves)
    assert old == frontier_of(old_size), "growing changed the old frontier"


@given(splits)
def test_growth_in_many_batches_is_growth_in_one(cuts: list[int]) -> None:
    frontier = Frontier()
    for start, stop in pairwise(cuts):
        assert frontier.size == start
        frontier = Growth(frontier, LEAVES[start:stop]).frontier()
    assert frontier == frontier_of(cuts[-1])


def test_growth_proves_the_new_entries_only() -> None:
    growth = Growth(frontier_of(5), LEAVES[5:9])
    for index in (-1, 4, 9):
        with pytest.raises(NotFound, match=rf"index is {index}, must be within 5\.\.8"):
            growth.prove_inclusion(index)


# --- golden ---------------------------------------------------------------------------------------


def test_leaf_and_node_are_told_apart_by_their_first_byte() -> None:
    # RFC 9162 §2.1.1; without it a node could be shown as an entry.
    assert leaf_hash(b"").hex() == GOLDEN["leaf_hash_of_nothing"]
    assert EMPTY_ROOT.hex() == GOLDEN["roots"]["0"]
    left, right = LEAVES[:2]
    assert node_hash(left, right) != leaf_hash(left + right)


def test_the_golden_tree() -> None:
    leaves = [leaf_hash(b"entry %d" % index) for index in range(70)]
    for size, head in GOLDEN["roots"].items():
        assert root(leaves[: int(size)]).hex() == head
    for case in GOLDEN["inclusion"]:
        proof = prove_inclusion(leaves[: case["size"]], case["index"])
        assert [one.hex() for one in proof] == case["proof"]
    for case in GOLDEN["consistency"]:
        proof = prove_consistency(leaves[: case["new"]], case["old"])
        assert [one.hex() for one in proof] == case["proof"]


# --- the cases that transparency-dev/merkle publishes ---------------------------------------------


def hashes(texts: list[str] | None) -> list[bytes]:
    return [b64decode(text) for text in texts or ()]


def held_against(case: dict[str, Any], check: Callable[[], None]) -> None:
    if case["wantErr"]:
        with pytest.raises(VerificationError):
            check()
    else:
        check()


@pytest.mark.parametrize("case", PUBLISHED["inclusion"], ids=lambda case: case["name"])
def test_each_published_inclusion_case_is_judged_as_published(case: dict[str, Any]) -> None:
    leaf, root_hash = hashes([case["leafHash"], case["root"]])
    proof, index, size = hashes(case["proof"]), case["leafIdx"], case["treeSize"]
    held_against(
        case, lambda: check_inclusion(proof, leaf_hash=leaf, index=index, tree_size=size, root=root_hash)
    )


@pytest.mark.parametrize("case", PUBLISHED["consistency"], ids=lambda case: case["name"])
def test_each_published_consistency_case_is_judged_as_published(case: dict[str, Any]) -> None:
    old, new = hashes([case["root1"], case["root2"]])
    proof, old_size, new_size = hashes(case["proof"]), case["size1"], case["size2"]
    held_against(
        case,
        lambda: check_consistency(proof, old_size=old_size, old_root=old, new_size=new_size, new_root=new),
    )


def test_all_published_cases_are_here() -> None:
    assert [len(PUBLISHED[kind]) for kind in ("inclusion", "consistency")] == [98, 98]


# --- one proof for several entries ----------------------------------------------------------------


def prove_all(indexes: set[int], size: int) -> list[bytes]:
    tree = Growth(Frontier(), LEAVES[:size])
    return [tree.node(*at) for at in siblings_of_all(indexes, size)]


def check_all(proof: list[bytes], indexes: set[int], size: int, of: bytes | None = None) -> None:
    leaves = {index: LEAVES[index] for index in indexes}
    check_inclusion_of_all(proof, leaf_hashes=leaves, tree_size=size, root=of or root(LEAVES[:size]))


@given(
    st.integers(1, SIZE_MAX).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))
    )
)
def test_one_proof_for_several_entries_holds_and_has_no_hash_too_many(case: tuple[int, set[int]]) -> None:
    size, indexes = case
    proof = prove_all(indexes, size)
    check_all(proof, indexes, size)
    single = {one for index in indexes for one in prove_inclusion(LEAVES[:size], index)}
    assert set(proof) <= single - {LEAVES[index] for index in indexes}
    assert len(proof) == len(set(proof))


@pytest.mark.parametrize("size", range(1, SIZE_MAX))
def test_of_one_entry_it_is_the_proof_of_the_rfc_and_of_all_entries_none(size: int) -> None:
    for index in range(size):
        assert prove_all({index}, size) == prove_inclusion(LEAVES[:size], index)
    assert prove_all(set(range(size)), size) == []
    check_all([], set(range(size)), size)


def test_a_mutated_proof_for_several_entries_fails() -> None:
    for size, indexes in ((13, {0, 5, 12}), (64, {1, 2, 63}), (37, {36}), (8, {3, 4})):
        proof = prove_all(indexes, size)
        for _, mutated in proof_mutations(proof):
            with pytest.raises(VerificationError):
                check_all(mutated, indexes, size)


def test_an_entry_outside_of_the_tree_or_none_is_no_proof() -> None:
    for indexes in ({13}, {-1}, set()):
        with pytest.raises(VerificationError):
            check_inclusion_of_all(
                [], leaf_hashes=dict.fromkeys(indexes, BOGUS), tree_size=13, root=root(LEAVES[:13])
            )
