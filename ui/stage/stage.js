// The stage: panels of heat maps, points, lines and arrows, drawn on canvases from one block of bytes
// (ui/stage/encode.py). No build step, no dependency. The server is asked for nothing while somebody
// plays, scrubs, zooms, switches layers, drags or draws; it hears of a drag or a drawing when it is done.

const GLIDE = 500; // milliseconds from one snapshot to the next
const TOUR = 6000; // milliseconds of a whole play
const KEPT = 120; // frames of a training that are kept in the browser
const RUNS = 4; // trainings whose frames are kept
const STROKES = 200; // of a drawing
const CORNERS = 2000; // of a stroke
const ALL = 20000; // corners of a drawing
const SETTLE = 500; // milliseconds after which a drawing is handed over, if the pen stays up
const APART = 1.5; // pixels between two corners of a stroke, at least
const SAVED = 720; // pixels of each panel in a saved image
const MARGIN = { left: 36, right: 10, top: 8, bottom: 34 };
const BAR = 44; // pixels for the colour bar
const TRACE = 150; // pixels of height of a trace
const OPAQUE = [0.024, 0.59]; // of a cell of a mesh, from the palest to the densest

const stages = new WeakMap(); // by the element they live in
const histories = new Map(); // frames by run: they outlive a panel that is drawn anew

export default function (component) {
  let stage = stages.get(component.parentElement);
  if (!stage) {
    stage = new Stage(component.parentElement.querySelector(".stage"));
    stages.set(component.parentElement, stage);
  }
  stage.update(component);
  return () => stage.rest();
}

// -- reading ------------------------------------------------------------------------------------------

/** Read a block of bytes; throw an Error with a sentence where it is not whole. */
function decode(bytes) {
  if (!(bytes instanceof Uint8Array) || bytes.length < 8) throw new Error("No image has arrived.");
  if (String.fromCharCode(...bytes.subarray(0, 4)) !== "GLS1") throw new Error("This is no image of the stage.");
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
  const body = bytes.slice(8 + size); // a copy, so that arrays start where they must
  if (8 + size > bytes.length) throw new Error("The image did not arrive whole.");
  const scene = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  if (body.length < scene.bytes) throw new Error("The image did not arrive whole.");
  const arrays = scene.arrays.map(({ type, shape, at }) => {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = new (type === "u1" ? Uint8Array : Float32Array)(body.buffer, at, count);
    return { shape, values };
  });
  return { ...scene, array: (i) => (i === null || i === undefined ? null : arrays[i]) };
}

/** Return frame i of an array: a view, not a copy. */
function slice(array, framed, i) {
  if (!framed) return array;
  const shape = array.shape.slice(1);
  const size = shape.reduce((a, b) => a * b, 1);
  return { shape, values: array.values.subarray(i * size, (i + 1) * size) };
}

/** Return what a scene shows in each of its frames: ``{value, label, panels: [{box, layers}]}``. */
function framesOf(scene) {
  const count = scene.timeline ? scene.timeline.values.length : 1;
  return Array.from({ length: count }, (_, i) => ({
    value: scene.timeline ? scene.timeline.values[i] : 0,
    label: scene.timeline ? scene.timeline.labels[i] : "",
    panels: scene.panels.map((panel) => {
      const box = scene.array(panel.box);
      return {
        box: [...slice(box, box.shape.length === 2, i).values],
        words: panel.words[i] || "",
        layers: panel.layers.map((layer) => ({
          high: layer.high && layer.high[Math.min(i, layer.high.length - 1)],
          alpha: opacity(scene.array(layer.alpha), i),
          ...slice(scene.array(layer.array), layer.framed, i),
        })),
      };
    }),
  }));
}

/** Return the opacity of the corners of lines in frame i; none where they do not differ. */
function opacity(alpha, i) {
  return alpha && slice(alpha, alpha.shape.length === 3, i).values;
}

/** Add frames to those that the browser has of a run; thin them where they become too many. */
function remember(run, frames, whole) {
  const known = whole ? new Map() : histories.get(run) || new Map();
  for (const frame of frames) known.set(frame.value, frame);
  const sorted = [...known.values()].sort((a, b) => a.value - b.value);
  const kept = sorted.length <= KEPT ? sorted : sorted.filter((_, i) => i % 2 === 0 || i === sorted.length - 1);
  histories.delete(run); // and back again, as the youngest
  histories.set(run, new Map(kept.map((frame) => [frame.value, frame])));
  if (histories.size > RUNS) histories.delete(histories.keys().next().value);
  return kept;
}

// -- numbers ------------------------------------------------------------------------------------------

const mix = (a, b, t) => a + (b - a) * t;
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
const sameLayers = (a, b) => a && a.panels.length === b.panels.length && a.panels.every((panel, i) => panel.layers.length === b.panels[i].layers.length);
const sameShape = (a, b) => a && b && a.shape.length === b.shape.length && a.shape.every((n, i) => n === b.shape[i]);

/** Return a frame between two, where their layers have equal shapes; else the nearer one. */
function between(a, b, t) {
  if (!a || a === b || t >= 1) return b;
  if (t <= 0) return a;
  return {
    ...(t < 0.5 ? a : b),
    panels: b.panels.map((panel, p) => {
      const from = a.panels[p];
      if (!from) return panel;
      return {
        box: panel.box.map((v, i) => mix(from.box[i], v, t)),
        words: (t < 0.5 ? from : panel).words,
        layers: panel.layers.map((layer, l) => blend(from.layers[l], layer, t)),
      };
    }),
  };
}

function blend(a, b, t) {
  if (!sameShape(a, b) || a.values === b.values) return b;
  const values = new b.values.constructor(b.values.length);
  for (let i = 0; i < values.length; i++) values[i] = a.values[i] + (b.values[i] - a.values[i]) * t;
  return { ...b, values, high: b.high && mix(a.high, b.high, t) };
}

/** Return some four round numbers within a range. */
function ticks(low, high, most = 6) {
  const raw = (high - low) / most;
  if (!(raw > 0) || !isFinite(raw)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

function words(v, digits = 3) {
  if (!isFinite(v)) return "–";
  const size = Math.abs(v);
  const text = size !== 0 && (size < 0.001 || size >= 1e5) ? v.toExponential(1) : String(+v.toPrecision(digits));
  return text.replace("-", "−");
}

/** Interpolate a lattice ``(..., h, w, c)`` at a place of its window; return c values of state s. */
function lookUp(lattice, box, [x, y], s) {
  const [h, w, c] = lattice.shape.slice(-3);
  const u = clamp(((x - box[0]) / (box[1] - box[0])) * (w - 1), 0, w - 1);
  const v = clamp(((y - box[2]) / (box[3] - box[2])) * (h - 1), 0, h - 1);
  const i = Math.min(Math.floor(u), w - 2), j = Math.min(Math.floor(v), h - 2);
  const at = (row, column, k) => lattice.values[((s * h + row) * w + column) * c + k];
  return Array.from({ length: c }, (_, k) => mix(
    mix(at(j, i, k), at(j, i + 1, k), u - i), mix(at(j + 1, i, k), at(j + 1, i + 1, k), u - i), v - j));
}

// -- the stage ----------------------------------------------------------------------------------------

class Stage {
  constructor(element) {
    this.element = element;
    this.panels = [];
    this.off = new Set(); // layers that were switched off or on, by label
    this.on = new Set();
    this.frames = [];
    this.position = 0; // which frame is shown; between two where the timeline is smooth
    this.follow = true; // whether the newest frame is shown
    this.strokes = [];
    this.turn = -1; // which drawing this is: the server's is taken if it is newer
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.find = (name) => element.querySelector(name);
    this.tools = new Tools(this);
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(element);
  }

  update({ data, setStateValue }) {
    this.tell = setStateValue;
    if (data === this.data) return;
    try {
      const scene = decode(data);
      this.take(scene, framesOf(scene));
      this.data = data;
      this.say("");
    } catch (error) {
      this.say(`${error.message} What you see may be old: reload the page.`);
      console.warn("stage:", error.message);
    }
  }

  say(sentence) {
    const place = this.find(".problem");
    place.textContent = sentence;
    place.hidden = !sentence;
  }

  take(scene, frames) {
    const line = scene.timeline;
    const shown = this.shown();
    const here = this.frames[Math.round(this.position)];
    const other = !this.scene || (line && line.run) !== (this.scene.timeline && this.scene.timeline.run);
    this.frames = line && line.run ? remember(line.run, frames, line.whole) : frames;
    const length = this.scene ? this.scene.panels.length : 0;
    this.scene = scene;
    if (length !== scene.panels.length) this.build();
    this.panels.forEach((panel, i) => panel.take(scene.panels[i]));
    const last = this.frames.length - 1;
    if (other) this.position = line && line.start >= 0 ? Math.min(line.start, last) : last;
    if (other) this.follow = !line || line.start < 0;
    if (this.follow && !this.playing) this.position = last;
    // Frames that are thinned out move the others: the one that is looked at stays.
    else if (!other && line && line.run) this.position = this.frames.findLastIndex((frame) => frame.value <= here?.value);
    this.position = clamp(this.position, 0, last);
    if (scene.drag && !this.dragging && this.awaited(scene.drag.point)) this.point = scene.drag.point;
    this.tools.take();
    this.from = this.follow && !other && sameLayers(shown, this.frames[last]) ? shown : null;
    if (!this.playing) this.start(this.from ? GLIDE : 0, (part) => { this.glide = part; });
    if (other && line && line.play && !this.still.matches) this.play();
  }

  build() {
    const place = this.find(".panels");
    place.replaceChildren();
    this.panels = this.scene.panels.map((_, i) => new Panel(this, i, place));
  }

  /** Return the frame that is shown now. */
  shown() {
    if (!this.frames.length) return null;
    const low = Math.floor(this.position), high = Math.min(low + 1, this.frames.length - 1);
    const frame = between(this.frames[low], this.frames[high], this.position - low);
    return this.from && this.glide < 1 ? between(this.from, frame, ease(this.glide)) : frame;
  }

  // Something moves for a while; nothing is drawn when it has ended.
  start(duration, move, done) {
    cancelAnimationFrame(this.ticking);
    if (this.still.matches) duration = 0;
    const began = performance.now();
    const tick = (now) => {
      const part = duration ? clamp((now - began) / duration, 0, 1) : 1;
      move(part);
      this.draw();
      if (part < 1) this.ticking = requestAnimationFrame(tick);
      else if (done) done();
    };
    tick(began);
  }

  rest() {
    this.tools.flush();
    cancelAnimationFrame(this.ticking);
    this.glide = 1;
    this.playing = false;
  }

  play() {
    const last = this.frames.length - 1;
    if (last < 1) return;
    if (this.playing) return this.stop();
    const from = this.position >= last - 0.01 ? 0 : this.position;
    const length = this.still.matches ? 0 : TOUR * (1 - from / last);
    this.playing = true;
    this.glide = 1;
    this.start(length, (part) => this.seek(mix(from, last, part), false), () => this.stop());
    this.tools.show();
  }

  stop() {
    cancelAnimationFrame(this.ticking);
    this.playing = false;
    this.seek(this.position);
  }

  seek(position, draw = true) {
    const last = this.frames.length - 1;
    const smooth = this.scene.timeline && this.scene.timeline.smooth;
    this.position = clamp(smooth ? position : Math.round(position), 0, last);
    this.follow = this.position >= last - 1e-6;
    this.glide = 1;
    this.tools.show();
    if (draw) this.draw();
  }

  /** Say whether there is no room for more strokes. */
  full() {
    return this.strokes.length >= STROKES || this.corners() >= ALL;
  }

  corners() {
    return this.strokes.reduce((sum, { at }) => sum + at.length / 2, 0);
  }

  draw() {
    const frame = this.shown();
    if (!frame) return;
    this.panels.forEach((panel, i) => {
      panel.draw(frame.panels[i]);
      panel.tell(frame.label, frame.panels[i].words);
    });
    this.tools.follow();
  }

  visible(layer) {
    return this.off.has(layer.label) ? false : this.on.has(layer.label) || layer.on;
  }

  toggle(layer) {
    const [into, out] = this.visible(layer) ? [this.off, this.on] : [this.on, this.off];
    into.add(layer.label);
    out.delete(layer.label);
    this.panels.forEach((panel) => panel.legend());
    this.draw();
  }

  // -- the point ----------------------------------------------------------------------------------

  move(point, done) {
    const [x0, x1, y0, y1] = this.scene.drag.box;
    this.point = [clamp(point[0], x0, x1), clamp(point[1], y0, y1)];
    this.dragging = true;
    this.draw();
    if (done) this.release();
  }

  release() {
    if (!this.dragging) return;
    this.dragging = false;
    this.asked = this.point = this.point.map((v) => Math.round(v * 1e4) / 1e4);
    this.tell("point", this.point);
  }

  /** Say whether an answer is the one to the last question: one before it would move the point back. */
  awaited(point) {
    return !this.asked || near(this.asked, point);
  }

  /** Say whether the server has computed what belongs to the point where it is. */
  exact() {
    return near(this.point, this.scene.drag.point);
  }

  /** Return the image at the point: blended from those of a lattice, or the exact one. */
  decoded() {
    const { drag } = this.scene;
    if (!drag || drag.images === null) return null;
    const images = this.scene.array(drag.images), exact = this.scene.array(drag.exact);
    if (exact && this.exact()) return { values: exact.values, shape: exact.shape, exact: true };
    const [h, w, ...shape] = images.shape;
    const lattice = { shape: [h, w, shape.reduce((a, b) => a * b, 1)], values: images.values };
    return { values: lookUp(lattice, drag.box, this.point, 0), shape, exact: false };
  }

  /** Return where the point is after each state and the sums, and whether these are exact. */
  path() {
    const { drag } = this.scene;
    if (!drag || drag.states === null) return null;
    const states = this.scene.array(drag.states), sums = this.scene.array(drag.sums);
    const count = states.shape[0];
    const exact = this.scene.array(drag.exact), exactSums = this.scene.array(drag.exact_sums);
    if (exact && this.exact()) {
      const at = Array.from({ length: count }, (_, s) => [exact.values[2 * s], exact.values[2 * s + 1]]);
      return { at, sums: exactSums && [...exactSums.values], exact: true };
    }
    const scalar = sums && { shape: [...sums.shape, 1], values: sums.values };
    const all = Array.from({ length: count }, (_, s) => s);
    return {
      at: all.map((s) => lookUp(states, drag.box, this.point, s)),
      sums: sums && all.map((s) => lookUp(scalar, drag.box, this.point, s)[0]),
      exact: false,
    };
  }

  // -- saving ---------------------------------------------------------------------------------------

  save() {
    const frame = this.shown();
    const across = Math.min(this.panels.length, 3), down = Math.ceil(this.panels.length / across);
    const canvas = document.createElement("canvas");
    const high = 2 * Math.max(...this.panels.map((panel) => panel.area(SAVED / 2).height)) + 44;
    canvas.width = across * SAVED;
    canvas.height = down * high;
    const context = canvas.getContext("2d");
    context.fillStyle = this.scene.colours.background;
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.panels.forEach((panel, i) => {
      const x = (i % across) * SAVED, y = Math.floor(i / across) * high;
      context.save();
      context.translate(x, y);
      context.scale(2, 2);
      panel.paint(context, SAVED / 2, frame.panels[i]);
      context.fillStyle = this.scene.colours.ink;
      context.font = `13px ${font(this.element)}`;
      context.textAlign = "center";
      const { x: left, w } = panel.area(SAVED / 2);
      const label = panel.spec.layers.some((layer) => layer.framed) && frame.label;
      context.fillText([panel.spec.title, label].filter(Boolean).join(" · "), left + w / 2, high / 2 - 8);
      context.restore();
    });
    this.draw(); // places on the page are again those of the page, not of the saved image
    canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = [this.scene.save, frame.label].filter(Boolean).join(" ").replace(/[^\w-]+/g, "-") + ".png";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
}

const near = (a, b) => a.every((v, i) => Math.abs(v - b[i]) < 2e-4);
const place = ([x, y]) => `(${x.toFixed(3)}, ${y.toFixed(3)})`.replaceAll("-", "−");
const how = (exact) => (exact ? "Exact." : "Blended from a lattice; exact when you let go.");
const ease = (t) => t * t * (3 - 2 * t);
const font = (element) => getComputedStyle(element).fontFamily;

// -- one panel ----------------------------------------------------------------------------------------

class Panel {
  constructor(stage, index, place) {
    this.stage = stage;
    this.index = index;
    this.zoom = { scale: 1, x: 0, y: 0 }; // of the window, moved in units of its half-width
    this.figure = make("figure", place);
    this.frame = make("div", this.figure, { className: "frame" });
    this.canvas = make("canvas", this.frame, { tabIndex: 0 });
    this.readout = make("output", this.frame, { className: "readout", hidden: true });
    this.caption = make("figcaption", this.figure);
    this.chips = make("div", this.figure, { className: "chips" });
    this.pen = null; // where keys draw
    this.listen();
  }

  take(spec) {
    this.spec = spec;
    this.figure.classList.toggle("first", spec.first);
    this.figure.classList.toggle("wide", spec.trace);
    this.canvas.setAttribute("role", "img");
    const { drag, brush } = this.stage.scene;
    this.drags = Boolean(drag && drag.panel === this.index);
    this.brushes = Boolean(brush && brush.panel === this.index);
    this.canvas.style.touchAction = this.drags || this.brushes ? "none" : "pan-y";
    this.canvas.style.cursor = this.brushes ? "crosshair" : this.drags ? "grab" : "default";
    const keys = this.brushes ? "Arrow keys move the pen, Enter lowers and lifts it."
      : this.drags ? "Arrow keys move the point." : "Plus and minus zoom, 0 shows all.";
    this.keys = keys + (this.stage.scene.timeline ? " Space plays." : "");
    this.legend();
  }

  /** Draw a chip for each layer, if there is a choice; a press shows or hides the layer. */
  legend() {
    const { layers } = this.spec;
    if (layers.length < 2) return this.chips.replaceChildren();
    if (this.chips.children.length !== layers.length) {
      this.chips.replaceChildren();
      layers.forEach((_, i) => make("button", this.chips, { type: "button", onclick: () => this.stage.toggle(this.spec.layers[i]) }));
    }
    layers.forEach((layer, i) => {
      const chip = this.chips.children[i];
      chip.textContent = layer.label;
      chip.setAttribute("aria-pressed", String(this.stage.visible(layer)));
      chip.style.setProperty("--mark", this.colour(layer));
    });
  }

  colour(layer) {
    const { colours } = this.stage.scene;
    if (layer.kind === "heat") return colours.accent;
    return hue(colours, layer.colour);
  }

  // -- places -----------------------------------------------------------------------------------------

  /** Return where the plot lies on a canvas of some width, and the canvas's height: pixels. */
  area(size) {
    if (!this.spec.axes) return { x: 0, y: 0, w: size, h: size, height: size };
    if (this.spec.trace) {
      const w = size - MARGIN.left - MARGIN.right;
      return { x: MARGIN.left, y: MARGIN.top + 16, w, h: TRACE, height: TRACE + 16 + MARGIN.top + MARGIN.bottom };
    }
    // As wide in all panels, with a colour bar or without one.
    const bars = this.stage.scene.panels.some(({ layers }) => layers.some((layer) => layer.kind === "heat"));
    const side = size - MARGIN.left - (bars ? BAR : MARGIN.right);
    return { x: MARGIN.left, y: MARGIN.top, w: side, h: side, height: side + MARGIN.top + MARGIN.bottom };
  }

  window(box) {
    const { scale, x, y } = this.zoom;
    const cx = (box[0] + box[1]) / 2, cy = (box[2] + box[3]) / 2;
    const hx = (box[1] - box[0]) / 2, hy = (box[3] - box[2]) / 2;
    return [cx + (x - 1 / scale) * hx, cx + (x + 1 / scale) * hx, cy + (y - 1 / scale) * hy, cy + (y + 1 / scale) * hy];
  }

  /** Return functions from the plane to pixels and back. */
  places(area, box) {
    const kx = area.w / (box[1] - box[0]), ky = area.h / (box[3] - box[2]);
    return {
      x: (v) => area.x + (v - box[0]) * kx,
      y: (v) => area.y + (box[3] - v) * ky,
      back: (px, py) => [box[0] + (px - area.x) / kx, box[3] - (py - area.y) / ky],
    };
  }

  /** Say what is shown now, for those who cannot see it. */
  tell(label, said) {
    const thinned = this.spec.layers.find((layer) => layer.kind === "points" && layer.of > layer.drawn);
    const fewer = thinned && `${thinned.drawn.toLocaleString("en")} of ${thinned.of.toLocaleString("en")} drawn`;
    const caption = [this.spec.title, said, fewer].filter(Boolean).join(". ");
    if (this.caption.textContent !== caption) this.caption.textContent = caption;
    const now = this.spec.layers.some((layer) => layer.framed) && label ? ` at ${label}` : "";
    const words = `${this.spec.alt}${now}. ${this.keys}`;
    if (this.canvas.getAttribute("aria-label") !== words) this.canvas.setAttribute("aria-label", words);
  }

  draw(frame) {
    const size = this.canvas.clientWidth;
    if (!size) return;
    const density = window.devicePixelRatio || 1, { height } = this.area(size);
    const pixels = [size, height].map((v) => Math.round(v * density));
    if (this.canvas.width !== pixels[0] || this.canvas.height !== pixels[1]) {
      [this.canvas.width, this.canvas.height] = pixels;
      this.canvas.style.height = `${height}px`;
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    this.frameNow = frame;
    this.paint(context, size, frame);
    if (this.pointer) this.read(this.pointer);
  }

  paint(context, size, frame) {
    const { colours } = this.stage.scene;
    const area = this.area(size);
    context.fillStyle = colours.background;
    context.fillRect(0, 0, size, area.height);
    context.font = `11px ${font(this.stage.element)}`;
    if (this.spec.trace) return this.trace(context, size);
    const box = this.window(frame.box);
    this.now = { area, box, ...this.places(area, box) };
    context.save();
    context.beginPath();
    context.rect(area.x, area.y, area.w, area.h);
    context.clip();
    this.spec.layers.forEach((layer, i) => {
      if (this.stage.visible(layer)) this[layer.kind](context, layer, frame.layers[i], frame.box);
    });
    const image = this.stage.scene.drag && this.stage.scene.drag.shown === this.index && this.stage.decoded();
    if (image) this.pixels(context, { colour: image.shape.length === 3 }, image, frame.box);
    this.point(context);
    if (this.brushes) this.drawing(context);
    if (this.brushes && context.canvas === this.canvas) this.rim(context);
    context.restore();
    if (this.spec.axes) this.frameOf(context, frame);
  }

  frameOf(context, frame) {
    const { colours } = this.stage.scene;
    const { area, box, x, y } = this.now;
    context.strokeStyle = colours.grid;
    context.lineWidth = 1;
    context.strokeRect(area.x + 0.5, area.y + 0.5, area.w - 1, area.h - 1);
    context.fillStyle = colours.muted;
    context.textAlign = "center";
    for (const v of ticks(box[0], box[1])) context.fillText(words(v), x(v), area.y + area.h + 13);
    context.textAlign = "right";
    for (const v of ticks(box[2], box[3])) context.fillText(words(v), area.x - 5, y(v) + 4);
    context.textAlign = "center";
    context.fillText(this.spec.axes[0], area.x + area.w / 2, area.y + area.h + 28);
    context.save();
    context.translate(9, area.y + area.h / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.spec.axes[1], 0, 0);
    context.restore();
    const i = this.spec.layers.findIndex((layer) => layer.kind === "heat" && this.stage.visible(layer));
    if (i >= 0) this.bar(context, this.spec.layers[i], frame.layers[i].high);
  }

  /** Draw the colour bar of a heat map, with numbers where they belong on its scale. */
  bar(context, layer, high) {
    const { area } = this.now;
    const x = area.x + area.w + 8, table = this.table(layer);
    context.globalAlpha = layer.alpha;
    for (let i = 0; i < area.h; i++) {
      const entry = 3 * Math.round(255 * (1 - i / area.h));
      context.fillStyle = `rgb(${table[entry]},${table[entry + 1]},${table[entry + 2]})`;
      context.fillRect(x, area.y + i, 9, Math.min(1, area.h - i)); // no overlap: it would be darker
    }
    context.globalAlpha = 1;
    context.fillStyle = this.stage.scene.colours.muted;
    context.textAlign = "right";
    context.fillText(layer.name || layer.label, area.x + area.w + BAR - 1, area.y + area.h + 28);
    context.textAlign = "left";
    for (const part of [0, 0.25, 0.5, 0.75, 1]) {
      const text = words(valueOf(layer, high, part), 2);
      context.fillText(text, x + 12, clamp(area.y + area.h * (1 - part) + 4, area.y + 8, area.y + area.h));
    }
  }

  table(layer) {
    const { scene } = this.stage;
    return scene.array(scene.tables[layer.signed ? "diverging" : "sequential"]).values;
  }

  // -- layers -----------------------------------------------------------------------------------------

  heat(context, layer, { values, shape: [h, w] }, box) {
    const table = this.table(layer);
    context.globalAlpha = layer.alpha;
    this.image(context, w, h, box, (pixels) => {
      for (let i = 0; i < values.length; i++) {
        const entry = 3 * Math.round(values[i]);
        pixels[4 * i] = table[entry];
        pixels[4 * i + 1] = table[entry + 1];
        pixels[4 * i + 2] = table[entry + 2];
        pixels[4 * i + 3] = 255;
      }
    });
    context.globalAlpha = 1;
  }

  pixels(context, layer, array, box) {
    const [h, w] = array.shape;
    this.image(context, w, h, box, (pixels) => fill(pixels, array.values, layer.colour), false);
  }

  image(context, w, h, box, paint, smooth = true) {
    if (!w || !h) return;
    const data = new ImageData(w, h);
    paint(data.data);
    const small = (this.small ||= document.createElement("canvas"));
    small.width = w;
    small.height = h;
    small.getContext("2d").putImageData(data, 0, 0);
    const { x, y } = this.now;
    context.imageSmoothingEnabled = smooth;
    context.drawImage(small, x(box[0]), y(box[3]), x(box[1]) - x(box[0]), y(box[2]) - y(box[3]));
  }

  points(context, layer, { values }) {
    const { colours, array } = this.stage.scene;
    const each = array(layer.each);
    const kinds = each ? colours.categorical : [hue(colours, layer.colour)];
    const ofKind = (kind) => (i) => !each || each.values[i] % kinds.length === kind;
    if (layer.rim) this.dots(context, layer, values, layer.size + 0.9, colours.background);
    context.globalAlpha = layer.rim ? 1 : 0.75;
    kinds.forEach((colour, kind) => this.dots(context, layer, values, layer.size, colour, ofKind(kind)));
    context.globalAlpha = 1;
  }

  /** Draw those of some points that a function of their number picks. */
  dots(context, layer, values, size, colour, picked = () => true) {
    const { x, y } = this.now;
    context.fillStyle = colour;
    context.textAlign = "center";
    context.beginPath();
    for (let i = 0; 2 * i < values.length; i++) {
      const px = x(values[2 * i]), py = y(values[2 * i + 1]);
      if (!isFinite(px + py) || !picked(i)) continue;
      if (layer.mark) context.fillText(layer.mark, px, py + 4);
      else {
        context.moveTo(px + size, py);
        context.arc(px, py, size, 0, 7);
      }
    }
    context.fill();
  }

  /** Draw a bent lattice. Each cell holds as much: the smaller, the denser and the more opaque. */
  mesh(context, layer, { values, shape: [rows, columns] }, box) {
    const { x, y } = this.now;
    const at = (r, c) => [values[2 * (r * columns + c)], values[2 * (r * columns + c) + 1]];
    // Spread evenly over a quarter of the window, a cell would have this opacity.
    const usual = 0.16 * ((box[1] - box[0]) * (box[3] - box[2])) / 4 / ((rows - 1) * (columns - 1));
    const levels = Array.from({ length: 8 }, () => new Path2D());
    for (let r = 0; r + 1 < rows; r++) for (let c = 0; c + 1 < columns; c++) {
      const corners = [at(r, c), at(r + 1, c), at(r + 1, c + 1), at(r, c + 1)];
      const [p, q, s, t] = corners, twice = (s[0] - p[0]) * (t[1] - q[1]) - (s[1] - p[1]) * (t[0] - q[0]);
      if (!isFinite(twice)) continue;
      const alpha = clamp(usual / Math.max(Math.abs(twice) / 2, 1e-9), ...OPAQUE);
      const level = Math.round(7 * (Math.log(alpha / OPAQUE[0]) / Math.log(OPAQUE[1] / OPAQUE[0])));
      // All cells turn the same way: where two of a level overlap, they would cut each other out.
      if (twice < 0) corners.reverse();
      corners.forEach(([a, b], i) => levels[level][i ? "lineTo" : "moveTo"](x(a), y(b)));
    }
    context.fillStyle = context.strokeStyle = hue(this.stage.scene.colours, layer.colour);
    levels.forEach((path, level) => {
      context.globalAlpha = OPAQUE[0] * (OPAQUE[1] / OPAQUE[0]) ** (level / 7);
      context.fill(path);
    });
    context.globalAlpha = 0.6;
    context.lineWidth = 0.8;
    context.beginPath();
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) context[c ? "lineTo" : "moveTo"](...pixel(at(r, c)));
    for (let c = 0; c < columns; c++) for (let r = 0; r < rows; r++) context[r ? "lineTo" : "moveTo"](...pixel(at(r, c)));
    context.stroke();
    context.globalAlpha = 1;
    function pixel([a, b]) { return [x(a), y(b)]; }
  }

  lines(context, layer, { values, alpha, shape: [count, length] }) {
    const { x, y } = this.now;
    context.strokeStyle = this.stage.scene.colours[layer.colour];
    context.lineWidth = 0.9;
    // Corners of about the same opacity are drawn together: eight strokes, not one per piece.
    const shades = alpha ? 8 : 1;
    for (let shade = 1; shade <= shades; shade++) {
      context.globalAlpha = (0.65 * shade) / shades;
      context.beginPath();
      for (let m = 0; m < count; m++) {
        let open = false;
        for (let i = m * length; i < (m + 1) * length; i++) {
          const px = x(values[2 * i]), py = y(values[2 * i + 1]);
          const own = alpha ? Math.ceil((alpha[i] / 255) * shades) : 1;
          if (!own || !isFinite(px + py)) { open = false; continue; }
          if (open) context.lineTo(px, py);
          else if (own === shade) context.moveTo(px, py);
          open = own === shade;
        }
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  arrows(context, layer, { values }) {
    const { x, y } = this.now;
    context.strokeStyle = this.stage.scene.colours[layer.colour];
    context.lineWidth = 1;
    context.beginPath();
    for (let i = 0; i < values.length; i += 4) {
      const [a, b, dx, dy] = values.subarray(i, i + 4);
      const px = x(a), py = y(b), qx = x(a + dx), qy = y(b + dy);
      if (!isFinite(px + py + qx + qy)) continue;
      const angle = Math.atan2(qy - py, qx - px), tip = Math.min(5, Math.hypot(qx - px, qy - py));
      context.moveTo(px, py);
      context.lineTo(qx, qy);
      for (const turn of [2.6, -2.6]) {
        context.moveTo(qx, qy);
        context.lineTo(qx + tip * Math.cos(angle + turn), qy + tip * Math.sin(angle + turn));
      }
    }
    context.stroke();
  }

  // -- the point ----------------------------------------------------------------------------------------

  point(context) {
    const { stage } = this, { drag, colours } = stage.scene;
    const path = stage.path(), { x, y } = this.now;
    let here = this.drags ? stage.point : null;
    const framed = path && stage.frames.length === path.at.length;
    if (path && !here && drag.shown === this.index && !framed) here = path.at[path.at.length - 1];
    if (framed && !here && drag.shown === this.index) {
      // With one frame per state: the way up to the state that is shown.
      const low = Math.floor(stage.position), part = stage.position - low;
      const [a, b] = [path.at[low], path.at[Math.min(low + 1, path.at.length - 1)]];
      here = [mix(a[0], b[0], part), mix(a[1], b[1], part)];
      context.strokeStyle = colours.warn;
      context.lineWidth = 1.6;
      context.beginPath();
      path.at.slice(0, low + 1).concat([here]).forEach(([px, py]) => context.lineTo(x(px), y(py)));
      context.stroke();
    }
    if (!here) return;
    context.beginPath();
    context.arc(x(here[0]), y(here[1]), 7, 0, 7);
    context.fillStyle = colours.warn;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = colours.background;
    context.stroke();
  }

  /** Draw both coordinates of the point and the running sum over the states. */
  trace(context, size) {
    const { stage } = this, { colours } = stage.scene;
    const path = stage.path();
    if (!path) return;
    const moved = stage.scene.array(stage.scene.drag.moved);
    const rows = [["coordinate 1", colours.data, path.at.map((p) => p[0])], ["coordinate 2", colours.model, path.at.map((p) => p[1])]];
    if (path.sums) rows.push(["Σ log|det|", colours.muted, path.sums]);
    const all = rows.flatMap((row) => row[2]).filter(isFinite);
    const low = Math.min(0, ...all), high = Math.max(0, ...all), pad = 0.08 * (high - low || 1);
    const area = this.area(size);
    const box = [-0.3, path.at.length - 0.7, low - pad, high + pad];
    this.now = { area, box, ...this.places(area, box) };
    this.frameOf(context, {});
    const { x, y } = this.now;
    context.strokeStyle = colours.grid;
    context.strokeRect(x(stage.position), area.y, 0, area.h);
    rows.forEach(([name, colour, values], row) => {
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = 1.5;
      context.setLineDash(row === 2 ? [4, 3] : []);
      context.beginPath();
      values.forEach((v, s) => context.lineTo(x(s), y(v)));
      context.stroke();
      context.setLineDash([]);
      context.textAlign = "left";
      context.fillText(name, area.x + 110 * row, MARGIN.top + 6);
      if (row === 2) return;
      values.forEach((v, s) => {
        context.beginPath();
        context.arc(x(s), y(v), 3.5, 0, 7);
        context.fillStyle = !moved || moved.values[2 * s + row] ? colour : colours.background;
        context.fill();
        context.stroke();
        context.fillStyle = colour;
      });
    });
  }

  // -- the drawing --------------------------------------------------------------------------------------

  drawing(context) {
    const { colours, brush } = this.stage.scene, { x, y, area, box } = this.now;
    const scale = area.w / (box[1] - box[0]);
    // On a sheet of its own: an eraser takes away strokes, not what lies below them.
    const sheet = (this.sheet ||= document.createElement("canvas"));
    sheet.width = context.canvas.width;
    sheet.height = context.canvas.height;
    const pen = sheet.getContext("2d");
    pen.setTransform(context.getTransform());
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = colours[brush.colour] || brush.colour;
    for (const stroke of this.stage.strokes) {
      pen.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
      pen.globalAlpha = stroke.erase || !brush.weights ? 1 : 0.3 + 0.2 * stroke.weight;
      pen.lineWidth = 2 * stroke.radius * scale;
      pen.beginPath();
      for (let i = 0; i < stroke.at.length; i += 2) pen.lineTo(x(stroke.at[i]), y(stroke.at[i + 1]));
      if (stroke.at.length === 2) pen.lineTo(x(stroke.at[0]) + 0.01, y(stroke.at[1]));
      pen.stroke();
    }
    context.save();
    context.resetTransform();
    context.drawImage(sheet, 0, 0);
    context.restore();
  }

  /** Draw the rim of the brush, where keys have moved it or the pointer is. */
  rim(context) {
    const { colours } = this.stage.scene, { x, y, area, box } = this.now;
    if (!this.pen && !this.pointer) return;
    const [px, py] = this.pen ? [x(this.pen[0]), y(this.pen[1])] : this.pointer;
    const radius = Math.max(3, (this.stage.tools.radius() * area.w) / (box[1] - box[0]));
    for (const [colour, width] of [[colours.background, 4], [colours.ink, 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = this.penDown ? width + 1 : width;
      context.beginPath();
      context.arc(px, py, radius, 0, 7);
      context.stroke();
    }
  }

  begin(place) {
    const { stage } = this, { strokes, tools } = stage;
    tools.wait();
    if (stage.full()) return;
    strokes.push({ ...tools.brush(), at: [...place] });
    this.drawn = strokes[strokes.length - 1];
    tools.changed();
  }

  extend(place) {
    if (!this.drawn) return;
    const { at } = this.drawn, { x, y } = this.now;
    if (Math.hypot(x(place[0]) - x(at.at(-2)), y(place[1]) - y(at.at(-1))) < APART) return;
    if (this.stage.corners() >= ALL) return;
    if (at.length >= 2 * CORNERS) this.begin(at.slice(-2));
    else at.push(...place);
    this.stage.draw();
  }

  /** Lift the pen. */
  lift() {
    if (this.drawn) this.stage.tools.settle();
    this.drawn = null;
  }

  // -- hands --------------------------------------------------------------------------------------------

  listen() {
    const { canvas, stage } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      this.held = [event.offsetX, event.offsetY];
      const place = this.place(event);
      if (this.brushes) this.put(event);
      else if (this.drags) stage.move(place);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.isPrimary) return;
      this.pointer = [event.offsetX, event.offsetY];
      if (!this.held) return this.brushes ? stage.draw() : this.read(this.pointer);
      if (this.brushes) this.draws(event);
      else if (this.drags) stage.move(this.place(event));
      else if (this.zoom.scale > 1) this.pan(event);
    });
    const end = (event) => {
      if (!event.isPrimary) return;
      this.held = null;
      this.lift();
      stage.release();
      stage.tools.show();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.readout.hidden = true;
      if (this.brushes) stage.draw();
    });
    canvas.addEventListener("dblclick", (event) => {
      if (!this.brushes && !this.drags) this.magnify(event.shiftKey ? 0.5 : 2, this.place(event));
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.penDown && this.lower());
    canvas.addEventListener("keyup", (event) => event.key.startsWith("Arrow") && stage.release());
    canvas.addEventListener("blur", () => stage.release());
  }

  place(event) {
    return this.now.back(event.offsetX, event.offsetY);
  }

  /** Put the pen down where the pointer is, unless that is beside the plot. */
  put(event) {
    this.penDown = false;
    this.pen = null;
    if (this.inside(event.offsetX, event.offsetY)) this.begin(this.place(event));
  }

  /** Draw on to the pointer: up to the rim of the plot, and from there when it comes back. */
  draws(event) {
    const { area } = this.now, inside = this.inside(event.offsetX, event.offsetY);
    const px = clamp(event.offsetX, area.x, area.x + area.w), py = clamp(event.offsetY, area.y, area.y + area.h);
    if (this.drawn) this.extend(this.now.back(px, py));
    else if (inside) this.begin(this.place(event));
    if (!inside) this.lift();
  }

  inside(px, py) {
    const { area } = this.now;
    return px >= area.x && px <= area.x + area.w && py >= area.y && py <= area.y + area.h;
  }

  pan(event) {
    const { area } = this.now, { zoom } = this;
    zoom.x -= (2 * (event.offsetX - this.held[0])) / area.w / zoom.scale;
    zoom.y += (2 * (event.offsetY - this.held[1])) / area.h / zoom.scale;
    this.held = [event.offsetX, event.offsetY];
    this.bound();
  }

  magnify(by, place) {
    const { zoom, frameNow: { box } } = this;
    zoom.scale = clamp(zoom.scale * by, 1, 32);
    if (place) {
      zoom.x = (2 * place[0] - box[0] - box[1]) / (box[1] - box[0]);
      zoom.y = (2 * place[1] - box[2] - box[3]) / (box[3] - box[2]);
    }
    this.bound();
  }

  bound() {
    const reach = 1 - 1 / this.zoom.scale;
    this.zoom.x = clamp(this.zoom.x, -reach, reach);
    this.zoom.y = clamp(this.zoom.y, -reach, reach);
    this.canvas.style.touchAction = this.zoom.scale > 1 || this.drags || this.brushes ? "none" : "pan-y";
    this.stage.draw();
  }

  key(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const way = arrows[event.key], { stage, now } = this;
    if (event.key === " ") stage.play();
    else if (event.key === "+" || event.key === "=") this.magnify(2);
    else if (event.key === "-") this.magnify(0.5);
    else if (event.key === "0") this.magnify(1e-9);
    else if (way && now && (this.brushes || this.drags)) this.walk(way, event.shiftKey ? 0.005 : 0.02);
    else if (way && way[0] && stage.frames.length > 1) stage.seek(Math.round(stage.position) + way[0]);
    else if (event.key === "Enter" && this.brushes && now) this.lower();
    else return;
    event.preventDefault();
  }

  /** Move the point, or the pen, by a part of the window. */
  walk(way, part) {
    const { box } = this.now;
    const from = this.drags ? this.stage.point : this.pen || this.middle();
    const to = from.map((v, i) => clamp(v + way[i] * part * (box[2 * i + 1] - box[2 * i]), box[2 * i], box[2 * i + 1]));
    if (this.drags) return this.stage.move(to);
    this.pen = to;
    if (this.penDown) this.extend(to);
    this.where();
  }

  middle() {
    const { box } = this.now;
    return [(box[0] + box[1]) / 2, (box[2] + box[3]) / 2];
  }

  lower() {
    this.pen ||= this.middle();
    this.penDown = !this.penDown;
    if (this.penDown) this.begin(this.pen);
    else this.lift();
    this.where();
  }

  /** Say where the pen is. */
  where() {
    this.pointer = null;
    this.readout.hidden = false;
    this.readout.textContent = `Pen ${this.penDown ? "down" : "up"} at ${place(this.pen)}`;
    this.stage.draw();
  }

  /** Say what is under the pointer. */
  read([px, py]) {
    if (!this.now || !this.frameNow || !this.spec.axes || this.spec.trace) return;
    const { back } = this.now;
    this.readout.hidden = !this.inside(px, py);
    if (this.readout.hidden) return;
    const [x, y] = back(px, py), { box } = this.frameNow;
    const said = [`(${x.toFixed(2)}, ${y.toFixed(2)})`.replaceAll("-", "−")];
    this.spec.layers.forEach((layer, i) => {
      if (layer.kind !== "heat" || !this.stage.visible(layer)) return;
      const { values, shape: [h, w], high } = this.frameNow.layers[i];
      const column = Math.floor(((x - box[0]) / (box[1] - box[0])) * w), row = Math.floor(((box[3] - y) / (box[3] - box[2])) * h);
      if (column < 0 || row < 0 || column >= w || row >= h) return;
      said.push(`${layer.name || layer.label} ${words(valueOf(layer, high, values[row * w + column] / 255))}`);
    });
    this.readout.textContent = said.join(" · ");
  }
}

/** Return the colour of a name of the palette, or of the number of a category. */
const hue = (colours, name) => colours[name] || colours.categorical[(name || 0) % colours.categorical.length];

/** Return the value that stands at a part of a heat map's table. */
function valueOf(layer, high, part) {
  const low = layer.signed ? 2 * layer.middle - high : layer.low;
  return low + (high - low) * (layer.root ? part * part : part);
}

function fill(pixels, values, colour) {
  for (let i = 0; 4 * i < pixels.length; i++) {
    for (let k = 0; k < 3; k++) pixels[4 * i + k] = values[colour ? 3 * i + k : i];
    pixels[4 * i + 3] = 255;
  }
}

function make(name, parent, properties = {}) {
  const element = Object.assign(document.createElement(name), properties);
  parent.append(element);
  return element;
}

// -- below the panels: time, the point's numbers, the brush, saving -------------------------------------

class Tools {
  constructor(stage) {
    this.stage = stage;
    const find = stage.find;
    this.play = find(".play");
    this.range = find(".time input");
    this.range.addEventListener("input", () => { stage.playing = false; cancelAnimationFrame(stage.ticking); stage.seek(+this.range.value); });
    this.play.addEventListener("click", () => stage.play());
    find(".save").addEventListener("click", () => stage.save());
    this.cleared = []; // comes back by Undo
    find(".undo").addEventListener("click", () => this.undo());
    find(".clear").addEventListener("click", () => { this.cleared = stage.strokes.splice(0); this.settle(); });
    find(".weight input").addEventListener("input", (event) => { find(".weight output").value = event.target.value; });
  }

  take() {
    const { scene, frames } = this.stage;
    this.stage.find(".time").hidden = !scene.timeline || frames.length < 2;
    this.stage.find(".brush").hidden = !scene.brush;
    if (scene.timeline) this.range.setAttribute("aria-label", scene.timeline.name);
    if (scene.brush) {
      this.stage.find(".weight").hidden = !scene.brush.weights;
      this.given(scene.brush);
    }
    this.show();
  }

  show() {
    const { stage } = this, { timeline } = stage.scene;
    this.play.textContent = stage.playing ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", stage.playing ? "Pause" : "Play");
    const full = stage.full() ? ["This drawing is full: undo some of it, or clear it."] : stage.scene.notes;
    this.stage.find(".notes").textContent = full.join(" ");
    this.stage.find(".undo").disabled = !stage.strokes.length && !this.cleared.length;
    this.stage.find(".clear").disabled = !stage.strokes.length;
    if (!timeline) return;
    this.range.max = stage.frames.length - 1;
    this.range.step = timeline.smooth ? "any" : "1";
    this.follow();
  }

  /** Say what the frame that is shown is, and where the point is. */
  follow() {
    const { stage } = this, { scene, frames, position } = stage;
    if (scene.timeline && frames.length) {
      const low = Math.floor(position + 1e-6), part = position - low;
      const newest = scene.timeline.run && low === frames.length - 1 && frames.length > 1 ? " (newest)" : "";
      const label = part < 0.02 ? frames[low].label + newest : `between ${frames[low].label} and ${frames[low + 1].label}`;
      this.stage.find(".label").textContent = label;
      this.range.setAttribute("aria-valuetext", label);
      if (+this.range.value !== position) this.range.value = position;
    }
    const path = stage.path(), image = stage.decoded();
    this.stage.find(".point").hidden = !path && !image;
    if (path) this.stage.find(".point").textContent = this.told(path);
    if (image) this.stage.find(".point").textContent = `At ${place(stage.point)}. ${how(image.exact)}`;
  }

  told(path) {
    const { stage } = this, { drag } = stage.scene;
    const framed = stage.frames.length === path.at.length;
    const s = framed ? Math.min(Math.round(stage.position), path.at.length - 1) : path.at.length - 1;
    const sum = path.sums ? ` Sum of log|det| so far: ${(path.sums[s] >= 0 ? "+" : "−") + Math.abs(path.sums[s]).toFixed(3)} ${drag.unit}.` : "";
    return `Your point ${place(path.at[0])} is now at ${place(path.at[s])}.${sum} ${how(path.exact)}`;
  }

  // -- the brush ----------------------------------------------------------------------------------------

  radius() {
    return +this.stage.find(".radius input").value * this.stage.scene.brush.radius;
  }

  brush() {
    return { radius: this.radius(), weight: +this.stage.find(".weight input").value, erase: this.stage.find(".eraser").checked };
  }

  /** Take the server's drawing, if it is newer than the one that is here. */
  given({ strokes, turn }) {
    const { stage } = this;
    if (turn <= stage.turn) return;
    this.wait();
    stage.turn = turn;
    stage.strokes = strokes;
  }

  undo() {
    const { strokes } = this.stage;
    if (strokes.length) strokes.pop();
    else strokes.push(...this.cleared.splice(0));
    this.settle();
  }

  changed() {
    this.show();
    this.stage.draw();
  }

  // A drawing is handed over when the pen has been up for a moment: a letter has several strokes.
  settle() {
    this.wait();
    this.timer = setTimeout(() => this.hand(), SETTLE);
    this.changed();
  }

  wait() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  flush() {
    if (this.timer) this.hand();
  }

  /** Hand the drawing to the server. */
  hand() {
    const { stage } = this, round = (v) => Math.round(v * 1e4) / 1e4;
    this.wait();
    stage.turn += 1;
    const strokes = stage.strokes.map((stroke) => ({ ...stroke, radius: round(stroke.radius), at: stroke.at.map(round) }));
    stage.tell("strokes", { turn: stage.turn, strokes });
  }
}
