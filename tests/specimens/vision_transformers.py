"""Vision transformers with timm's parameter names; tokens inside are (batch, tokens, size)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .definitions import FeedForward


class Attention(nn.Module):
    """timm's attention: ``qkv`` holds queries, keys and values, each of all heads in turn; then ``proj``."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)

    def forward(self, x: Tensor, bias: Tensor | float = 0.0) -> Tensor:
        """Tokens (batch, tokens, size); ``bias`` is added to the scores (batch, heads, tokens, tokens)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3]) + bias
        return self.proj((scores.softmax(3) @ v).transpose(1, 2).flatten(2))


class PatchEmbedding(nn.Module):
    """``proj``: square patches as tokens (batch, patches, size)."""

    def __init__(self, patch: int, size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, size, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class ViTBlock(nn.Module):
    """A pre-norm block of a Transformer."""

    def __init__(self, size: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(size, eps=1e-6), Attention(size, heads)
        self.norm2, self.mlp = nn.LayerNorm(size, eps=1e-6), FeedForward(size, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021, with timm's names: a class token, learned positions, one linear head."""

    def __init__(
        self, image: int, patch: int, size: int, heads: int, hidden: int, depth: int, labels: int
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image // patch) ** 2, size))
        self.patch_embed = PatchEmbedding(patch, size)
        self.blocks = nn.Sequential(*(ViTBlock(size, heads, hidden) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(size, eps=1e-6), nn.Linear(size, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class WindowAttention(Attention):
    """Attention within windows, with a learned bias for each offset between two positions and each head."""

    def __init__(self, size: int, heads: int, window: int) -> None:
        super().__init__(size, heads)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()])
        offsets = places[:, :, None] - places[:, None, :] + window - 1
        index = offsets[0] * (2 * window - 1) + offsets[1]
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, x: Tensor, bias: Tensor | float = 0.0) -> Tensor:
        learned = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        return super().forward(x, learned + bias)


class SwinBlock(nn.Module):
    """Attention within windows of the image, moved by ``shift``, and a feed-forward network; images last-axis."""

    def __init__(self, size: int, heads: int, hidden: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.attn = nn.LayerNorm(size), WindowAttention(size, heads, window)
        self.norm2, self.mlp = nn.LayerNorm(size), FeedForward(size, hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        y = self.windows(self.norm1(x).roll((-self.shift, -self.shift), (1, 2)))
        y = self.attn(y, self.mask(height, width, x).repeat(batch, 1, 1, 1))
        rows = (batch, height // self.window, width // self.window, self.window, self.window, -1)
        y = y.reshape(rows).transpose(2, 3).reshape(x.shape)
        x = x + y.roll((self.shift, self.shift), (1, 2))
        return x + self.mlp(self.norm2(x))

    def windows(self, x: Tensor) -> Tensor:
        """(batch, height, width, size) → (batch · windows, window², size)."""
        x = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def mask(self, height: int, width: int, like: Tensor) -> Tensor:
        """Scores to add (windows, 1, window², window²): what the shift brought together stays apart."""
        image = like.new_zeros(1, height, width, 1)
        for axis, length in ((1, height), (2, width)):
            wrapped = torch.arange(length, device=like.device) >= length - self.shift
            image = 2 * image + wrapped.view([-1 if a == axis else 1 for a in range(4)])
        regions = self.windows(image).squeeze(2)
        return -100.0 * (regions[:, None, :, None] != regions[:, None, None, :]).to(like.dtype)


class PatchMerging(nn.Module):
    """Four neighbouring positions become one of twice the size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * size), nn.Linear(4 * size, 2 * size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


class SwinStage(nn.Module):
    """timm's stage: ``downsample`` (but in the first), then blocks of which every second one is shifted."""

    def __init__(self, size: int, heads: int, hidden: int, window: int, depth: int, merge: bool) -> None:
        super().__init__()
        self.downsample = PatchMerging(size // 2) if merge else nn.Identity()
        shifts = [window // 2 * (number % 2) for number in range(depth)]
        self.blocks = nn.Sequential(*(SwinBlock(size, heads, hidden, window, shift) for shift in shifts))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Swin(nn.Module):
    """Liu et al. 2021, with timm's names; ``stages`` are (heads, hidden, depth), each of twice the size."""

    def __init__(
        self, patch: int, size: int, stages: Sequence[tuple[int, int, int]], window: int, labels: int
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, size, patch, stride=patch)
        self.patch_embed.norm = nn.LayerNorm(size)
        self.layers = nn.Sequential(
            *(
                SwinStage(size * 2**number, heads, hidden, window, depth, merge=number > 0)
                for number, (heads, hidden, depth) in enumerate(stages)
            )
        )
        size *= 2 ** (len(stages) - 1)
        self.norm, self.head = nn.LayerNorm(size), nn.Module()
        self.head.fc = nn.Linear(size, labels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.patch_embed.norm(self.patch_embed.proj(x).permute(0, 2, 3, 1)))
        return self.head.fc(self.norm(x).mean((1, 2)))
