"""CUT: one generator, tied to its input by comparing patches, without a way back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from models.blocks.layers import blank
from models.cyclegan import PatchDiscriminator, ResNetGenerator, start

PATCHES = 256  # of an image that are compared, at each depth
PROJECTED = 64  # numbers that a patch is compared by; the paper has 256
TEMPERATURE = 0.07
FIRST_BLOCK = 10  # layer of the generator; before it are the image and its two halvings


class CUT(nn.Module):
    """A generator from A to B, the discriminator of B, and what patches are compared by.

    Args:
        width: channels next to the image in the generator.
        blocks: residual blocks of the generator.
        discriminator_width: channels next to the image in the discriminator.
        upsampling: of the generator, a key of ``models.cyclegan.UPSAMPLINGS``.

    References:
        Contrastive Learning for Unpaired Image-to-Image Translation (Park, Efros, Zhang, Zhu,
        2020). https://arxiv.org/abs/2007.15651
    """

    def __init__(
        self, *, width: int, blocks: int, discriminator_width: int, upsampling: str
    ) -> None:
        super().__init__()
        self.a_to_b = ResNetGenerator(width=width, blocks=blocks, upsampling=upsampling)
        self.discriminator_b = PatchDiscriminator(width=discriminator_width)
        # The pixels themselves, both halvings, the first block and the last, or the fifth.
        self.depths = (0, 4, 7, FIRST_BLOCK, FIRST_BLOCK + min(4, blocks - 1))
        channels = (3, 2 * width, 4 * width, 4 * width, 4 * width)
        self.heads = nn.ModuleList(_head(wide) for wide in channels)

    @property
    def generators(self) -> nn.ModuleList:
        """The generator and the heads, which share its loss and move in its step."""
        return nn.ModuleList([self.a_to_b, self.heads])

    @property
    def discriminators(self) -> nn.ModuleList:
        """The one discriminator."""
        return nn.ModuleList([self.discriminator_b])

    def translated(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return translations of images ``(B, 3, H, W)``, and features at each depth.

        Features have the shape ``(B, C, h, w)``, each depth its own.
        """
        found = []
        for depth, layer in enumerate(self.a_to_b.layers):
            x = layer(x)
            if depth in self.depths:
                found.append(x)
        return x, found

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features of images ``(B, 3, H, W)`` at each depth, and go no deeper."""
        found = []
        for depth, layer in enumerate(self.a_to_b.layers[: self.depths[-1] + 1]):
            x = layer(x)
            if depth in self.depths:
                found.append(x)
        return found

    def contrast(
        self, queries: Sequence[Tensor], keys: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """Return how badly patches of translations find their own place, a scalar.

        Args:
            queries: features of translations at each depth, ``(B, C, h, w)``.
            keys: features of what was translated; no gradient flows to them.
            generator: of the places that are compared, on the device of the features.
        """
        losses = []
        for query, key, head in zip(queries, keys, self.heads, strict=True):
            count = query.shape[2] * query.shape[3]
            places = torch.randperm(count, generator=generator, device=query.device)[:PATCHES]
            q, k = (head(part.flatten(2)[:, :, places].mT) for part in (query, key.detach()))
            losses.append(patch_nce(q, k.detach()))
        return torch.stack(losses).mean()


def patch_nce(queries: Tensor, keys: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the cross-entropy of finding each patch's own place among all of its image, a scalar.

    Args:
        queries: of each patch of the translations, ``(B, S, D)``.
        keys: of the patches at the same places of what was translated, ``(B, S, D)``.
        temperature: what likenesses, cosines from -1 to 1, are divided by.

    References:
        Contrastive Learning for Unpaired Image-to-Image Translation (Park et al., 2020), equations
        2 and 3. https://arxiv.org/abs/2007.15651
    """
    q, k = (normalize(part.float(), dim=-1) for part in (queries, keys))
    likeness = q @ k.mT / temperature  # (B, S, S)
    own = torch.arange(likeness.shape[1], device=likeness.device).expand(likeness.shape[:2])
    return cross_entropy(likeness.flatten(0, 1), own.flatten())


def cut(
    *,
    width: int,
    blocks: int,
    discriminator_width: int,
    upsampling: str,
    generator: torch.Generator | None = None,
) -> CUT:
    """Return untrained networks: weights are normal, with the standard deviation 0.02.

    Args:
        width: channels next to the image in the generator.
        blocks: residual blocks of the generator.
        discriminator_width: channels next to the image in the discriminator.
        upsampling: of the generator, a key of ``models.cyclegan.UPSAMPLINGS``.
        generator: source of the initial weights.
    """
    model = CUT(
        width=width,
        blocks=blocks,
        discriminator_width=discriminator_width,
        upsampling=upsampling,
    )
    start(model, generator)
    return model


def _head(channels: int) -> nn.Module:
    return nn.Sequential(
        blank(nn.Linear, channels, PROJECTED), nn.ReLU(), blank(nn.Linear, PROJECTED, PROJECTED)
    )
