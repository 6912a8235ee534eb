"""Types of options: valid values and refused ones."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.cli.params import MULTIPLE, SECONDS, Bytes, Listed, Whole
from artifex_bench.core.units import LEAST_BARE_BYTES


def is_refused(kind, value):
    """Whether a value is refused by a message that contains it, or its beginning if it is long."""
    with pytest.raises(click.BadParameter) as raised:
        kind.convert(value, None, None)
    return value[:50] in raised.value.message


@given(st.lists(st.integers(-9, 999), min_size=1, max_size=5), st.sampled_from((",", ", ", " , ")))
def test_numbers_in_a_list(numbers, comma):
    assert Listed(int).convert(comma.join(map(str, numbers)), None, None) == numbers


def test_words_in_a_list_keep_their_order():
    assert Listed().convert("none, all,segments-sqrt/dots_saveable", None, None) == [
        "none",
        "all",
        "segments-sqrt/dots_saveable",
    ]


@pytest.mark.parametrize("value", ["", " ", ",", "4,", ",4", "4,,8", "4, ,8"])
def test_empty_entries_are_refused(value):
    assert is_refused(Listed(int), value)


@pytest.mark.parametrize("value", ["x", "4,x", "4.5", "1e3", "4 8", "9" * 5000])
def test_values_that_are_not_whole_numbers_are_refused(value):
    assert is_refused(Listed(int), value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("512MiB", 512 * 2**20),
        ("8GiB", 8 * 2**30),
        ("8 gib", 8 * 2**30),
        ("1.5KiB", 1536),
        ("16GB", 16 * 10**9),
        ("2KB", 2000),
        ("3MB", 3 * 10**6),
        ("7B", 7),
    ],
)
def test_sizes(text, count):
    assert Bytes().convert(text, None, None) == count


@pytest.mark.parametrize(
    "text", ["", "0", "0.0GiB", "0.4", "-1GiB", "GiB", "8Gi", "8 bananas", "1e3", "nan", "8GiB8", "9" * 400]
)
def test_values_that_are_not_sizes_are_refused(text):
    assert is_refused(Bytes(), text)


@pytest.mark.parametrize("text", ["45", "1023", "512.5"])
def test_a_small_memory_size_needs_a_unit(text):
    assert is_refused(Bytes(LEAST_BARE_BYTES), text)
    assert [Bytes(LEAST_BARE_BYTES).convert(size, None, None) for size in (f"{text}B", "1024")] == [
        int(float(text)),
        1024,
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600.0), ("0.5", 0.5), ("1e3", 1000.0), ("30s", 30), ("15min", 900), ("1.5h", 5400)]
)
def test_seconds(text, seconds):
    assert SECONDS.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e999", "soon", "h", "4 days", "0h"])
def test_values_that_are_not_durations_are_refused(text):
    assert is_refused(SECONDS, text)


def test_multiples():
    assert MULTIPLE.convert("1.1x", None, None) == MULTIPLE.convert("1.1", None, None) == 1.1
    assert is_refused(MULTIPLE, "1.1y")


@pytest.mark.parametrize("text", ["1", "12"])
def test_whole_numbers(text):
    assert Whole(1).convert(text, None, None) == int(text)


@pytest.mark.parametrize("text", ["0", "-3", "two", "1.5", "", "9" * 5000])
def test_values_below_the_least_or_not_whole_are_refused(text):
    assert is_refused(Whole(1), text)
