// The ELBO as two terms that one trades, for a model whose posterior is known (drawing.js comes before): the latent z
// is standard normal, x = z + noise, and the encoder is a Gaussian.

/** The terms for one example x, in nats, of an encoder with a mean and a standard deviation. */
export function elbo({ x, mean, sd, noise, beta }) {
  const reconstruction = 0.5 * Math.log(2 * Math.PI * noise ** 2) + ((x - mean) ** 2 + sd ** 2) / (2 * noise ** 2);
  const kl = 0.5 * (mean ** 2 + sd ** 2 - 1) - Math.log(sd);
  const evidence = -Math.log(gaussian(x, 0, Math.sqrt(1 + noise ** 2)));
  return { reconstruction, kl, total: reconstruction + beta * kl, evidence };
}

/** Mean and standard deviation of the true posterior; with beta as the weight of the KL, of the best encoder. */
export function best({ x, noise, beta }) {
  const precision = 1 / noise ** 2 + beta;
  return { mean: x / noise ** 2 / precision, sd: Math.sqrt(beta / precision) };
}

const gaussian = (z, mean, sd) => normal((z - mean) / sd) / sd;

const SPREAD = [0.05, 1.5]; // of the encoder
const NATS = [0, 8];
const LATENT = [-3, 3];
const EXAMPLE = 1.5; // x

class Elbo extends Scene {
  constructor(root) {
    super(root);
    const svg = root.querySelector("svg");
    this.terms = new Window(svg, { x: 34, y: 8, w: 372, h: 230 }, SPREAD, NATS, "nats, over the encoder’s standard deviation");
    this.terms.ticks([0.25, 0.5, 0.75, 1, 1.25, 1.5], [0, 2, 4, 6, 8]);
    this.latent = new Window(svg, { x: 34, y: 274, w: 372, h: 130 }, LATENT, [0, 1.6], "densities of z");
    this.latent.ticks([-3, -2, -1, 0, 1, 2, 3], [0, 0.5, 1, 1.5]);
    dragged(svg, () => ([px, py]) => {
      if (py < 256) this.set({ sd: this.terms.back(px, py)[0] });
      else this.set({ mean: this.latent.back(px, py)[0] });
    });
  }

  show(values) {
    const at = (sd) => elbo({ ...values, x: EXAMPLE, sd }), now = at(values.sd);
    const along = range(...SPREAD, 200), curve = (name) => along.map((sd) => [sd, at(sd)[name]]);
    this.terms.path("rec", curve("reconstruction"));
    this.terms.path("kl", along.map((sd) => [sd, values.beta * at(sd).kl]));
    this.terms.path("sum", curve("total"));
    this.terms.path("floor", ...(values.beta === 1 ? [[[SPREAD[0], now.evidence], [SPREAD[1], now.evidence]]] : []));
    this.terms.path("lead", [[values.sd, NATS[0]], [values.sd, now.total]]);
    this.terms.mark([values.sd, now.total]);
    this.densities(values);
    const gap = now.reconstruction + now.kl - now.evidence;
    this.say({
      reconstruction: words(now.reconstruction), kl: words(now.kl), beta: words(values.beta, 1), total: words(now.total),
      evidence: words(now.evidence), gap: words(gap), outside: outside(now.total, NATS),
    });
  }

  densities({ mean, sd, noise, beta }) {
    const along = range(...LATENT, 300), goal = best({ x: EXAMPLE, noise, beta: 1 });
    const hill = (m, s) => along.map((z) => [z, gaussian(z, m, s)]);
    this.latent.path("prior", hill(0, 1));
    this.latent.path("kl", hill(goal.mean, goal.sd));
    this.latent.path("encoder", [[LATENT[0], 0], ...hill(mean, sd), [LATENT[1], 0]]);
    this.latent.mark([mean, Math.min(1.5, gaussian(mean, mean, sd))]);
  }
}

Object.assign(SCENES, { elbo: Elbo });
