"""Modules of every prunable kind, small."""

import torch
from torch import Tensor, nn


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
    )


class Speaker(nn.Module):
    """An embedding, attention, and a head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embed(tokens)
        mixed, _ = self.attention(hidden, hidden, hidden)
        logits: Tensor = self.head(hidden + mixed).mean(1)
        return logits


class Hourglass(nn.Module):
    """A grouped and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 8, 3, groups=2, stride=2)
        self.up = nn.ConvTranspose2d(8, 4, 3, groups=2)
        self.last = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.last(self.up(torch.relu(self.down(images))).mean((2, 3)))
        return logits


def batch_of(module: nn.Module, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    if isinstance(module, Speaker):
        return torch.randint(0, 12, (20, 6), generator=draw), torch.randint(0, 12, (20,), generator=draw)
    channels = 2 if isinstance(module, Hourglass) else 1
    classes = 3 if isinstance(module, Hourglass) else 5
    images = torch.randn(20, channels, 8, 8, generator=draw)
    return images, torch.randint(0, classes, (20,), generator=draw)
