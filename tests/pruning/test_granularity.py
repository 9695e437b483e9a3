import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.pruning.granularity import (
    groups_of_inputs,
    kept_units,
    parse_unit,
    rows_of,
    spread,
    without_units,
)
from pomona.pruning.layers import axes_of, groups_of

UNITS = ["weight", "channel-in", "channel-out", "kernel", "block-2x2", "block-3x4", "block-9x1", "2:4"]
LAYERS = [
    ("linear", (5, 7)),
    ("conv", (4, 6, 3, 3)),
    ("conv", (4, 6, 3)),
    ("conv groups=2", (4, 3, 3, 3)),
    ("conv groups=4", (4, 1, 3, 3)),
    ("conv-transposed", (6, 4, 3, 3)),
    ("conv-transposed groups=2", (6, 2, 3, 3)),
    ("embedding", (9, 4)),
    ("attention", (12, 4)),
]


def place_of(kind: str, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, int]:
    """Output and input channel of one weight, written out from the definition of each layer."""
    out_axis, in_axis = axes_of(kind)
    groups = groups_of(kind)
    out, into = index[out_axis], index[in_axis]
    if groups > 1 and kind.startswith("conv-transposed"):
        group = into // (shape[in_axis] // groups)
        return group * shape[out_axis] + out, into
    if groups > 1:
        group = out // (shape[out_axis] // groups)
        return out, group * shape[in_axis] + into
    return out, into


def unit_of(text: str, kind: str, shape: tuple[int, ...], index: tuple[int, ...]) -> object:
    out, into = place_of(kind, shape, index)
    if text in ("weight", "2:4"):
        return index
    if text.startswith("block"):
        rows, columns = map(int, text[6:].split("x"))
        groups = groups_of(kind)
        out_axis, in_axis = axes_of(kind)
        # Blocks lie within a group.
        outs = shape[out_axis] // (1 if kind.startswith("conv-transposed") else groups)
        ins = shape[in_axis] // (groups if kind.startswith("conv-transposed") else 1)
        return out // outs, (out % outs) // rows, (into % ins) // columns
    return {"channel-in": into, "channel-out": out, "kernel": (out, into)}[text]


@pytest.mark.parametrize("text", UNITS)
@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_rows_hold_the_members_of_one_unit_each(text, kind, shape):
    unit = parse_unit(text)
    places = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape)
    found = {frozenset(row[row > 0].tolist()) for row in rows_of(places, unit, kind)}
    wanted: dict[object, set[int]] = {}
    for index in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
        wanted.setdefault(unit_of(text, kind, shape, tuple(index)), set()).add(int(places[tuple(index)]))
    assert found == {frozenset(members) for members in wanted.values()}


@pytest.mark.parametrize("text", UNITS)
@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_spread_leads_each_mark_back_to_its_members(text, kind, shape):
    unit = parse_unit(text)
    places = torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape)
    rows = rows_of(places, unit, kind)
    marks = spread(torch.arange(len(rows)), places, unit, kind)
    for number, row in enumerate(rows):
        assert set(places[marks == number].tolist()) == set(row[row > 0].tolist())


@given(st.sampled_from(UNITS), st.sampled_from(LAYERS), st.integers(0, 10_000))
def test_without_units_takes_whole_units_and_revives_nothing(text, layer, seed):
    kind, shape = layer
    unit = parse_unit(text)
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=draw) < 0.7
    units = kept_units(mask, unit, kind)
    gone = units & (torch.rand(units.shape, generator=draw) < 0.4)
    after = without_units(mask, unit, kind, gone)
    assert not (after & ~mask).any()
    assert torch.equal(kept_units(after, unit, kind), units & ~gone)
    assert torch.equal(after, mask & ~spread(gone, mask, unit, kind))


@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_groups_are_consecutive_inputs_of_one_output(kind, shape):
    numbers = groups_of_inputs(torch.zeros(shape), parse_unit("2:4"), kind)
    _, in_axis = axes_of(kind)
    lines: dict[int, set[tuple[int, ...]]] = {}
    for index in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
        rest = (*index[:in_axis], index[in_axis] // 4, *index[in_axis + 1 :])
        lines.setdefault(int(numbers[tuple(index)]), set()).add(rest)
    assert sorted(lines) == list(range(int(numbers.max()) + 1))
    assert all(len(found) == 1 for found in lines.values())


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("chanel-in", "unknown granularity 'chanel-in'; did you mean 'channel-in'"),
        ("block-0x4", "unknown granularity"),
        ("4:4", "a group keeps fewer weights than it has"),
        ("4:2", "as in '2:4'"),
        (3, "unknown granularity"),
    ],
)
def test_what_is_no_granularity_says_the_nearest(written, message):
    with pytest.raises(InputError, match=message):
        parse_unit(written)


@pytest.mark.parametrize("text", UNITS)
def test_a_unit_is_written_as_it_is_read(text):
    assert str(parse_unit(text)) == text


def test_a_vector_has_no_channels():
    with pytest.raises(InputError, match=r"a tensor of shape \(4,\) has no input channels"):
        rows_of(torch.zeros(4), parse_unit("channel-in"), "linear")
