// The change of variables on a line and in 2-D: the formulas, and what is drawn of them (drawing.js comes before).

// -- the formulas (tests/test_theory_browser.py holds them) ------------------------------------------------

/** Places that cut the standard normal into twelve strips of equal probability. */
export const EDGES = [
  -1.38299413, -0.96742157, -0.67448975, -0.4307273, -0.21042839, 0,
  0.21042839, 0.4307273, 0.67448975, 0.96742157, 1.38299413,
];
export const BRIGHTEST = 0.32; // the density of the last colour: no setting of the plane goes above

/** x = shift + stretch z + step tanh(steepness (z - place)), increasing throughout. */
export function lineMap({ shift, stretch, step, steepness, place }) {
  const at = (z) => shift + stretch * z + step * Math.tanh(steepness * (z - place));
  const slope = (z) => stretch + (step * steepness) / Math.cosh(steepness * (z - place)) ** 2;
  return { at, slope, inverse: (x) => bisect(at, x), density: (z) => normal(z) / slope(z) };
}

/** Return where an increasing function has a value. */
function bisect(f, value, low = -50, high = 50) {
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (f(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** A coupling, then a turn: u = (a, b exp(scale tanh a) + bend sin(1.5 a)), and x is u turned by an angle. */
export function planeMap({ scale, bend, turn }) {
  const c = Math.cos((turn * Math.PI) / 180), s = Math.sin((turn * Math.PI) / 180);
  const grown = (a) => Math.exp(scale * Math.tanh(a)); // the factor on areas: a turn adds nothing
  const at = ([a, b]) => {
    const u = b * grown(a) + bend * Math.sin(1.5 * a);
    return [c * a - s * u, s * a + c * u];
  };
  const inverse = ([x, y]) => {
    const a = c * x + s * y;
    return [a, (c * y - s * x - bend * Math.sin(1.5 * a)) / grown(a)];
  };
  const jacobian = ([a, b]) => {
    const slope = (b * grown(a) * scale) / Math.cosh(a) ** 2 + 1.5 * bend * Math.cos(1.5 * a);
    return [[c - s * slope, -s * grown(a)], [s + c * slope, c * grown(a)]];
  };
  const density = (x) => {
    const [a, b] = inverse(x);
    return (normal(a) * normal(b)) / grown(a);
  };
  return { at, inverse, jacobian, density };
}

/** Return the area inside a closed line (Gauss's shoelace). */
export function areaOf(corners) {
  const twice = corners.reduce((sum, [x, y], i) => {
    const [next, up] = corners[(i + 1) % corners.length];
    return sum + x * up - y * next;
  }, 0);
  return Math.abs(twice) / 2;
}

/** Return a square as a closed line. */
export function square([a, b], side, count = 40) {
  const along = range(-side / 2, side / 2, count).slice(0, -1), half = side / 2;
  return [
    ...along.map((t) => [a + t, b - half]), ...along.map((t) => [a + half, b + t]),
    ...along.map((t) => [a - t, b + half]), ...along.map((t) => [a - half, b - t]),
  ];
}

// -- the line -------------------------------------------------------------------------------------------

const UNIT = 34; // pixels of one unit of z and of x alike, so that a slope of one looks like one
const Z = [-3.5, 3.5];
const X = [-5, 5];
const TALL = [0, 1]; // of both densities: the least slope is 0.4, so no density is above
const PIECE = 0.1; // on either side of the point

class Line extends Scene {
  constructor(root) {
    super(root);
    const svg = root.querySelector("svg");
    const wide = UNIT * (Z[1] - Z[0]), high = UNIT * (X[1] - X[0]);
    this.map = new Window(svg, { x: 168, y: 8, w: wide, h: high }, Z, X, "x = f(z)");
    this.below = new Window(svg, { x: 168, y: high + 34, w: wide, h: 120 }, Z, TALL, "density of z");
    this.beside = new Window(svg, { x: 36, y: 8, w: 120, h: high }, [1, 0], X, "density of x");
    this.below.ticks([-3, -2, -1, 0, 1, 2, 3], [0, 0.5, 1]);
    this.beside.ticks([1, 0.5, 0], [-4, -2, 0, 2, 4]);
    this.drags(svg);
  }

  /** Let the point be dragged: sideways over the map and the density of z, upright over that of x. */
  drags(svg) {
    dragged(svg, ([px]) => {
      const upright = px < this.map.area.x;
      return ([x, y]) => {
        const { inverse } = lineMap(this.values());
        this.set({ z: upright ? inverse(this.beside.back(x, y)[1]) : this.map.back(x, y)[0] });
      };
    });
  }

  show({ z, ...values }) {
    const f = lineMap(values), x = f.at(z), slope = f.slope(z);
    this.strips(f);
    this.map.path("curve", range(...Z, 400).map((t) => [t, f.at(t)]));
    const reach = 1.4 / Math.hypot(1, slope);
    this.map.path("tangent", [[z - reach, x - reach * slope], [z + reach, x + reach * slope]]);
    this.map.path("lead", [[z, X[0]], [z, x], [Z[0], x]]);
    this.map.mark([z, x]);
    this.below.mark([z, normal(z)]);
    this.beside.mark([f.density(z), x]);
    this.say({
      z: words(z), x: words(x), slope: words(slope),
      before: words(normal(z), 3), after: words(f.density(z), 3), outside: outside(x, X),
    });
  }

  /** Draw both densities in strips, the piece at the point, and the way of the strips' edges. */
  strips(f) {
    const edges = [Z[0], ...EDGES, Z[1]], { z } = this.values();
    const pieces = edges.slice(1).map((edge, i) => range(edges[i], edge, 40));
    const hill = (along) => [[along[0], 0], ...along.map((t) => [t, normal(t)]), [along.at(-1), 0]];
    const moved = (along) => [[0, f.at(along[0])], ...along.map((t) => [f.density(t), f.at(t)]), [0, f.at(along.at(-1))]];
    const groups = { even: pieces.filter((_, i) => i % 2 === 0), odd: pieces.filter((_, i) => i % 2), piece: [range(z - PIECE, z + PIECE, 10)] };
    for (const [name, group] of Object.entries(groups)) {
      this.below.path(name, ...group.map(hill));
      this.beside.path(name, ...group.map(moved));
    }
    this.map.path("way", ...EDGES.map((t) => [[t, X[0]], [t, f.at(t)], [Z[0], f.at(t)]]));
  }
}

// -- the plane ------------------------------------------------------------------------------------------

const BOX = [-3, 3];
const SIDE = 0.5; // of the square

class Plane extends Scene {
  constructor(root) {
    super(root);
    const area = { x: 34, y: 8, w: 258, h: 258 };
    this.canvases = [...root.querySelectorAll("canvas")];
    this.windows = [...root.querySelectorAll("svg")].map((svg, i) => new Window(svg, area, BOX, BOX, "zx"[i]));
    this.windows.forEach((window, i) => {
      window.ticks([-2, 0, 2], [-2, 0, 2]);
      cover(this.canvases[i], area, window.svg.viewBox.baseVal);
      dragged(window.svg, () => (place) => this.move(window.back(...place), i));
    });
  }

  /** Put the square where the pointer is, in the plane of z or in that of x. */
  move(place, plane) {
    const [a, b] = plane ? planeMap(this.values()).inverse(place) : place;
    this.set({ a, b });
  }

  paint(data) {
    const bytes = data.table.match(/../g).map((digits) => parseInt(digits, 16));
    this.shades = range(0, 255, 255).map((i) => bytes.slice(3 * i, 3 * i + 3));
    this.bar();
    super.paint(data);
    heat(this.canvases[0], ([a, b]) => normal(a) * normal(b), this.shades);
  }

  bar() {
    const scale = this.root.querySelector(".scale");
    scale.firstElementChild.style.background = `linear-gradient(90deg, ${this.shades.map((shade) => `rgb(${shade})`)})`;
    scale.replaceChildren(scale.firstElementChild);
    for (const part of range(0, BRIGHTEST, 4)) scale.append(Object.assign(document.createElement("span"), { textContent: part.toFixed(2) }));
  }

  show({ a, b, ...values }) {
    const f = planeMap(values), outline = square([a, b], SIDE), moved = outline.map(f.at);
    const along = range(...BOX, 60), places = range(...BOX, 12);
    const grid = [...places.map((p) => along.map((t) => [p, t])), ...places.map((p) => along.map((t) => [t, p]))];
    const x = f.at([a, b]);
    [[grid, outline, [a, b]], [grid.map((line) => line.map(f.at)), moved, x]].forEach(([lines, shape, middle], i) => {
      this.windows[i].path("grid", ...lines);
      this.windows[i].path("square", [...shape, shape[0]]);
      this.windows[i].mark(middle);
    });
    heat(this.canvases[1], f.density, this.shades);
    const j = f.jacobian([a, b]), det = Math.abs(j[0][0] * j[1][1] - j[0][1] * j[1][0]);
    this.say({
      j00: words(j[0][0]), j01: words(j[0][1]), j10: words(j[1][0]), j11: words(j[1][1]),
      det: words(det, 3), ratio: words(areaOf(moved) / areaOf(outline), 3),
      before: words(normal(a) * normal(b), 3), after: words(f.density(x), 3), outside: x.map((v) => outside(v, BOX)).find(Boolean) || "",
    });
  }
}

/** Paint a density on a canvas, cell by cell, on the scale that never changes. */
function heat(canvas, density, shades) {
  const context = canvas.getContext("2d"), { width: w, height: h } = canvas;
  const image = context.createImageData(w, h), [low, high] = BOX;
  for (let i = 0; i < w * h; i++) {
    const x = low + (((i % w) + 0.5) / w) * (high - low), y = high - ((Math.floor(i / w) + 0.5) / h) * (high - low);
    const shade = shades[Math.min(255, Math.round((255 * density([x, y])) / BRIGHTEST))];
    image.data.set([...shade, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Lay a canvas below a part of a drawing. */
function cover(canvas, { x, y, w, h }, { width, height }) {
  const part = { left: x / width, top: y / height, width: w / width, height: h / height };
  for (const [name, value] of Object.entries(part)) canvas.style[name] = `${100 * value}%`;
}

Object.assign(SCENES, { line: Line, plane: Plane });
