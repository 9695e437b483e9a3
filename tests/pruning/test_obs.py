import pytest
import torch

from pomona.core.errors import InputError
from pomona.core.streams import Stream
from pomona.pruning import obs


def positive(size, index):
    rows = torch.from_numpy(Stream("init", index).normal(2 * size * size)).reshape(-1, size)
    return rows.T @ rows / len(rows)


def numbers(*shape):
    return torch.from_numpy(Stream("init", 7).normal(torch.Size(shape).numel())).reshape(shape)


def masks(shape):
    first = torch.from_numpy(Stream("mask", 0).uniform(torch.Size(shape).numel())).reshape(shape)
    return first > 0.2, first > 0.5


def damped(hessian, kept):
    return hessian + 0.01 * hessian.diagonal()[kept].mean() * torch.eye(len(hessian), dtype=torch.float64)


def test_update_is_the_minimum_under_the_constraints():
    """Against the solution of the KKT system of: minimise dw' H dw where (w + dw) is zero on the pruned."""
    hessian, weight = positive(20, 0), numbers(4, 5)
    before, after = masks((4, 5))
    kept = before.flatten()
    inverses = obs.damped_inverses(hessian.clone()[None], kept[None])
    found = obs.update(weight, before, after, inverses).flatten()
    at = kept.nonzero().flatten()
    gone = (before & ~after).flatten()[at].nonzero().flatten()
    h, w = damped(hessian, kept)[at][:, at], weight.flatten()[at]
    chosen = torch.eye(len(at), dtype=torch.float64)[gone]
    zeros = torch.zeros(len(gone), len(gone), dtype=torch.float64)
    system = torch.cat([torch.cat([h, chosen.T], 1), torch.cat([chosen, zeros], 1)])
    right = torch.cat([torch.zeros(len(at), dtype=torch.float64), -w[gone]])
    expected = w + torch.linalg.solve(system, right)[: len(at)]
    torch.testing.assert_close(found[at], expected, rtol=1e-9, atol=1e-12)
    assert not found[at][gone].any()
    assert torch.equal(found[~kept], weight.flatten()[~kept])


def test_the_score_of_one_weight_is_what_its_best_removal_costs():
    hessian, weight = positive(12, 1), numbers(12)
    before = torch.ones(12, dtype=torch.bool)
    inverses = obs.damped_inverses(hessian.clone()[None], before[None])
    diagonal = obs.diagonal_of(inverses, (12,))
    for i in range(12):
        after = before.clone()
        after[i] = False
        step = obs.update(weight, before, after, inverses) - weight
        cost = step @ damped(hessian, before) @ step / 2
        assert float(cost) == pytest.approx(float(weight[i] ** 2 / (2 * diagonal[i])), rel=1e-10)


def test_blocks_are_independent_and_the_last_may_be_short(monkeypatch):
    monkeypatch.setattr(obs, "BLOCK", 6)
    weight, (before, after) = numbers(4, 5), masks((4, 5))
    keep = obs.in_blocks(before)
    assert keep.shape == (4, 6)
    assert not keep[3, 2:].any()
    blocks = torch.stack([positive(6, index) for index in range(4)])
    inverses = obs.damped_inverses(blocks.clone(), keep)
    found = obs.update(weight, before, after, inverses)
    damping = 0.01 * torch.cat([b.diagonal()[k] for b, k in zip(blocks, keep, strict=True)]).mean()
    flat = weight.flatten()
    for start in range(0, 20, 6):
        at = torch.arange(start, min(start + 6, 20))
        at = at[before.flatten()[at]]
        h = blocks[start // 6][at - start][:, at - start] + damping * torch.eye(len(at), dtype=torch.float64)
        gone = (~after).flatten()[at].nonzero().flatten()
        stay = after.flatten()[at].nonzero().flatten()
        # The survivors' best change, eliminated directly.
        expected = flat[at][stay] + torch.linalg.solve(h[stay][:, stay], h[stay][:, gone] @ flat[at][gone])
        torch.testing.assert_close(found.flatten()[at][stay], expected, rtol=1e-9, atol=1e-12)


def test_update_keeps_the_dtype_and_what_is_given():
    hessian, weight = positive(20, 0), numbers(4, 5).float()
    before, after = masks((4, 5))
    inverses = obs.damped_inverses(hessian[None], before.flatten()[None])
    copies = [x.clone() for x in (weight, before, after, inverses)]
    found = obs.update(weight, before, after, inverses)
    assert found.dtype == torch.float32
    assert not found[before & ~after].any()
    assert all(torch.equal(x, y) for x, y in zip((weight, before, after, inverses), copies, strict=True))
    assert torch.equal(obs.update(weight, before, before, inverses), weight)


def test_update_refuses_a_mask_that_revives_and_blocks_of_another_layer():
    weight, (before, after) = numbers(4, 5), masks((4, 5))
    inverses = obs.damped_inverses(positive(20, 0)[None], before.flatten()[None])
    with pytest.raises(InputError, match="keeps weights that were pruned before"):
        obs.update(weight, after, before, inverses)
    with pytest.raises(InputError, match=r"shape \(1, 20, 20\) for 20 weights, got \(1, 6, 6\)"):
        obs.update(weight, before, after, inverses[:, :6, :6])


def test_size_is_refused_with_what_is_needed_and_what_to_do():
    obs.refuse_too_large({"fc.weight": 1_000_000})
    with pytest.raises(InputError, match=r"obs needs 38\.2 GiB .*of fc1, fc2, more than 4 GiB; .*'obd'"):
        obs.refuse_too_large({"fc1": 9_000_000, "fc2": 1_000_000})
