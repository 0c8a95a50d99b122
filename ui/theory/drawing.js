// What the formulas to play with are drawn by: sliders, windows with axes that stay, and dragging. All happens in
// the browser; the server sends colours and is asked for nothing. No build step, no dependency.

/** Return numbers from low to high, in equal steps. */
const range = (low, high, count) => Array.from({ length: count + 1 }, (_, i) => low + ((high - low) * i) / count);

/** Return the density of the standard normal. */
export const normal = (z) => Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);

// -- the component --------------------------------------------------------------------------------------

const SCENES = {}; // by the data-map of their element; the file that follows this one fills it in
const scenes = new WeakMap(); // by the element they live in

export default function ({ parentElement, data, setStateValue }) {
  const root = parentElement.querySelector(".formula");
  if (!scenes.has(root)) scenes.set(root, new SCENES[root.dataset.map](root));
  scenes.get(root).paint(data, setStateValue);
}

/** Sliders, numbers and drawings of one map; the sliders hold all that can be changed. */
class Scene {
  constructor(root) {
    this.root = root;
    this.inputs = [...root.querySelectorAll("input")];
    this.recall();
    root.addEventListener("input", () => this.draw());
  }

  paint({ table, ...colours }) {
    for (const [name, value] of Object.entries(colours)) this.root.style.setProperty(`--${name}`, value);
    this.table = table;
    this.draw();
  }

  values() {
    return Object.fromEntries(this.inputs.map((input) => [input.id, valueOf(input)]));
  }

  /** Move sliders from without, and draw. */
  set(values) {
    for (const input of this.inputs) if (input.id in values) put(input, values[input.id]);
    this.draw();
  }

  draw() {
    for (const input of this.inputs) if (input.type === "range") input.previousElementSibling.textContent = words(input.valueAsNumber, places(input.step));
    const values = this.values();
    this.show(values);
    this.keep(values);
  }

  /** Write numbers to where the page has a place for them. */
  say(numbers) {
    for (const place of this.root.querySelectorAll("[data-number]")) place.textContent = numbers[place.dataset.number];
  }

  // What was set outlives a look at another page, as it does for other sliders of the lab.
  keep(values) {
    try {
      sessionStorage.setItem(`theory.${this.root.dataset.map}`, JSON.stringify(values));
    } catch { /* a browser that keeps nothing */ }
  }

  recall() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(`theory.${this.root.dataset.map}`)) || {};
      for (const input of this.inputs) if (isFinite(kept[input.id])) put(input, kept[input.id]);
    } catch { /* nothing was kept */ }
  }
}

const valueOf = (input) => (input.type === "checkbox" ? Number(input.checked) : input.valueAsNumber);

function put(input, value) {
  if (input.type === "checkbox") input.checked = Boolean(value);
  else input.value = value;
}

const words = (value, digits = 2) => (Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits).replace("-", "−");
const outside = (value, [low, high]) => (value < low || value > high ? "It is now outside the axes, which stay as they are." : "");
const places = (step) => (step.split(".")[1] || "").length;

// -- drawing --------------------------------------------------------------------------------------------

/** A part of a drawing with axes that never move. */
class Window {
  constructor(svg, area, across, up, name) {
    Object.assign(this, { svg, area, across, up });
    const { x, y, w, h } = area;
    // What lies outside is cut off by a drawing inside the drawing, which needs no name of its own.
    this.inside = shape("svg", svg, { x, y, width: w, height: h, viewBox: `${x} ${y} ${w} ${h}` });
    shape("rect", svg, { x, y, width: w, height: h, class: "window" });
    shape("text", svg, { x: x + 6, y: y + 15, class: "name" }).textContent = name;
  }

  at([u, v]) {
    const { area: { x, y, w, h }, across, up } = this;
    return [x + (w * (u - across[0])) / (across[1] - across[0]), y + (h * (up[1] - v)) / (up[1] - up[0])];
  }

  back(px, py) {
    const { area: { x, y, w, h }, across, up } = this;
    return [across[0] + ((px - x) / w) * (across[1] - across[0]), up[1] - ((py - y) / h) * (up[1] - up[0])];
  }

  ticks(across, up) {
    const { x, y, h } = this.area;
    const write = (v, at) => { shape("text", this.svg, at).textContent = String(v).replace("-", "−"); };
    for (const v of across) write(v, { x: this.at([v, 0])[0], y: y + h + 16, "text-anchor": "middle" });
    for (const v of up) write(v, { x: x - 6, y: this.at([0, v])[1] + 4, "text-anchor": "end" });
  }

  /** Draw lines, in place of those of that name. */
  path(name, ...lines) {
    const element = this.inside.querySelector(`.${name}`) || shape("path", this.inside, { class: name });
    element.setAttribute("d", lines.map((line) => `M${line.map((place) => this.at(place).map((v) => v.toFixed(1))).join("L")}`).join(""));
  }

  /** Put the mark at a place; a finger needs a larger one than an eye. */
  mark(place) {
    this.handle ||= ["reach", "mark"].map((name) => shape("circle", this.inside, { class: `${name} handle`, r: name === "mark" ? 6 : 26 }));
    const [cx, cy] = this.at(place);
    for (const circle of this.handle) for (const [name, value] of Object.entries({ cx, cy })) circle.setAttribute(name, value);
  }
}

function shape(name, parent, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return parent.appendChild(element);
}

/** Call what ``begin`` returns for each place that the pointer is dragged to.
 *
 * A finger drags only what it takes hold of, and a tap moves it: elsewhere it scrolls the page, if not all of it is
 * to draw on.
 */
function dragged(svg, begin, all = () => false) {
  let move = null;
  const place = (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [x, y];
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || (event.pointerType === "touch" && !all() && !event.target.closest(".handle"))) return;
    svg.setPointerCapture(event.pointerId);
    move = begin(place(event));
    move(place(event));
  });
  svg.addEventListener("pointermove", (event) => move && move(place(event)));
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { move = null; });
  svg.addEventListener("click", (event) => event.pointerType === "touch" && !all() && begin(place(event))(place(event)));
}
