// The masks of a MADE as a network one can follow (drawing.js comes before). Germain et al., "MADE: masked autoencoder for
// distribution estimation", 2015, equations 12 and 13: degrees decide which connections stay.

/** Return the degrees of inputs, two hidden layers and outputs; inputs come in an order of their own. */
export function degrees({ inputs, hidden, reversed }) {
  const places = range(1, inputs, inputs - 1), order = reversed ? places.reverse() : places;
  const inside = range(0, hidden - 1, hidden - 1).map((k) => 1 + (k % Math.max(1, inputs - 1)));
  return [order, inside, inside, order];
}

/** Return for each layer which unit of the layer before each of its units may see. */
export function masks(layers, strict = true) {
  return layers.slice(1).map((after, l) => after.map((degree) => layers[l].map((before) =>
    l === layers.length - 2 && strict ? degree > before : degree >= before)));
}

/** Return for each output which inputs reach it: a path counts, not a formula. */
export function seen(layers, strict = true) {
  const all = masks(layers, strict);
  let reach = layers[0].map((_, i) => layers[0].map((_, j) => i === j));
  for (const mask of all) reach = mask.map((row) => layers[0].map((_, j) => row.some((open, k) => open && reach[k][j])));
  return reach;
}

class Order extends Scene {
  constructor(root) {
    super(root);
    this.window = new Window(root.querySelector("svg"), { x: 4, y: 4, w: 612, h: 282 }, [0, 1], [-0.6, 3.6], "");
    this.window.inside.classList.add("network");
  }

  show({ inputs, hidden, output, reversed, loose }) {
    const layers = degrees({ inputs, hidden, reversed }), strict = !loose, followed = Math.min(output, inputs) - 1;
    const places = layers.map((layer, l) => layer.map((_, i) => [(i + 0.5) / layer.length, 3 - l]));
    const all = masks(layers, strict), on = this.followed(all, followed);
    const lines = (want) => all.flatMap((mask, l) => mask.flatMap((row, i) => row.flatMap((open, j) =>
      open && (on[l + 1][i] === want || (!want && !on[l + 1][i])) ? [[places[l][j], places[l + 1][i]]] : [])));
    this.window.path("way", ...lines(false));
    this.window.path("curve", ...lines(true));
    this.units(layers, places, on);
    const reach = seen(layers, strict), sees = reach[followed].flatMap((yes, j) => (yes ? [`x${j + 1}`] : []));
    const itself = reach.some((row, i) => row[i]);
    this.say({
      output: `x${followed + 1}`, place: layers[3][followed], sees: sees.length ? sees.join(", ") : "nothing: it is a constant",
      verdict: itself ? "Outputs see their own input: the product of these conditionals is no density." : "No output sees its own input, and the Jacobian is triangular in this order.",
    });
  }

  /** Return for each layer which units the followed output depends on. */
  followed(all, output) {
    let now = all.at(-1).map((_, i) => i === output);
    const on = [now];
    for (const mask of [...all].reverse()) {
      now = mask[0].map((_, j) => mask.some((row, i) => now[i] && row[j]));
      on.unshift(now);
    }
    return on;
  }

  units(layers, places, on) {
    this.window.inside.querySelectorAll(".unit").forEach((old) => old.remove());
    layers.forEach((layer, l) => layer.forEach((degree, i) => {
      const [cx, cy] = this.window.at(places[l][i]), group = shape("g", this.window.inside, { class: on[l][i] ? "unit on" : "unit" });
      shape("circle", group, { cx, cy, r: 13 });
      shape("text", group, { x: cx, y: cy + 5, "text-anchor": "middle" }).textContent = degree;
      if (l % 3 === 0) shape("text", group, { x: cx, y: cy + (l ? 32 : -20), "text-anchor": "middle", class: "name" }).textContent = l ? `p(x${i + 1} | …)` : `x${i + 1}`;
    }));
  }
}

Object.assign(SCENES, { order: Order });
