"""ledger.canonical against the `rfc8785` package, which shares no code with it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import DEPTH_MAX, INTEGER_MAX, canonical, encode, parse
from ledger.errors import Fault, NotJSON

# Where UTF-16 code unit order and code point order part: around the surrogates and above the BMP.
awkward = st.sampled_from('\x01\x1f\x7f\x80é€\ud7ff\ue000\ufb33\uffff😀𐀀\U0010ffff\u2028"\\/~ab')
text = st.text(awkward) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
integers = st.integers(-INTEGER_MAX, INTEGER_MAX)
scalars = st.none() | st.booleans() | integers | text
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=40)


def refused(raw: bytes, **options: int) -> tuple[str, str]:
    """Pointer and words of the one fault."""
    with pytest.raises(NotJSON) as caught:
        parse(raw, **options)
    (fault,) = caught.value.faults
    return fault.pointer, fault.detail


def uncanonical(value: object) -> tuple[str, str]:
    with pytest.raises(NotJSON) as caught:
        canonical(value)
    (fault,) = caught.value.faults
    return fault.pointer, fault.detail


def nested(depth: int) -> Any:
    value: Any = 7
    for _ in range(depth):
        value = [value]
    return value


# --- the bytes ------------------------------------------------------------------------------------


@given(values)
def test_the_bytes_are_those_of_rfc8785(value: Any) -> None:
    assert canonical(value) == encode(value) == rfc8785.dumps(value)


@given(st.dictionaries(st.text(awkward, min_size=1), integers, min_size=2))
def test_keys_are_ordered_by_utf16_code_unit(value: dict[str, int]) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(values)
def test_what_is_hashed_can_be_read_again(value: Any) -> None:
    raw = canonical(value)
    assert parse(raw) == value
    assert canonical(parse(raw)) == raw


@given(values)
def test_spelling_does_not_matter(value: Any) -> None:
    for loose in (
        json.dumps(value, indent=3),
        json.dumps(value, ensure_ascii=False, sort_keys=True),
    ):
        assert canonical(parse(loose.encode())) == canonical(value)


@given(values)
def test_a_tuple_is_an_array(value: Any) -> None:
    assert canonical((value, (value,))) == canonical([value, [value]])


def test_the_sorting_example_of_rfc8785_3_2_3() -> None:
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert [word.split()[0] for word in parse(canonical(value)).values()] == [
        "Carriage", "One", "Control", "Latin", "Euro", "Emoji:", "Hebrew",
    ]  # fmt: skip


def test_strings_are_escaped_as_in_rfc8785_3_2_2_2() -> None:
    assert canonical('€$\x0f\nA\'B"\\\\"/') == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()
    assert canonical("\b\t\n\f\r\x1f\x7f\u2028") == b'"\\b\\t\\n\\f\\r\\u001f\x7f\xe2\x80\xa8"'


def test_the_golden_event() -> None:
    raw = b' {"quantity":8, "kind":"order.placed","note":"\\u00e9\\/","lots":[ [],{}, -0,null,true]} '
    assert canonical(parse(raw)) == (
        b'{"kind":"order.placed","lots":[[],{},0,null,true],"note":"\xc3\xa9/","quantity":8}'
    )


# --- the edges, both ways -------------------------------------------------------------------------


def test_integers_end_at_two_to_the_53_less_one() -> None:
    for number in (INTEGER_MAX, -INTEGER_MAX):
        assert parse(canonical(number)) == number
        assert canonical(number) == rfc8785.dumps(number)
    for number in (INTEGER_MAX + 1, -INTEGER_MAX - 1, 10**400):
        raw = b'{"a":[0,%d]}' % number
        assert refused(raw) == uncanonical({"a": [0, number]})
        assert refused(raw) == ("/a/1", "is an integer outside ±(2^53 - 1); write it as a string")


@pytest.mark.parametrize("number", ["1.0", "1e3", "-0.0", "1E0", "0.1", "1e400"])
def test_floats_are_refused_even_where_they_are_whole(number: str) -> None:
    raw = f'{{"a":[0,{{"b":{number}}}]}}'.encode()
    words = "is a number with a fraction or exponent; write it as a string"
    assert refused(raw) == ("/a/1/b", words)
    assert uncanonical({"a": [0, {"b": float(number)}]}) == ("/a/1/b", words)


def test_nan_and_infinity_are_no_json() -> None:
    for word in (b"NaN", b"Infinity", b"-Infinity"):
        assert refused(b"[" + word + b"]")[0] == ""
    for number in (float("nan"), float("inf")):
        assert uncanonical([number])[0] == "/0"


def test_nul_is_refused_in_values_and_keys() -> None:
    words = "holds U+0000, which no hashed document may"
    assert refused(b'{"a":["x","y\\u0000"]}') == uncanonical({"a": ["x", "y\0"]}) == ("/a/1", words)
    assert refused(b'"\\u0000"') == uncanonical("\0") == ("", words)
    key = ("/a", f"has the key 'k\\x00', which {words}")
    assert refused(b'{"a":{"k\\u0000":1}}') == uncanonical({"a": {"k\0": 1}}) == key
    assert refused(b'["\0"]')[0] == ""


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert parse(rb'"\\u0000"') == "\\u0000"
    assert canonical("\\u0000") == rb'"\\u0000"'


def test_lone_surrogates_are_refused() -> None:
    for raw in (
        rb'"\ud800"',
        rb'"\udc00"',
        rb'{"\ud800":1}',
        rb'"\ud800\u0041"',
        b'"\xed\xa0\x80"',
    ):
        assert refused(raw)[0] == ""
    assert uncanonical(["\ud800"]) == ("/0", "holds a lone surrogate, which is no character")
    assert uncanonical([{"\udfff": 1}])[0] == "/0"
    assert parse(rb'"\ud83d\ude00"') == "😀"


def test_nesting_ends_at_32_containers() -> None:
    assert parse(canonical(nested(DEPTH_MAX))) == nested(DEPTH_MAX)
    deep = nested(DEPTH_MAX + 1)
    place = ("/0" * DEPTH_MAX, "is nested too deep, must be within 32 containers")
    assert refused(json.dumps(deep).encode()) == uncanonical(deep) == place
    assert refused(b'{"a":[[]]}', depth_max=2) == (
        "/a/0",
        "is nested too deep, must be within 2 containers",
    )
    assert refused(b"[" * 100_000)[0] == ""


def test_a_value_that_holds_itself_is_too_deep() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert uncanonical(loop)[0] == "/0" * DEPTH_MAX


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"[1,]", b'{"a":1,}', b"[1 2]", b"1 2", b"01", b"+1", b".5", b"1.", b"'a'",
        b'{"a"}', b"{a:1}", b"[1]x", b"nul", b"True", b'"\x01"', b'"\\x41"', b"\xef\xbb\xbf1",
        b'"\xff"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b"/**/1", b"[", b'"', b"-", b"\0",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_line_and_column(raw: bytes) -> None:
    pointer, detail = refused(raw)
    assert pointer == ""
    assert detail.startswith("is not strict JSON: ")
    assert "at line 1 column" in detail


def test_duplicate_keys_are_refused_however_they_are_spelt() -> None:
    for raw in (b'{"a":1,"a":1}', rb'[{"a":1,"b":2,"\u0061":3}]'):
        assert refused(raw)[1].startswith('is not strict JSON: Detected duplicate key "a" at line')


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"x", "is a bytes, must be a JSON value"),
        ({1, 2}, "is a set, must be a JSON value"),
        (object(), "is a object, must be a JSON value"),
        (type("Text", (str,), {})("x"), "is a Text, must be a JSON value"),
        ({1: 2}, "has a key of type int, must be a string"),
        ({None: 2}, "has a key of type NoneType, must be a string"),
    ],
)
def test_canonical_takes_json_values_only(value: object, words: str) -> None:
    assert uncanonical({"a": value}) == ("/a", words)


def test_pointers_are_escaped_as_in_rfc6901() -> None:
    assert refused(b'{"a/b":{"m~n":{"":[{"0":1.5}]}}}')[0] == "/a~1b/m~0n//0/0"
    assert str(NotJSON(*[])) == ""
    with pytest.raises(NotJSON, match=r"^/a~1b: is a number with a fraction"):
        parse(b'{"a/b":1.5}')


def verdict(call: Callable[[], bytes]) -> bytes | tuple[Fault, ...]:
    try:
        return call()
    except NotJSON as error:
        return error.faults


broken = st.sampled_from([1.0, 1e3, 2**53, -(2**53), "\0", "x\0y", {"\0": 1}, [[1.5]]])


@given(st.recursive(scalars | broken, lambda i: st.lists(i) | st.dictionaries(text, i)))
def test_parse_and_canonical_refuse_the_same_at_the_same_place(value: Any) -> None:
    raw = json.dumps(value).encode()
    assert verdict(lambda: canonical(parse(raw))) == verdict(lambda: canonical(value))
