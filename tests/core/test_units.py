"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core import units

SCALES = {"s": 1, "ms": 1e-3, "min": 60, "h": 3600, "µs": 1e-6, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SCALES |= {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (units.format_seconds, 1.2345, "1.23 s"),
        (units.format_seconds, 0.0123, "12.3 ms"),
        (units.format_seconds, 0.000456, "456 µs"),
        (units.format_seconds, 0.0, "0 µs"),
        (units.format_seconds, 113.4, "113 s"),
        (units.format_seconds, 123.4, "2.06 min"),
        (units.format_seconds, 14400, "4.00 h"),
        (units.format_bytes, 512, "512 B"),
        (units.format_bytes, 1536, "1.50 KiB"),
        (units.format_bytes, 12.3 * 2**20, "12.3 MiB"),
        (units.format_bytes, 4 * 2**30, "4.00 GiB"),
        (units.format_bytes, 0, "0 B"),
        (units.format_count, 12.3, "12.3"),
        (units.format_count, 12_300, "12.3 k"),
        (units.format_count, 4_560_000, "4.56 M"),
        (units.format_count, 7.89e9, "7.89 G"),
        (units.format_count, 1.5e12, "1.50 T"),
        (units.format_ratio, 1.0, "1.00x"),
        (units.format_ratio, 0.123, "0.12x"),
    ],
)
def test_numbers(show, value, text):
    assert show(value) == text


@pytest.mark.parametrize("show", [units.format_seconds, units.format_bytes, units.format_count, units.format_ratio])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_an_absent_value_is_a_dash(show, value):
    assert show(value) == units.ABSENT


@given(st.floats(1e-9, 1e13), st.sampled_from((units.format_seconds, units.format_bytes, units.format_count)))
def test_shown_numbers_are_right_to_three_digits(value, show):
    number, _, unit = show(value).partition(" ")
    parsed = float(number) * SCALES[unit]
    # the last digit of the least unit
    smallest = {units.format_seconds: 1e-8, units.format_bytes: 1.0, units.format_count: 0.01}[show]
    assert abs(parsed - value) <= max(0.0051 * value, 0.51 * smallest)


@pytest.mark.parametrize(("value", "text"), [(9.999, "10.0"), (99.99, "100"), (9.994, "9.99"), (99.94, "99.9")])
def test_three_digits_stay_three_when_they_are_rounded_up(value, text):
    assert units.format_count(value) == text


@pytest.mark.parametrize(
    ("quantity", "largest", "unit", "size"),
    [
        ("seconds", 3.0, "s", 1),
        ("seconds", 0.2, "ms", 1e-3),
        ("seconds", 1e-9, "µs", 1e-6),
        ("bytes", 2**21, "MiB", 2**20),
    ],
)
def test_the_unit_of_an_axis(quantity, largest, unit, size):
    assert units.choose_unit(quantity, largest) == (unit, size)
    assert units.choose_unit("", largest) == ("", 1.0)
