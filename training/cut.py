"""Train CUT: one direction of a translation without pairs, tied by contrast in place of a cycle."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from training.core.unpaired import Translation, discriminator_loss, exact, squared


class CUTTraining(Translation):
    """One least-squares duel, and patches of translations that have to be found in their input.

    A step is one of the generator, on all of its losses at once, and then one of the discriminator.
    Its settings are those of CycleGAN.

    References:
        Contrastive Learning for Unpaired Image-to-Image Translation (Park, Efros, Zhang, Zhu,
        2020), equation 5, with both weights the same. https://arxiv.org/abs/2007.15651
    """

    LOSSES = ("adversarial_ab", "contrast_a", "contrast_b", "discriminator_b")
    WAYS = ("ab",)

    def update(self) -> Mapping[str, Tensor]:
        a, b = self.batch()
        rate = self.live["learning_rate"] * self.rate_factor()
        logged, fake = self.move_generator(a, b, rate)
        return logged | {"discriminator_b": self.move_discriminator(b, fake, rate)}

    def move_generator(self, a: Tensor, b: Tensor, rate: float) -> tuple[dict[str, Tensor], Tensor]:
        """Take the generator's step; return its losses and the translations, detached.

        Both batches have the shape ``(B, 3, S, S)``, and so have the translations.
        """
        net, count = self.model, len(a)
        with self.precision():
            made, keys = net.translated(torch.cat([a, b]))
            queries = net.features(made)
            adversarial = squared(net.discriminator_b(made[:count]), 1.0)
            contrasts = [
                net.contrast([q[part] for q in queries], [k[part] for k in keys], self.generator)
                for part in (slice(count), slice(count, None))
            ]
        loss = adversarial + self.live["contrast"] * sum(contrasts)
        optimiser = self.optimisers["generators"]
        gradients = torch.autograd.grad(loss, optimiser.parameters)
        optimiser.along(gradients, loss.detach(), rate)
        named = zip(("adversarial_ab", "contrast_a", "contrast_b"), (adversarial, *contrasts))
        return {name: value.detach() for name, value in named}, exact(made[:count].detach())

    def move_discriminator(self, b: Tensor, fake: Tensor, rate: float) -> Tensor:
        """Take the discriminator's step, on translations out of the pool; return its loss.

        Both have the shape ``(B, 3, S, S)``; the loss is a scalar.
        """
        old = self.pools[0].exchange(fake, self.generator)
        with self.precision():
            loss = discriminator_loss(self.model.discriminator_b, b, old)
        self.optimisers["discriminators"].step(loss, rate)
        return loss.detach()
