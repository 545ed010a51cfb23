"""Does a search text mean what docs/search.md says; and where it means nothing, is the place named?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_api.search import CLAIM, FIELDS, SearchError, parse, show
from query_api.search.ast import And, Between, Everything, Node, Not, Or, Pattern, Term, conjunction, disjunction, pattern
from query_api.search.fields import Shape
from query_api.search.numbers import LARGEST
from query_api.search.parser import MAX_DEPTH, MAX_LENGTH, MAX_TERMS

_DOC = Path(__file__).parents[2] / "docs" / "search.md"


def word(text: str, field: str = "") -> Term:
    return Term(field, pattern(text.split("*")))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", Everything()),
        ("   ", Everything()),
        ("a b", And((word("a"), word("b")))),
        ("a AND b", And((word("a"), word("b")))),
        ("a b OR c", Or((And((word("a"), word("b"))), word("c")))),
        ("a (b OR c)", And((word("a"), Or((word("b"), word("c")))))),
        ("(a b) c", And((word("a"), word("b"), word("c")))),
        ("NOT a b", And((Not(word("a")), word("b")))),
        ("-db:shop", Not(word("shop", "db"))),
        ("-(a OR b)", Not(Or((word("a"), word("b"))))),
        ("or and not", And((word("or"), word("and"), word("not")))),
        ("no-bulk", word("no-bulk")),
        ('"AND"', word("AND")),
        ('"a \\" \\\\ b"', Term("", Pattern(('a " \\ b',)))),
        ('db:"a*b"', Term("db", Pattern(("a*b",)))),
        ("db:a\\*b", Term("db", Pattern(("a*b",)))),
        ("db:a**b", Term("db", Pattern(("a", "b")))),
        ("db:*", Term("db", Pattern(("", "")))),
        ("db:OR", word("OR", "db")),
        ("token:int:8f*", Term("token", Pattern(("int:8f", "")))),
        ("status:(error OR denied)", Or((word("error", "status"), word("denied", "status")))),
        ("flag:(ddl AND NOT dcl)", And((word("ddl", "flag"), Not(word("dcl", "flag"))))),
        ("status:DENIED", word("denied", "status")),
        ("rows:5", Term("rows", Between(5, 5))),
        ("rows:>5", Term("rows", Between(6, None))),
        ("rows:>=5", Term("rows", Between(5, None))),
        ("rows:<5", Term("rows", Between(None, 4))),
        ("rows:<=5", Term("rows", Between(None, 5))),
        ("rows:[10 TO 100]", Term("rows", Between(10, 100))),
        ("rows:[ 10  TO  * ]", Term("rows", Between(10, None))),
        ("rows:(>5 AND <10)", And((Term("rows", Between(6, None)), Term("rows", Between(None, 9))))),
        ("db_time:>2s", Term("db_time", Between(2_000_001, None))),
        ("db_time:1.5ms", Term("db_time", Between(1500, 1500))),
        ("bytes_out:>=10MB", Term("bytes_out", Between(10_000_000, None))),
        ("bytes_out:>=4kib", Term("bytes_out", Between(4096, None))),
        ("bytes_out:0.5KB", Term("bytes_out", Between(500, 500))),
        ("claim.agent-run.id:x", word("x", "claim.agent-run.id")),
        ("?column?", word("?column?")),
        ("größe", word("größe")),
    ],
)
def test_meaning(text: str, tree: object) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "position", "length", "says"),
    [
        ("db:shop princpal:x", 8, 9, "Did you mean principal?"),
        ("user:ana", 0, 5, "Did you mean principal?"),
        ("Rows:5", 0, 5, "Did you mean rows?"),
        ("xyzzy:5", 0, 6, 'quote it: "xyzzy:…"'),
        ("claims:x", 0, 7, "claim.<key>"),
        ("a status:eror", 9, 4, "Did you mean error?"),
        ("verdict:zzz", 8, 3, "It is one of: allow, alert, mask, hold, deny"),
        ("rows:many", 5, 4, "whole number"),
        ("rows:>many", 6, 4, "whole number"),
        ("rows:>", 6, 0, "whole number"),
        ("rows:1.5", 5, 3, "finer"),
        ("db_time:>2", 9, 1, "with its unit"),
        ("bytes_in:2s", 9, 2, "such as 500, 10MB"),
        ("rows:[1 TO", 5, 1, "Write [10 TO 100]"),
        ("rows:[9 TO 3]", 5, 8, "Write [3 TO 9]"),
        (f"rows:{LARGEST + 1}", 5, 20, "larger"),
        (f"rows:>{LARGEST}", 5, 21, "no rows is >"),
        ("rows:<0", 5, 2, "no rows is <"),
        ("db:>5", 3, 2, "no order"),
        ("id:12", 3, 2, "not an event id"),
        ("db: shop", 0, 3, "directly after"),
        ("a db:", 2, 3, "directly after"),
        ("db:)", 3, 1, "needs a value"),
        ("a (b", 2, 1, "never closed"),
        ("a b)", 3, 1, "closes nothing"),
        ("()", 1, 1, "nothing to search for"),
        ('a "b', 2, 1, "never closed"),
        ("a\\", 1, 1, "backslash"),
        ("a OR", 4, 0, "ends too early"),
        ("OR a", 0, 2, 'write "OR"'),
        ("a AND OR b", 6, 2, "one is missing"),
        ("NOT", 3, 0, "ends too early"),
        ('""', 0, 2, "empty text"),
        ("status:(error denied)", 14, 6, "AND or OR"),
        ("a\x00b", 1, 1, "U+0000"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH, 1, "at most"),
        (" ".join("a" for _ in range(MAX_TERMS + 1)), 2 * MAX_TERMS, 1, "terms"),
        ("(" * (MAX_DEPTH + 2) + "a", MAX_DEPTH + 1, 1, "levels"),
        ("-" * (MAX_DEPTH + 2) + "a", MAX_DEPTH + 1, 1, "levels"),
    ],
)
def test_errors_name_the_place_and_the_remedy(text: str, position: int, length: int, says: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse(text)
    assert (caught.value.position, caught.value.length) == (position, length)
    assert says in str(caught.value)


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_TEXTS = st.one_of(
    _TEXT, st.sampled_from(["AND", "OR", "NOT", "-", "a:b", "db:", "[1 TO 2]", ">5", "*", "\\", '"', " ", "((", "?.t"])
)


def _terms() -> st.SearchStrategy[Node]:
    free = [f.name for f in FIELDS.values() if f.shape in (Shape.TEXT, Shape.LIST) and not f.values] + ["claim.ticket"]
    numbers = [f.name for f in FIELDS.values() if f.shape is Shape.NUMBER]
    patterns = st.one_of(
        _TEXTS.map(lambda t: Pattern((t,))),
        st.lists(st.one_of(st.just(""), _TEXTS), min_size=2, max_size=4).map(pattern),
    )
    number = st.integers(0, LARGEST)
    ranges = st.one_of(
        number.map(lambda n: Between(n, n)),
        number.map(lambda n: Between(n, None)),
        number.map(lambda n: Between(None, n)),
        st.tuples(number, number).map(lambda p: Between(min(p), max(p))),
    )
    vocabularies = [
        st.builds(Term, st.just(f.name), st.sampled_from(f.values).map(lambda v: Pattern((v,))))
        for f in FIELDS.values()
        if f.values
    ]
    return st.one_of(
        st.builds(Term, st.just(""), patterns),
        st.builds(Term, st.sampled_from(free), patterns),
        st.builds(Term, st.sampled_from(numbers), st.one_of(ranges, st.just(Pattern(("", ""))))),
        *vocabularies,
    )


TREES = st.recursive(
    _terms(),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(conjunction),
        st.lists(inner, min_size=2, max_size=3).map(disjunction),
    ),
    max_leaves=8,
)


@given(TREES)
def test_what_is_printed_is_read_back(tree: Node) -> None:
    assert parse(show(tree)) == tree


_SOUP = st.lists(
    st.one_of(
        st.sampled_from(
            ["(", ")", '"', "AND", "OR", "NOT", "-", "db:", "rows:", "status:", "claim.x:", "table:", "[1 TO 2]",
             ">5", "*", "\\", " ", "TO", "[", "5"]
        ),
        st.text(max_size=5),
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(_SOUP)
def test_any_text_is_a_search_or_an_error_within_it(text: str) -> None:
    try:
        tree = parse(text)
    except SearchError as error:
        assert 0 <= error.position <= len(text)
        assert error.position + error.length <= len(text)
        assert error.message
    else:
        assert parse(show(tree)) == tree


def test_the_manual_lists_every_field_with_its_example_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_.<>]+)` \| .* \| `([^`]+)` \|$", _DOC.read_text(), re.MULTILINE)
    assert dict(rows) == {f.name: f.example for f in (*FIELDS.values(), CLAIM)}


@pytest.mark.parametrize("field", [*FIELDS.values(), CLAIM], ids=lambda f: f.name)
def test_every_example_is_a_search(field: object) -> None:
    parse(field.example)  # type: ignore[attr-defined]


def test_every_example_of_the_manual_is_a_search() -> None:
    examples = re.findall(r"^    (\S.*?)(?:  +#.*)?$", _DOC.read_text(), re.MULTILINE)
    assert len(examples) > 8
    for example in examples:
        parse(example)


@pytest.mark.parametrize("limit", [MAX_LENGTH, MAX_TERMS, MAX_DEPTH])
def test_the_manual_states_the_limits(limit: int) -> None:
    assert re.search(rf"\b{limit:,}\b|\b{limit}\b", _DOC.read_text())
