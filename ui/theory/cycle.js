// Two clouds, two maps, and the way round (drawing.js comes before). Each cloud is a ring of six clusters; a map turns and
// stretches. What is asked is what a CycleGAN asks: do the translations look like the other set, and does one come back?

const COUNT = 6, EACH = 7;
const RADIUS = { a: 1, b: 1.6 };

/** Return the points of a ring: the same cluster six times, turned, so that a sixth of a turn changes nothing. */
export function ring(radius) {
  return range(0, COUNT - 1, COUNT - 1).flatMap((k) => range(0, EACH - 1, EACH - 1).map((j) => {
    const away = j ? 0.16 * radius : 0, at = (j * 2 * Math.PI) / (EACH - 1);
    return turned([radius + away * Math.cos(at), away * Math.sin(at)], (k * 360) / COUNT, 1);
  }));
}

/** Turn a point by degrees around the middle, and stretch it. */
export function turned([x, y], degrees, stretch) {
  const c = Math.cos((degrees * Math.PI) / 180), s = Math.sin((degrees * Math.PI) / 180);
  return [stretch * (c * x - s * y), stretch * (s * x + c * y)];
}

/** Mean distance from each point to the nearest of a cloud: 0 where a discriminator could not tell them apart. */
export const mismatch = (points, cloud) => mean(points.map((p) => Math.min(...cloud.map((q) => distance(p, q)))));

/** Mean distance between the points of two lists. */
export const cycleError = (points, back) => mean(points.map((p, i) => distance(p, back[i])));

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const distance = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);

const AROUND = [-2.4, 2.4];

class Cycle extends Scene {
  constructor(root) {
    super(root);
    const svgs = [...root.querySelectorAll("svg")], names = ["A", "B, and G of A", "A, and back again"];
    this.windows = svgs.map((svg, i) => new Window(svg, { x: 3, y: 3, w: 200, h: 200 }, AROUND, AROUND, names[i]));
    this.a = ring(RADIUS.a);
    this.b = ring(RADIUS.b);
    dragged(svgs[1], () => (place) => this.turn("g", place));
    dragged(svgs[2], () => (place) => this.turn("f", place));
  }

  /** Turn a map so that the first cluster of A lies where the pointer is. */
  turn(which, place) {
    const [x, y] = this.windows[which === "g" ? 1 : 2].back(...place), { g } = this.values();
    const angle = (Math.atan2(y, x) * 180) / Math.PI - (which === "f" ? g : 0);
    this.set({ [which]: ((((angle + 180) % 360) + 360) % 360) - 180 });
  }

  show({ g, f, stretch, shrink }) {
    const there = this.a.map((p) => turned(p, g, stretch)), back = there.map((p) => turned(p, f, shrink));
    const [one, two, three] = this.windows;
    this.clusters(one, this.a);
    two.path("cloud", ...this.b.map((p) => dot(p, 0.07)));
    this.clusters(two, there);
    three.path("cloud", ...this.a.map((p) => dot(p, 0.07)));
    three.path("way", ...this.a.map((p, i) => [p, back[i]]));
    this.clusters(three, back);
    two.mark(there[0]);
    three.mark(back[0]);
    const looks = mismatch(there, this.b), cycle = cycleError(this.a, back);
    this.say({
      looks: words(looks), cycle: words(cycle), backLooks: words(mismatch(back, this.a)),
      verdict: looks > 0.05 ? "G of A does not look like B." : cycle > 0.05 ? "It looks like B, and the way back leads elsewhere." : "It looks like B, and every point comes back.",
    });
  }

  /** Draw the clusters in three kinds, so that one sees which went where. */
  clusters(window, points) {
    ["first", "second", "third"].forEach((name, k) => {
      const mine = points.filter((_, i) => [0, 1, 2, 2, 2, 2][Math.floor(i / EACH)] === k);
      window.path(name, ...mine.map((p) => dot(p, 0.055)));
    });
  }
}

const dot = ([x, y], r) => range(0, 2 * Math.PI, 8).map((t) => [x + r * Math.cos(t), y + r * Math.sin(t)]);

Object.assign(SCENES, { cycle: Cycle });
