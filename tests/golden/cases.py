"""What the golden losses cover: every family and variant, at its smallest, with each switch.

A case is a family and the settings in which it differs from the family's small base.
"""

from __future__ import annotations

PLANE = {"batch": 64}
IMAGES = {"dataset": "digits8", "batch": 32}

# The smallest that the settings allow, or nearly: what is watched are the formulas, not the size.
SMALL: dict[str, dict[str, object]] = {
    "nice": {**PLANE, "layers": 2, "hidden": 32},
    "realnvp": {**PLANE, "blocks": 2, "hidden": 32},
    "glow_plane": {**PLANE, "steps": 2, "hidden": 32},
    "maf_plane": {**PLANE, "blocks": 2, "hidden": 32},
    "vae_plane": {**PLANE, "hidden": 32, "depth": 1},
    "gan": {"batch": 16, "hidden": 16, "depth": 1},
    "nice_images": {**IMAGES, "layers": 2, "hidden": 100, "depth": 1},
    "realnvp_images": {**IMAGES, "levels": 1, "couplings": 2, "hidden": 32},
    "maf_images": {**IMAGES, "blocks": 2, "layers": 1, "width": 32},
    "glow": {**IMAGES, "levels": 1, "steps": 4, "hidden": 32},
    "gan_images": {**IMAGES, "hidden": 64, "latent": 8},
    "dcgan": {**IMAGES, "maps": 8, "latent": 8},
    "vae": {**IMAGES, "hidden": 64, "latent": 4},
    "maf": {"resolution": 32, "patch": 4, "blocks": 2, "hidden": 32, "batch": 2},
    "cyclegan": {"image_size": 32, "width": 8, "discriminator_width": 8},
    "flow_matching": {**PLANE, "hidden": 32, "depth": 2},
    "flow_matching_images": {**IMAGES, "channels": 16},
}

TRANSPOSED = {"upsampling": "transposed"}  # as everywhere at first

# Name of the file, and of the test: family, then what is switched.
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "nice": ("nice", {}),
    "nice-logistic": ("nice", {"prior": "logistic"}),
    "nice-decay": ("nice", {"weight_decay": 0.1, "dataset": "ring"}),
    "realnvp": ("realnvp", {}),
    "realnvp-spline": ("realnvp", {"coupling": "spline"}),
    "realnvp-actnorm": ("realnvp", {"actnorm": True}),
    "glow_plane": ("glow_plane", {}),
    "maf_plane": ("maf_plane", {}),
    "vae_plane": ("vae_plane", {}),
    "gan": ("gan", {}),
    "gan-original": ("gan", {"loss": "original", "smoothing": 0.1}),
    "gan-least-squares": ("gan", {"loss": "least-squares", "prior": "uniform"}),
    "gan-hinge": ("gan", {"loss": "hinge", "d_steps": 2, "g_steps": 2}),
    "gan-wasserstein": ("gan", {"loss": "wasserstein", "d_steps": 5}),
    "gan-descent": ("gan", {"optimiser": "gradient-descent", "momentum": 0.5}),
    "gan-relativistic": ("gan", {"loss": "relativistic", "penalty_every": 2, "g_steps": 2}),
    "gan-r1": ("gan", {"penalty": "r1", "gamma": 1.0, "ema": 10}),
    "nice_images": ("nice_images", {}),
    "nice_images-gaussian": ("nice_images", {"prior": "gaussian"}),
    "realnvp_images": ("realnvp_images", {"precision": "float32"}),
    "realnvp_images-no-classes": ("realnvp_images", {"conditional": False, "levels": 2}),
    "glow": ("glow", {"precision": "float32"}),
    "glow-mixed": ("glow", {"conditional": False, "levels": 2}),
    "glow-variational": ("glow", {"precision": "float32", "dequantisation": "variational"}),
    "maf_images": ("maf_images", {"precision": "float32"}),
    "maf_images-no-classes": ("maf_images", {"precision": "float32", "conditional": False}),
    "gan_images": ("gan_images", {}),
    "gan_images-wasserstein": ("gan_images", {"loss": "wasserstein", "veil": 0.0}),
    "gan_images-relativistic": (
        "gan_images",
        {"loss": "relativistic", "ema": 10, "augment": "colour-translation-cutout"},
    ),
    "dcgan": ("dcgan", {"precision": "float32"}),
    "dcgan-mixed": ("dcgan", {"loss": "hinge"}),
    "dcgan-relativistic": (
        "dcgan",
        {"precision": "float32", "loss": "relativistic", "augment": "translation-cutout"},
    ),
    "dcgan-residual": (
        "dcgan",
        {"precision": "float32", "network": "residual", "loss": "relativistic"},
    ),
    "vae": ("vae", {}),
    "vae-conv": ("vae", {"network": "conv", "likelihood": "continuous_bernoulli"}),
    "vae-gaussian": ("vae", {"likelihood": "gaussian", "beta": 2.0, "warm_up": 1}),
    "vae-mixed": ("vae", {"precision": "mixed", "depth": 2}),
    "vae-weighted": ("vae", {"draws": 3, "binarised": True, "ema": 50}),
    "vae-residual": ("vae", {"network": "residual", "free_bits": 0.2, "beta": 0.5}),
    "maf": ("maf", {}),
    "maf-image": ("maf", {"model": "image", "image_size": 8}),
    "cyclegan": ("cyclegan", TRANSPOSED),
    "cyclegan-plain": (
        "cyclegan",
        {**TRANSPOSED, "jitter": False, "identity": 0.0, "batch": 2, "decay": 0.0},
    ),
    "cyclegan-mixed": ("cyclegan", {**TRANSPOSED, "width": 32}),
    "cyclegan-resize": ("cyclegan", {}),
    "cyclegan-contrast": ("cyclegan", {"tie": "contrast", "batch": 2}),
    "flow_matching": ("flow_matching", {}),
    "flow_matching-transport": ("flow_matching", {"path": "optimal_transport"}),
    "flow_matching-noise": ("flow_matching", {"path": "variance_preserving", "target": "noise"}),
    "flow_matching_images": ("flow_matching_images", {}),
    "flow_matching_images-data": (
        "flow_matching_images",
        {"conditional": False, "path": "variance_preserving", "target": "data"},
    ),
}
