// Keeps the answers to the exercises in the browser where nobody signs in, brings what is to be looked at into view,
// and tells the style sheet how tall the task is, which stays in view above the controls.

const PREFIX = "genlab.exercise.";
const PATIENCE = 5000; // ms until what is to be looked at has to be there
const HEADER = 60; // pixels of Streamlit's own

export default function ({ data, setStateValue }) {
  if (data.ask) setStateValue("kept", kept());
  else keep(data.answers, data.gone);
  if (data.look) lookAt(data.look, performance.now());
  const task = document.querySelector(".st-key-exercise_task");
  if (!task) return () => {};
  const watch = new ResizeObserver(() => tell(task.offsetHeight));
  watch.observe(task);
  return () => {
    watch.disconnect();
    tell(0);
  };
}

const tell = (pixels) => document.documentElement.style.setProperty("--exercise-task", `${pixels}px`);

/** Return what this browser keeps, by the name of the exercise. */
function kept() {
  const found = {};
  try {
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(PREFIX)) found[key.slice(PREFIX.length)] = JSON.parse(localStorage.getItem(key));
    }
  } catch { /* a browser that keeps nothing, or what another program wrote */ }
  return found;
}

function keep(answers, gone) {
  try {
    for (const name of gone) localStorage.removeItem(PREFIX + name);
    for (const [name, answer] of Object.entries(answers)) localStorage.setItem(PREFIX + name, JSON.stringify(answer));
  } catch { /* a browser that keeps nothing */ }
}

/** Bring an element below what sticks to the top, as soon as it is there, and the focus to it. */
function lookAt(selector, since) {
  const element = document.querySelector(selector);
  if (!element) {
    if (performance.now() - since < PATIENCE) requestAnimationFrame(() => lookAt(selector, since));
    return;
  }
  let around = element.parentElement;
  while (around && !(around.scrollHeight > around.clientHeight && /auto|scroll/.test(getComputedStyle(around).overflowY))) around = around.parentElement;
  const above = [".st-key-exercise_task", ".st-key-controls"].map((name) => document.querySelector(name));
  const covered = above.reduce((sum, part) => sum + (part && sticks(part) ? part.offsetHeight + 8 : 0), HEADER);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  (around || window).scrollBy({ top: element.getBoundingClientRect().top - covered, behavior: still ? "auto" : "smooth" });
  element.querySelector("button, input, summary, [tabindex='0']")?.focus({ preventScroll: true });
}

const sticks = (part) => [part, part.parentElement].some((each) => getComputedStyle(each).position === "sticky");
