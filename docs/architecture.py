"""Draw ``architecture.svg``: ``python docs/architecture.py``."""

from __future__ import annotations

from pathlib import Path

WIDTH, HEIGHT = 880, 560
PAPER, INK, MUTED, LINE = "#FBF9F4", "#1C2434", "#5E6673", "#DDD6C8"
SERVER, WORKER, DISK = "#0F6B73", "#C2500A", "#0067A5"
FONT = 'font-family="system-ui, sans-serif"'


def text(x: float, y: float, words: str, size: int = 15, colour: str = INK, **more: str) -> str:
    """Return a line of text."""
    options = " ".join(f'{name.replace("_", "-")}="{value}"' for name, value in more.items())
    return (
        f'<text x="{x}" y="{y}" {FONT} font-size="{size}" fill="{colour}" {options}>{words}</text>'
    )


def box(x: float, y: float, w: float, h: float, title: str, lines: list[str], colour: str) -> str:
    """Return a box with a title and lines below it."""
    parts = [
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="#FFFFFF" stroke="{colour}" '
        'stroke-width="2"/>',
        text(x + 14, y + 26, title, 16, colour, font_weight="700"),
    ]
    parts += [text(x + 14, y + 50 + 20 * i, line, 14) for i, line in enumerate(lines)]
    return "".join(parts)


def arrow(points: list[tuple[float, float]], words: str, at: tuple[float, float]) -> str:
    """Return a line with a head, and what goes along it."""
    line = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<polyline points="{line}" fill="none" stroke="{INK}" stroke-width="1.6" '
        f'marker-end="url(#head)"/>{text(*at, words, 13, MUTED)}'
    )


def frame(x: float, y: float, w: float, h: float, title: str) -> str:
    """Return a frame around boxes: a process, or the disk."""
    return (
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="12" fill="none" stroke="{LINE}" '
        f'stroke-width="2"/>{text(x + 14, y + 24, title, 14, MUTED, font_weight="600")}'
    )


def drawing() -> str:
    """Return the drawing: who imports whom on the left, who talks to whom on the right."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Processes and modules of Generative Lab</title>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker></defs>',
        # A ground of its own: it is read on a light page and on a dark one.
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="{PAPER}"/>',
        frame(20, 20, 330, 520, "Who imports whom"),
    ]
    rooms = [
        ("pages/, app.py", "a script per family", SERVER),
        ("ui/, cli/", "the two doors", SERVER),
        ("figures/", "arrays in, images out", SERVER),
        ("analysis/", "checks of what is trained", SERVER),
        ("lab/", "run folders, workers, queue", WORKER),
        ("training/", "one file per family", WORKER),
        ("metrics/", "arrays in, numbers out", DISK),
        ("models/, datasets/", "maths, data", DISK),
    ]
    for i, (title, line, colour) in enumerate(rooms):
        parts.append(box(44, 56 + 60 * i, 282, 40, title, [], colour))
        parts.append(text(314, 82 + 60 * i, line, 12, MUTED, text_anchor="end"))
        if i:
            parts.append(arrow([(185, 36 + 60 * i), (185, 54 + 60 * i)], "", (0, 0)))
    parts += [
        frame(370, 20, 490, 290, "The web server: one process, no training in it"),
        box(
            390,
            60,
            200,
            106,
            "Page",
            ["form → config", "draws what it is sent", "once or twice a second"],
            SERVER,
        ),
        box(
            640,
            60,
            200,
            106,
            "Lab",
            ["queue, slots", "views of the runs", "starts workers"],
            SERVER,
        ),
        arrow([(590, 92), (638, 92)], "", (0, 0)),
        arrow([(640, 140), (592, 140)], "", (0, 0)),
        text(390, 200, "Train, Pause, Step, Stop go right, views come back.", 13, MUTED),
        box(
            390,
            220,
            450,
            74,
            "What was trained",
            ["weights loaded on the CPU: inside, samples, checks"],
            SERVER,
        ),
        frame(370, 330, 490, 106, "A worker process per run, from a fork server"),
        box(
            390,
            362,
            450,
            62,
            "drive(train(experiment))",
            ["one optimiser step per next(); commands in between"],
            WORKER,
        ),
        arrow([(840, 130), (866, 130), (866, 392), (842, 392)], "", (0, 0)),
        box(
            390,
            454,
            450,
            72,
            "runs/&lt;id&gt;/",
            ["config, metrics, snapshots, checkpoint, weights, status"],
            DISK,
        ),
        arrow([(500, 424), (500, 452)], "", (0, 0)),
        arrow([(390, 490), (362, 490), (362, 258), (388, 258)], "", (0, 0)),
    ]
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawing(), encoding="utf-8")
