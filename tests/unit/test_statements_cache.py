"""What is shared among texts, what is not, and how much is kept."""

from __future__ import annotations

import pytest

from processors.statements import Analyser, Lexing, Tokenizer
from processors.statements.cache import ByteBoundedCache
from processors.statements.shapes import MAX_SHAPES, Shapes
from processors.statements.tokens import MAX_PARAMS
from schemas.events import StatementFlag


@pytest.fixture
def analyser() -> Analyser:
    return Analyser(Tokenizer(b"k" * 32))


def test_texts_that_differ_in_literals_share_their_statement(analyser: Analyser) -> None:
    one = analyser.analyse(b"select a from t where b = 1 -- x", Lexing())
    two = analyser.analyse(b"select a from t where b = 22 /* y */", Lexing())
    assert one.statements is two.statements
    assert one.params != two.params


def test_equal_text_is_the_same_analysis(analyser: Analyser) -> None:
    assert analyser.analyse(b"select 1", Lexing()) is analyser.analyse(b"select 1", Lexing())


@pytest.mark.parametrize(
    ("template", "with_fact", "without"),
    [
        ("select a from t where {} = {}", ("1", "1"), ("1", "2")),
        ("select a from t where b = 5 or {} = {}", ("'a'", "'a'"), ("'a'", "'b'")),
        ("select a from t where b like {} and {} = 3", ("'%'", "3"), ("'x%'", "4")),
        ("select a from t where {} in ({}, 7)", ("1", "1"), ("1", "2")),
        ("select a from t where -{} = -{}", ("1", "1"), ("1", "2")),
        ("select a from t where {}::text = {}::text", ("'a'", "'a'"), ("'a'", "'b'")),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_facts_that_depend_on_literals_are_not_shared(
    analyser: Analyser, template: str, with_fact: tuple[str, str], without: tuple[str, str], first: bool
) -> None:
    """Whichever of the two is met first."""
    order = [True, False, True] if first else [False, True, False]
    for positive in order:
        sql = template.format(*(with_fact if positive else without))
        flags = analyser.analyse(sql.encode(), Lexing()).statements[0].facts.flags
        expected = positive or "in (" in sql  # a constant looked for in a shortened list counts as found
        assert (StatementFlag.TAUTOLOGY in flags) is expected, sql


def test_only_the_literals_facts_were_read_from_are_part_of_the_key(analyser: Analyser) -> None:
    one = analyser.analyse(b"select a from t where 1 = 1 and b = 5 order by 1", Lexing())
    two = analyser.analyse(b"select a from t where 1 = 1 and b = 6 order by 1", Lexing())
    other = analyser.analyse(b"select a from t where 1 = 2 and b = 6 order by 1", Lexing())
    assert one.statements is two.statements
    assert one.statements is not other.statements


def test_order_by_position_is_not_shared(analyser: Analyser) -> None:
    def ordered(n: int) -> list[str]:
        [statement] = analyser.analyse(f"select a, b from t order by {n}".encode(), Lexing()).statements
        return [c.name for c in statement.facts.columns if "order" in c.roles]

    assert [ordered(1), ordered(2), ordered(1)] == [["public.t.a"], ["public.t.b"], ["public.t.a"]]


@pytest.mark.parametrize(
    ("one", "two", "name"),
    [
        ("set search_path = 'a'", "set search_path = 'b'", "search_path"),
        ("select set_config('search_path', 'a', false)", "select set_config('search_path', 'b', false)", "search_path"),
    ],
)
def test_followed_settings_are_not_shared(analyser: Analyser, one: str, two: str, name: str) -> None:
    for sql, value in ((one, "a"), (two, "b"), (one, "a")):
        assert analyser.analyse(sql.encode(), Lexing()).statements[0].settings == {name: value}


def test_settings_of_the_session_are_not_shared(analyser: Analyser) -> None:
    text = rb"select 'a\', b from t --'"
    for lexing, columns in (
        (Lexing(), 1),
        (Lexing(standard_conforming_strings=False), 0),
        (Lexing(standard_conforming_strings=None), 0),
        (Lexing(), 1),
    ):
        assert len(analyser.analyse(text, lexing).statements[0].facts.columns) == columns
    paths = [analyser.analyse(b"select 1 from t", Lexing(search_path=(p,))).statements[0].facts.reads for p in "aba"]
    assert paths == [("a.t",), ("b.t",), ("a.t",)]


def test_more_settings_than_are_known_at_once(analyser: Analyser) -> None:
    for i in range(3000):
        [statement] = analyser.analyse(b"select 1 from t", Lexing(search_path=(f"s{i}",))).statements
        assert statement.facts.reads == (f"s{i}.t",)
    assert len(analyser._readers) <= 1024


def test_caches_stay_within_their_bytes() -> None:
    analyser = Analyser(Tokenizer(b"k" * 32), cache_bytes=200_000)
    for i in range(3000):
        analyser.analyse(f"select c{i % 700} from t where a = {i}".encode(), Lexing())
        assert analyser.cached_bytes <= 200_000
    assert analyser.cached_bytes > 50_000


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    cache: ByteBoundedCache[int, str] = ByteBoundedCache(1000)
    cache.put(-1, "kept", 10)
    for i in range(1000):
        cache.put(i, "x", 10)
        assert cache.get(-1) == "kept"
        assert cache.bytes_used <= 1000
    assert cache.get(0) is None
    assert len(cache) <= 100


def test_an_entry_larger_than_a_generation_is_not_kept() -> None:
    cache: ByteBoundedCache[int, str] = ByteBoundedCache(1000)
    cache.put(1, "x", 501)
    assert cache.get(1) is None


def test_tokens_are_typed_keyed_and_equal_for_equal_values(analyser: Analyser) -> None:
    sql = b"select 5, '5', E'\\x35', $$5$$, 5.0, X'5', 0x5, U&'\\0035', 'it''s', E'it\\'s'"
    [params] = analyser.analyse(sql, Lexing()).params
    types = [p.partition(":")[0] for p in params]
    digests = [p.partition(":")[2] for p in params]
    assert types == ["int", "text", "text", "text", "numeric", "bit", "int", "text", "text", "text"]
    assert len({digests[i] for i in (0, 1, 2, 3, 6, 7)}) == 1
    assert digests[8] == digests[9]
    assert params[0] == Tokenizer(b"k" * 32).token("int", b"5")
    assert params[0] != Tokenizer(b"x" * 32).token("int", b"5")


def test_more_literals_than_an_event_carries_are_one_token(analyser: Analyser) -> None:
    numbers = list(range(MAX_PARAMS + 10))
    sql = "select 1 from t where a in ({})"
    [params] = analyser.analyse(sql.format(",".join(map(str, numbers))).encode(), Lexing()).params
    # The first literal is the 1 of the select list.
    assert len(params) == MAX_PARAMS + 1
    assert params[-1].startswith("more.11:")
    numbers[-1] += 1
    [others] = analyser.analyse(sql.format(",".join(map(str, numbers))).encode(), Lexing()).params
    assert params[:-1] == others[:-1]
    assert params[-1] != others[-1]


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        Tokenizer(b"short")


SHAPED = [
    "select a from t1 where b = {}", "select {}", "select a from t where b = {} and c in ({}, {});",
    "update t set a = a + {} where b = {}", "insert into t values ({}, {}, -{})", "select a from t where b = {} limit {}",
    "select * from t order by {}", "select a from t where {} = {}", "select a from t where b={}and c>{}",
    "select a[{}] from t where b = $1 and c = {}", "select a from t2 where b = {}", "select 'é' || {} from t",
    "select {}::int, {}.5, 1.{}, {}e1, 0x{}, {}_0, x{}, {}x", "select U&'{}', '{}', {}", "select a from t where b = {} -- {}",
    "select a from t where b = {}; select {}", "set statement_timeout = {}", "fetch {} from c", "select \x01 {}", "select ({})",
]  # fmt: skip
NUMBERS = ["0", "1", "7", "42", "007", "999999999999999999", "12345678901234567890", "00000000000000000000"]


@pytest.mark.parametrize("sql", SHAPED)
def test_a_text_of_a_known_shape_is_analysed_as_by_the_lexer(
    analyser: Analyser, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexed = Analyser(Tokenizer(b"k" * 32))
    for lexing in (Lexing(), Lexing(client_encoding="LATIN1"), Lexing(standard_conforming_strings=None)):
        for round in range(40):
            text = sql.format(*(NUMBERS[(round * 5 + n * 3) % len(NUMBERS)] for n in range(sql.count("{}")))).encode()
            found = analyser.analyse(text, lexing)
            with monkeypatch.context() as patch:
                patch.setattr(Shapes, "find", lambda *_: None)
                other = lexed.analyse(text, lexing)
            assert [s.fragment for s in found.statements] == [s.fragment for s in other.statements], text
            assert (found.params, found.claims) == (other.params, other.claims), text


def test_numbers_of_a_known_shape_are_told_from_what_only_looks_like_it(analyser: Analyser) -> None:
    for n in range(1000, 1005):
        analyser.analyse(b"select a from t where b = %d and c = 'x'" % n, Lexing())
        analyser.analyse(b"select a from t where b = %d and c = 2" % n, Lexing())
    shape = analyser._shapes.find(analyser._reader.number, b"select a from t where b = 77 and c = 2")
    assert shape is not None and shape.numbers(b"select a from t where b = 77 and c = 8") == [b"77", b"8"]
    assert analyser._shapes.find(analyser._reader.number, b"select a from t where b = 77 and c = 'x'") is None
    for other in (
        b"select a from t where b =  and c = 8",
        b"select a from t where b = 7 and c = 8 ",
        b"select a from t where b = 7 and c = ",
        b"select a from t where b = 7x and c = 8",
        b"select a from t where b = 1234567890123456789 and c = 1",
        b"",
    ):
        assert shape.numbers(other) is None, other


def test_shapes_are_bounded(analyser: Analyser) -> None:
    for n in range(MAX_SHAPES + 50):
        name = "".join(chr(97 + int(digit)) for digit in str(n))
        for value in (1, 2):
            analyser.analyse(f"select a from t where {name} = {value}".encode(), Lexing())
    assert 0 < len(analyser._shapes._known) <= MAX_SHAPES
