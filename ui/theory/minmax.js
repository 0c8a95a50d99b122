// The duel of a GAN with one number each (drawing.js comes before): all data are at 0, the generator puts its sample at
// theta, and the discriminator scores a place x by slope x. Mescheder, Geiger, Nowozin, "Which training methods for GANs
// do actually converge?", 2018, section 2.

const sigmoid = (t) => 1 / (1 + Math.exp(-t));

/** Return theta and slope after one step of both, at once. */
export function duelStep([theta, slope], { rate, penalty }) {
  const score = theta * slope;
  return [
    theta + rate * slope * sigmoid(score), // down along log(1 - D(theta))
    slope + rate * (-theta * sigmoid(score) - penalty * slope), // up along log(1 - D(theta)), less penalty slope² / 2
  ];
}

/** Return the way of both over some steps, the beginning among them. */
export function duel(begin, settings, steps) {
  const way = [begin];
  for (let i = 0; i < steps; i++) way.push(duelStep(way[i], settings));
  return way;
}

const SQUARE = [-3, 3];
const STEPS = 300;

class MinMax extends Scene {
  constructor(root) {
    super(root);
    const svg = root.querySelector("svg");
    this.plane = new Window(svg, { x: 34, y: 8, w: 300, h: 300 }, SQUARE, SQUARE, "slope of the discriminator, over theta");
    this.plane.ticks([-2, 0, 2], [-2, 0, 2]);
    this.line = new Window(svg, { x: 34, y: 344, w: 300, h: 100 }, SQUARE, [0, 1], "D(x) at the end of the way");
    this.line.ticks([-2, 0, 2], [0, 0.5, 1]);
    dragged(svg, () => ([px, py]) => {
      if (py > 320) return;
      const [theta, slope] = this.plane.back(px, py);
      this.set({ theta, slope });
    });
  }

  show({ theta, slope, rate, penalty }) {
    const way = duel([theta, slope], { rate, penalty }, STEPS), [end, last] = way.at(-1);
    this.plane.path("arrows", ...this.field({ penalty }));
    this.plane.path("curve", way);
    this.plane.path("lead", [[0, SQUARE[0]], [0, SQUARE[1]]], [[SQUARE[0], 0], [SQUARE[1], 0]]);
    this.plane.mark([theta, slope]);
    this.plane.path("end", circle([end, last], 0.09));
    this.line.path("curve", range(...SQUARE, 120).map((x) => [x, sigmoid(last * x)]));
    this.line.path("real", [[0, 0], [0, 0.5]]);
    this.line.path("fake", [[end, 0], [end, sigmoid(last * end)]]);
    const far = (place) => Math.hypot(...place);
    const value = Math.log(0.5) + Math.log(1 - sigmoid(theta * slope));
    this.say({
      value: words(value), before: words(far(way[0])), after: words(far(way.at(-1))), theta: words(end), score: words(sigmoid(end * last)),
      verdict: far(way.at(-1)) > 1.02 * far(way[0]) ? "it spirals outwards" : far(way.at(-1)) < 0.98 * far(way[0]) ? "it spirals inwards" : "it goes round",
      outside: outside(far(way.at(-1)), [0, 3]),
    });
  }

  /** Return little arrows along which both would step. */
  field({ penalty }) {
    const places = range(...SQUARE, 10).slice(1, -1), arrows = [];
    for (const a of places) for (const b of places) {
      const [c, d] = duelStep([a, b], { rate: 0.3, penalty });
      arrows.push([[a, b], [c, d]]);
    }
    return arrows;
  }
}

const circle = ([x, y], r) => range(0, 2 * Math.PI, 16).map((t) => [x + r * Math.cos(t), y + r * Math.sin(t)]);

Object.assign(SCENES, { minmax: MinMax });
