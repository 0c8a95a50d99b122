"""Draw the mark of the lab and the image on each family's card.

    python -m assets.cards.make

Everything in the images is computed: the grid of NICE goes through additive couplings, the one of
RealNVP through affine couplings that this script has just fitted to two moons, and the digits of
Glow are samples of the run that ships with the lab, the heat on MAF's capsule is of its run, and
VAE's digits are the latent plane of its run, decoded. GAN's duel is of its run, early on. The
orange of CycleGAN is the apple beside it, translated by its run.
"""

from pathlib import Path

import numpy as np
import torch

from analysis.image_latents import context_of, decode, log_prob_by_class
from analysis.maf.scores import image_of, load_evaluation, weights_step
from datasets.rendered_sets import rendered_test_image
from figures.palette import DARK, LIGHT, sequential
from lab.store import Run

HERE = Path(__file__).parent
WIDTH, HEIGHT = 640, 360


class Affine:
    """An affine coupling whose log-scale and shift are read off fixed random features."""

    def __init__(self, passive: int, rng: np.random.Generator, features: int = 40):
        self.a, self.b = passive, 1 - passive
        self.slope = rng.normal(0, 1.6, features)
        self.offset = rng.uniform(-3, 3, features)
        self.weights = np.zeros((2, features))

    def _scale_shift(self, passive):  # (n,) -> (n, features), (n,), (n,)
        phi = np.tanh(self.slope * passive[:, None] + self.offset) / np.sqrt(self.slope.size)
        return phi, 1.5 * np.tanh(phi @ self.weights[0]), phi @ self.weights[1]

    def forward(self, z):  # latent -> data
        x = z.copy()
        _, s, t = self._scale_shift(z[:, self.a])
        x[:, self.b] = z[:, self.b] * np.exp(s) + t
        return x

    def inverse(self, x):  # data -> latent, and log |det| of each point
        z = x.copy()
        _, s, t = self._scale_shift(x[:, self.a])
        z[:, self.b] = (x[:, self.b] - t) * np.exp(-s)
        return z, -s

    def backward(self, x, z, grad):
        """From d loss / d z to d loss / d x and d loss / d weights; the loss contains +mean(s)."""
        phi, s, _ = self._scale_shift(x[:, self.a])
        through = grad[:, self.b] * np.exp(-s)
        d_s = 1 / len(x) - grad[:, self.b] * z[:, self.b]
        d_raw = d_s * (1.5 - s**2 / 1.5)
        slope = (1 - phi**2 * self.slope.size) * self.slope / np.sqrt(self.slope.size)
        out = grad.copy()
        out[:, self.b] = through
        out[:, self.a] += d_raw * (slope @ self.weights[0]) - through * (slope @ self.weights[1])
        return out, np.stack([d_raw @ phi, -through @ phi])


def two_moons(n, rng, noise=0.06):
    angle = rng.uniform(0, np.pi, n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    x = np.where(rng.random((n, 1)) < 0.5, upper, lower) + rng.normal(0, noise, (n, 2))
    return (x - [0.5, 0.25]) / [0.87, 0.5]


def fitted_flow(steps=3000, couplings=12):
    """Affine couplings fitted to two moons by maximum likelihood, gradients by hand."""
    rng = np.random.default_rng(3)
    layers = [Affine(k % 2, rng) for k in range(couplings)]
    first = [np.zeros_like(layer.weights) for layer in layers]
    second = [np.zeros_like(layer.weights) for layer in layers]
    for step in range(1, steps + 1):
        states = [two_moons(512, rng, noise=0.09)]
        for layer in reversed(layers):
            states.append(layer.inverse(states[-1])[0])
        grad = states[-1] / len(states[-1])
        rate = 0.03 * np.sin(np.pi * step / (steps + 1)) ** 0.8
        for k, layer in enumerate(layers):
            x, z = states[couplings - 1 - k], states[couplings - k]
            grad, d_weights = layer.backward(x, z, grad)
            first[k] += 0.1 * (d_weights - first[k])
            second[k] += 0.01 * (d_weights**2 - second[k])
            mean, square = first[k] / (1 - 0.9**step), second[k] / (1 - 0.99**step)
            layer.weights -= rate * mean / (np.sqrt(square) + 1e-8)
    return layers


# --- Drawing ------------------------------------------------------------------------------------


def curve(points, **style):
    """A polyline through (n, 2) pixel coordinates, as far as it is on the card."""
    near = np.all((points > -20) & (points < [WIDTH + 20, HEIGHT + 20]), axis=1)
    path = ""
    for piece in np.split(points, np.flatnonzero(np.diff(near)) + 1):
        if np.all((piece[0] > -20) & (piece[0] < [WIDTH + 20, HEIGHT + 20])) and len(piece) > 1:
            path += "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in thinned(piece))
    return f'<path d="{path}" {attributes(style)}/>' if path else ""


def thinned(points, tolerance=0.12):
    """The fewest points that stay within `tolerance` pixels (Douglas and Peucker, 1973)."""
    start, end = points[0], points[-1]
    along = (end - start) / max(np.hypot(*(end - start)), 1e-9)
    away = np.abs((points - start) @ [-along[1], along[0]])
    if np.allclose(start, end):
        away = np.hypot(*(points - start).T)
    far = int(away.argmax())
    if away[far] <= tolerance:
        return np.stack([start, end])
    return np.vstack([thinned(points[: far + 1])[:-1], thinned(points[far:])])


def dots(points, radius, **style):
    """Many dots as one path of zero-length strokes with round ends."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)
    return f'<path d="{path}" stroke-width="{2 * radius}" {attributes(style)}/>'


def attributes(style):
    return " ".join(f'{key.replace("_", "-")}="{value}"' for key, value in style.items())


def colour(level):
    """The colour of a density between 0 and 1 on the dark card."""
    red, green, blue, _ = sequential("dark")[round(255 * level)]
    return f"#{red:02X}{green:02X}{blue:02X}"


def card(name, title, shapes):
    body = "\n".join(filter(None, shapes))
    (HERE / f"{name}.svg").write_text(f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" \
aria-label="{title}">
<title>{title}</title>
<defs>
<radialGradient id="{name}-ground" cx="50%" cy="46%" r="75%">
<stop offset="0" stop-color="#1A2A49"/><stop offset="1" stop-color="{DARK.background}"/>
</radialGradient>
<clipPath id="{name}-edge"><rect width="{WIDTH}" height="{HEIGHT}" rx="16"/></clipPath>
</defs>
<g clip-path="url(#{name}-edge)" fill="none" stroke-linecap="round" stroke-linejoin="round">
<rect width="{WIDTH}" height="{HEIGHT}" fill="url(#{name}-ground)"/>
{body}
<rect x=".75" y=".75" width="{WIDTH - 1.5}" height="{HEIGHT - 1.5}" rx="15.5" \
stroke="{DARK.grid}" stroke-width="1.5"/>
</g>
</svg>
""")


def lines(low, high, count, reach, resolution=240):
    """Vertical and horizontal lines of a square grid, each (resolution, 2)."""
    run = np.linspace(-reach, reach, resolution)
    for at in np.linspace(low, high, count):
        yield at, np.stack([np.full_like(run, at), run], axis=1)
        yield at, np.stack([run, np.full_like(run, at)], axis=1)


def rings(radii, resolution=360):
    turn = np.linspace(0, 2 * np.pi, resolution)
    for radius in radii:
        yield radius, radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def nice():
    """A Gaussian and its grid, scaled along the axes and sheared by three additive couplings."""

    def flow(z):
        x = z * [1.4, 0.42]
        x[:, 1] += 0.95 * np.sin(1.3 * x[:, 0])
        x[:, 0] -= 0.85 * np.sin(0.9 * x[:, 1])
        x[:, 1] += 0.2 * np.sin(0.8 * x[:, 0])
        return x

    def pixels(x):
        return np.array([WIDTH / 2, HEIGHT / 2]) + x * [64, -64]

    rng = np.random.default_rng(8)
    shapes = []
    for at, line in lines(-3, 3, 25, 3.1, 700):
        style = {"stroke": DARK.accent, "stroke_width": 1}
        shapes.append(curve(pixels(flow(line)), opacity=round(0.62 - 0.13 * abs(at), 2), **style))
    for radius, ring in reversed(list(rings((0.4, 0.85, 1.35, 1.95)))):
        level = np.exp(-(radius**2) / 3.2)
        style = {"stroke": colour(level), "stroke_width": 2.2, "fill": colour(level)}
        shapes.append(curve(pixels(flow(ring)), fill_opacity=0.18, **style))
    shapes.append(dots(pixels(flow(rng.normal(size=(170, 2)))), 1.8, stroke=DARK.data))
    card("nice", "A Gaussian and its grid after three additive couplings", shapes)


def realnvp():
    """The latent grid and samples carried onto two moons by fitted affine couplings."""
    layers = fitted_flow()

    def flow(z):
        for layer in layers:
            z = layer.forward(z)
        return z

    def pixels(x):
        return np.array([WIDTH / 2, HEIGHT / 2]) + x * [112, -78]

    rng = np.random.default_rng(5)
    shapes = []
    for at, line in lines(-3, 3, 25, 3.2, 700):
        style = {"stroke": DARK.accent, "stroke_width": 1.0}
        shapes.append(curve(pixels(flow(line)), opacity=round(0.62 - 0.13 * abs(at), 2), **style))
    shapes.append(dots(pixels(flow(rng.normal(size=(700, 2)))), 1.7, stroke=DARK.data))
    card("realnvp", "A latent grid and samples after twelve affine couplings", shapes)


def halftone(image, corner, size, **style):
    """An image with values in [0, 1] as a square of dots: the brighter, the larger."""
    pitch, steps = size / len(image), 6
    sizes = np.rint(steps * np.sqrt(image.clip(0, 1)))
    for step in range(1, steps + 1):
        rows, columns = np.nonzero(sizes == step)
        centres = corner + pitch * (np.stack([columns, rows], axis=1) + 0.5)
        if len(centres):
            yield dots(centres, round(0.46 * pitch * step / steps, 2), **style)


def likest(state, image):
    """Of the channels (C, H, W) of a state of the flow, the most like the image, up to its sign."""
    side = state.shape[-1]
    small = image.reshape(side, len(image) // side, side, -1).mean(axis=(1, 3))
    state = (state - state.mean((1, 2), keepdims=True)) / state.std((1, 2), keepdims=True)
    like = (state * (small - small.mean())).mean((1, 2))
    best = abs(like).argmax()
    return state[best] * np.sign(like[best])


@torch.no_grad()
def glow(path=HERE.parent / "runs" / "glow", digits=(2, 5, 9), draws=24):
    """Coarse noise, what the coarse level of the shipped Glow makes of it, and the digits."""
    run = Run(path)
    target = run.snapshots.target()
    flow = run.family.training.blank(run.config, target)
    run.weights.load_into(flow)
    labels = torch.tensor(digits).repeat_interleave(draws)
    rng = torch.Generator().manual_seed(0)
    z = flow.prior.sample(len(labels), generator=rng, temperature=0.6)
    # Of each class the sample that is least like any other class.
    by_class = log_prob_by_class(flow, decode(flow, z, context_of(flow, labels)))
    own = by_class.gather(1, labels[:, None])[:, 0]
    rest = by_class.scatter(1, labels[:, None], -torch.inf).amax(1)
    best = (own - rest).reshape(-1, draws).argmax(1) + draws * torch.arange(len(digits))
    states = list(flow.forward_states(z[best], context_of(flow, labels[best])))
    _, *states = states
    coarse = [s.value for s in states if s.value.shape[-1] == states[0].value.shape[-1]]
    columns = [coarse[0], coarse[2 * len(coarse) // 3], states[len(coarse)].value]

    size, across, down = 104, 40, 8
    left, top = (WIDTH - 4 * size - 3 * across) / 2, (HEIGHT - 3 * size - 2 * down) / 2
    shapes = []
    for row, image in enumerate(states[-1].value[:, 0].numpy()):
        stages = [likest(state[row].numpy(), image) / 4 + 0.2 for state in columns]
        for column, stage in enumerate([*stages, image]):
            corner = np.array([left + column * (size + across), top + row * (size + down)])
            ink = DARK.data if stage is image else DARK.accent
            opacity = (0.5, 0.65, 0.9, 1)[column]
            shapes += halftone(stage, corner, size, stroke=ink, opacity=opacity)
    card("glow", "Coarse noise that a Glow turns into digits", shapes)


def maf(path=HERE.parent / "runs" / "maf", kind="crack", side=80, size=590):
    """A rendered capsule with a defect, and where the shipped MAF finds it anomalous."""
    run = Run(path)
    found = load_evaluation(run, weights_step(run))
    places = [i for i, name in enumerate(found.kinds) if name == kind]
    # The one whose heat is most like its mask.
    masks = [image_of(run, found, i)[1] for i in places]
    hot = [heat > found.calibration.map_threshold for heat in found.heat(places)]
    overlap = [(m & h).sum() / max((m | h).sum(), 1) for m, h in zip(masks, hot, strict=True)]
    place = places[int(np.argmax(overlap))]
    image, _ = rendered_test_image("rendered", place, side)
    ink = 1 - image.mean(0) / np.median(image[:, 0])
    heat = torch.from_numpy(found.heat([place]))[None]
    heat = torch.nn.functional.interpolate(heat, (side, side), mode="area")[0, 0].numpy()
    level = ((heat / found.calibration.map_threshold - 1) / 2).clip(0, 1)
    corner = np.array([(WIDTH - size) / 2, (HEIGHT - size) / 2])
    beyond = round(side * (size - HEIGHT) / 2 / size)  # rows that the card does not show
    ink[:beyond] = ink[-beyond:] = 0
    cold = np.where((level > 0.05) | (ink < 0.02), 0, ink.clip(0, 1))
    shapes = [*halftone(cold, corner, size, stroke=DARK.accent, opacity=0.8)]
    shapes += halftone(np.where(level > 0.05, 0.3 + 0.7 * level, 0), corner, size, stroke=DARK.data)
    card("maf", "A capsule with a crack that a MAF has found", shapes)


@torch.no_grad()
def vae(path=HERE.parent / "runs" / "vae", rows=6, columns=11, chosen=(2, 3), side=14):
    """The latent plane of the shipped VAE, decoded point by point, and one that was clicked on."""
    run = Run(path)
    target = run.snapshots.target()
    model = run.family.training.blank(run.config, target)
    run.weights.load_into(model)
    cell = WIDTH / columns
    across = torch.linspace(-1.75, 1.75, columns)
    down = torch.linspace(1.35, -1.35, rows)
    z = torch.stack([across.repeat(rows), down.repeat_interleave(columns)], dim=1)
    images = model.decode(z)
    images = torch.nn.functional.interpolate(images, (side, side), mode="area")[:, 0]
    images = images.reshape(rows, columns, side, side).numpy()
    images = np.where(images < 0.2, 0, images)
    one = np.zeros_like(images)
    one[chosen] = images[chosen]
    corner = np.array([0, (HEIGHT - rows * cell) / 2])
    shapes = []
    for digits, ink in ((images - one, DARK.accent), (one, DARK.data)):
        whole = digits.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
        shapes += halftone(whole, corner, rows * cell, stroke=ink, opacity=0.85)
    middle = corner + cell * (np.array(chosen[::-1]) + 0.5)
    ring = middle + 0.56 * cell * np.stack(
        [np.cos(np.linspace(0, 2 * np.pi, 90)), np.sin(np.linspace(0, 2 * np.pi, 90))], axis=1
    )
    shapes.append(curve(ring, stroke=DARK.data, stroke_width=2))
    card("vae", "A latent plane decoded into digits, one of them picked", shapes)


@torch.no_grad()
def gan(path=HERE.parent / "runs" / "gan", step=900):
    """The shipped duel early on: where the discriminator says real, the lattice, both sides."""
    run = Run(path)
    target, snapshot = run.snapshots.target(), run.snapshots.load(step)
    x0, x1, y0, y1 = target["box"]
    scale = 0.98 * HEIGHT / (y1 - y0)

    def pixels(x):
        return np.array([WIDTH / 2, HEIGHT / 2]) + (x - [(x0 + x1) / 2, (y0 + y1) / 2]) * [
            1.35 * scale,
            -scale,
        ]

    shapes = []
    heat = snapshot["realness"][2::4, 2::4].astype(float)
    places = [(np.arange(len(heat)) + 0.5) / len(heat)] * 2
    columns, rows = np.meshgrid(x0 + places[0] * (x1 - x0), y1 - places[1] * (y1 - y0))
    sizes = np.rint(4 * np.clip(heat / heat.max(), 0, 1) ** 2)
    for size in range(1, 5):
        spots = np.stack([columns, rows], -1)[sizes == size]
        shapes.append(dots(pixels(spots), 1.5 * size, stroke=DARK.data, opacity=0.3))
    lattice = snapshot["lattice"].astype(float)
    for line in [*lattice[::2], *lattice.swapaxes(0, 1)[::2]]:
        shapes.append(curve(pixels(line), stroke=DARK.accent, stroke_width=0.9, opacity=0.4))
    shapes.append(dots(pixels(target["samples"][:260]), 1.9, stroke=DARK.data))
    shapes.append(dots(pixels(snapshot["samples"][:420]), 1.6, stroke=DARK.model))
    card("gan", "A latent square that a generator bends onto a ring of eight", shapes)


def cyclegan(path=HERE.parent / "runs" / "cyclegan", place=0, side=40, size=300):
    """A test apple, the orange that the shipped generator makes of it, and both ways between."""
    run = Run(path)
    target, snapshot = run.snapshots.target(), run.snapshots.load(run.snapshots.steps()[-1])
    across = 8  # between the edge and an image, and for the arrows from image to image
    corners = [np.array([x, (HEIGHT - size) / 2]) for x in (across, WIDTH - size - across)]
    shapes = []
    for image, corner, ink in zip(
        (target["a"][place], snapshot["ab"][place]), corners, (DARK.warn, DARK.data), strict=True
    ):
        pixels = torch.from_numpy(image)[None].float() / 255
        small = torch.nn.functional.interpolate(pixels, (side, side), mode="area")[0].numpy()
        # The fruit is where the colour is warm; grounds are cold or grey.
        warm = ((small[0] - small[2]) / 0.75).clip(0, 1)
        fruit = np.where(warm > 0.2, warm, 0)
        ground = np.where(warm > 0.2, 0, 0.16 * small.mean(0))
        shapes += halftone(ground, corner, size, stroke=DARK.accent, opacity=0.5)
        shapes += halftone(fruit, corner, size, stroke=ink)
    for sign in (-1, 1):
        turn = np.linspace(-1, 1, 60)
        middle = np.array([WIDTH / 2, HEIGHT / 2 + sign * 62])
        arc = middle + np.stack([46 * turn, sign * 18 * (1 - turn**2)], 1)
        tip = arc[-1 if sign < 0 else 0]
        head = tip + np.array([[-11, -9], [0, 0], [-11, 9]]) * [-sign, 1]
        for line in (arc, head):
            shapes.append(curve(line, stroke=DARK.accent, stroke_width=2.5))
    card("cyclegan", "An apple, and the orange that a CycleGAN makes of it", shapes)


def flow_matching(path=HERE.parent / "runs" / "flow_matching", count=64, samples=900):
    """Noise on its way to two moons, by the first round of the shipped run."""
    run = Run(path)
    first = run.snapshots.load(run.config.iterations)

    def pixels(x):
        return np.array([WIDTH / 2, HEIGHT / 2]) + x * [104, -68]

    ways = first["trajectories"].astype(np.float64).transpose(1, 0, 2)[:count]
    shapes = [dots(pixels(first["samples"][:samples]), 1.5, stroke=DARK.model, opacity=0.75)]
    for way in ways:
        shapes.append(curve(pixels(way), stroke=DARK.accent, stroke_width=1.3, opacity=0.8))
    shapes.append(dots(pixels(ways[:, 0]), 1.8, stroke=DARK.muted))
    shapes.append(dots(pixels(ways[:, -1]), 2.8, stroke=DARK.data))
    card(
        "flow_matching", "Points of noise and the trajectories that carry them to two moons", shapes
    )


def mark():
    """Two moons, one learned from the other, on a tile that stands on light and on dark pages."""
    (HERE.parent / "mark.svg").write_text(f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img" aria-label="Generative Lab">
<title>Generative Lab</title>
<defs>
<linearGradient id="mark-tile" x1="0" y1="0" x2="1" y2="1">
<stop offset="0" stop-color="#14868F"/><stop offset="1" stop-color="#1F3C7D"/>
</linearGradient>
</defs>
<rect width="64" height="64" rx="15" fill="url(#mark-tile)"/>
<g fill="none" stroke-width="7.5" stroke-linecap="round">
<path d="M11 32a14 14 0 0 1 28 0" stroke="{LIGHT.background}"/>
<path d="M25 32a14 14 0 0 0 28 0" stroke="{DARK.data}"/>
</g>
</svg>
""")


if __name__ == "__main__":
    mark()
    nice()
    realnvp()
    glow()
    gan()
    maf()
    vae()
    cyclegan()
    flow_matching()
