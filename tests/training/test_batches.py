import numpy as np
import pytest
import torch

from pomona.core.errors import InputError
from pomona.training.batches import Batches, Examples

CPU = torch.device("cpu")


def _examples(channels, n=20):
    images = np.random.Generator(np.random.Philox(key=3)).integers(
        0, 256, (n, channels, 4, 5), dtype=np.uint8
    )
    return Examples(
        images, (np.arange(n) % 7).astype(np.uint8), (0.5, 0.25, 2.0)[:channels], (-1.0, 0.5, 3.0)[:channels]
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_gather_scales_and_shifts_by_channel_in_the_order_of_the_indices(channels):
    examples = _examples(channels)
    inputs, labels = Batches(examples, CPU).gather(np.array([5, 0, 19, 5]))
    scale = np.array(examples.scale, np.float32).reshape(-1, 1, 1)
    shift = np.array(examples.shift, np.float32).reshape(-1, 1, 1)
    wanted = examples.images[[5, 0, 19, 5]].astype(np.float32) * scale + shift
    assert np.array_equal(inputs.numpy(), wanted)
    assert inputs.dtype == torch.float32
    assert labels.tolist() == [5, 0, 5, 5]
    assert labels.dtype == torch.int64


def test_batches_read_memory_mapped_images_and_change_nothing(tmp_path):
    examples = _examples(3)
    np.save(tmp_path / "images.npy", examples.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    same = Examples(mapped, examples.labels, examples.scale, examples.shift)
    chosen = np.arange(0, 20, 3)
    before = examples.images.copy()
    assert torch.equal(Batches(same, CPU).gather(chosen)[0], Batches(examples, CPU).gather(chosen)[0])
    assert np.array_equal(mapped, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((3, 1, 2, 2), np.float32)}, "images: expected uint8 .* got float32"),
        ({"images": np.zeros((3, 2, 2), np.uint8)}, r"got uint8 of \(3, 2, 2\)"),
        ({"labels": np.zeros(2, np.uint8)}, r"labels: expected uint8 of \(3,\), got uint8 of \(2,\)"),
        ({"scale": (1.0, 1.0)}, "scale: 2 values for 1 channels"),
    ],
)
def test_examples_names_what_does_not_fit(change, message):
    plain = {"images": np.zeros((3, 1, 2, 2), np.uint8), "labels": np.zeros(3, np.uint8)}
    with pytest.raises(InputError, match=message):
        Examples(**{**plain, "scale": (1.0,), "shift": (0.0,), **change})
