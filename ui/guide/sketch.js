// A curve that is sketched before it is measured: one height for each column, by pointer or by keys.
// (../theory/drawing.js comes before.)

const COLUMNS = 17; // as in analysis/exercises/files.py
const PAUSE = 400; // ms after the last key until the server is told

class Sketch extends Scene {
  constructor(root) {
    super(root);
    this.svg = root.querySelector("svg");
    this.column = 0;
    dragged(this.svg, () => {
      let last = null;
      return (place) => { last = this.draws(place, last); };
    }, () => this.data.open);
    this.svg.addEventListener("pointerup", () => this.tell());
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.tell());
  }

  paint({ colours, ...data }, send) {
    for (const [name, value] of Object.entries(colours)) this.root.style.setProperty(`--${name}`, value);
    const was = this.data;
    Object.assign(this, { data, send });
    if (!was || data.sketch) [this.heights, this.drawn] = [data.sketch, new Set(range(0, COLUMNS - 1, COLUMNS - 1))];
    if (!was || was.total !== data.total) this.axes();
    this.draw();
  }

  axes() {
    const { total, ends, title } = this.data;
    this.svg.replaceChildren();
    this.window = new Window(this.svg, { x: 44, y: 8, w: 552, h: 152 }, [0, total], ends, title);
    this.window.ticks(range(0, total, 4), range(...ends, 4).map((v) => +v.toPrecision(3)));
    this.words = shape("text", this.svg, { x: 320, y: 90, class: "hint" });
  }

  draw() {
    const { mine, measured, open, total } = this.data;
    this.svg.classList.toggle("open", open);
    this.window.path("measured", ...measured);
    this.window.path("mine", ...(mine.length ? [mine] : []));
    const curve = (this.heights || []).map((v, i) => [(i * total) / (COLUMNS - 1), v]);
    this.window.path("sketch", ...(curve.length ? [curve] : []));
    this.words.textContent = open && !this.heights ? "Draw the curve here, or use the arrow keys" : "";
    this.says(curve[this.column]);
  }

  says(place) {
    if (this.data.open && place) this.window.mark(place);
    const { total, ends, legend } = this.data, at = Math.round((this.column * total) / (COLUMNS - 1));
    const state = { valuemin: ends[0], valuemax: ends[1], valuenow: place?.[1] ?? ends[0] };
    state.valuetext = place ? `step ${at}: ${words(place[1])}` : "nothing drawn yet";
    for (const [name, value] of Object.entries(state)) this.svg.setAttribute(`aria-${name}`, value);
    this.root.querySelector(".legend").replaceChildren(...legend.map(([name, colour]) => {
      const item = document.createElement("span"), line = document.createElement("i");
      line.style.color = `var(--${colour})`;
      item.append(line, name);
      return item;
    }));
  }

  /** Set the columns between the last place and this one. */
  draws(place, last) {
    if (!this.data.open) return null;
    const { total } = this.data, [step, value] = this.window.back(...place);
    this.column = Math.min(COLUMNS - 1, Math.max(0, Math.round((step / total) * (COLUMNS - 1))));
    const now = [this.column, this.inside(value)], [from, before] = last || now;
    this.begins(now[1]);
    for (let i = Math.min(from, now[0]); i <= Math.max(from, now[0]); i++) {
      const part = now[0] === from ? 1 : (i - from) / (now[0] - from);
      this.put(i, before + part * (now[1] - before));
    }
    this.draw();
    return now;
  }

  begins(value) {
    if (!this.heights) this.drawn = new Set();
    this.heights = [...(this.heights || Array(COLUMNS).fill(value))];
  }

  /** Set one height. What lies behind it and is not drawn yet goes on from there. */
  put(column, value) {
    this.drawn.add(column);
    this.heights[column] = value;
    for (let i = column + 1; i < COLUMNS && !this.drawn.has(i); i++) this.heights[i] = value;
  }

  key(event) {
    const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key], up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!this.data.open || !(across || up)) return;
    event.preventDefault();
    const [low, high] = this.data.ends;
    this.begins((low + high) / 2);
    if (across) this.column = Math.min(COLUMNS - 1, Math.max(0, this.column + across));
    else this.put(this.column, this.inside(this.heights[this.column] + (up * (high - low)) / 40));
    this.draw();
    clearTimeout(this.waits);
    this.waits = setTimeout(() => this.tell(), PAUSE);
  }

  inside(value) {
    const [low, high] = this.data.ends;
    return Math.min(high, Math.max(low, value));
  }

  tell() {
    clearTimeout(this.waits);
    if (!this.data.open || !this.heights || this.heights === this.told) return;
    this.told = this.heights;
    this.send("sketch", this.heights);
  }

  keep() {}

  recall() {}
}

Object.assign(SCENES, { sketch: Sketch });
