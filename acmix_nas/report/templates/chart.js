// What all pictures share: elements, scales, axes, marks, the tip.
const study = JSON.parse(document.getElementById("study").textContent);
const done = study.trials.filter((trial) => trial.status === "complete");
const byNumber = new Map(study.trials.map((trial) => [String(trial.number), trial]));
const SHAPES = ["circle", "triangle", "down", "cross", "diamond", "square"];

function svg(name, attributes = {}, children = []) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function html(name, text, attributes = {}) {
  const node = document.createElement(name);
  node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function label(text, x, y, attributes = {}) {
  return svg("text", { x, y, ...attributes }, [text]);
}

function canvas(box, width, height, title) {
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title });
  box.replaceChildren(node);
  return node;
}

function range(values, margin) {
  const low = Math.min(...values), high = Math.max(...values);
  const pad = (high - low || Math.abs(high) * 0.02 || 1) * margin;
  return [low - pad, high + pad];
}

function scale([low, high], from, to) {
  const of = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  return Object.assign(of, { low, high });
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push([i * step, (i * step).toFixed(digits)]);
  return found;
}

function axisX(node, x, bottom, title, count = 6, whole = false) {
  for (const [value, text] of ticks(x.low, x.high, count)) {
    if (whole && value % 1) continue;
    node.append(svg("line", { class: "axis", x1: x(value), x2: x(value), y1: bottom, y2: bottom + 5 }));
    node.append(label(whole ? String(value) : text, x(value), bottom + 19, { "text-anchor": "middle" }));
  }
  node.append(svg("line", { class: "axis", x1: x(x.low), x2: x(x.high), y1: bottom, y2: bottom }));
  node.append(label(title, (x(x.low) + x(x.high)) / 2, bottom + 40, { "text-anchor": "middle", class: "name" }));
}

function axisY(node, y, left, right, title, count = 5) {
  for (const [value, text] of ticks(y.low, y.high, count)) {
    node.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
    node.append(label(text, left - 8, y(value) + 4, { "text-anchor": "end" }));
  }
  node.append(label(title, left, y(y.high) - 12, { class: "name" }));
}

function outline(shape, x, y, r) {
  const poly = (points) => svg("path", { d: `M${points.map(([a, b]) => `${x + a * r} ${y + b * r}`).join("L")}Z` });
  if (shape === "square") return poly([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
  if (shape === "diamond") return poly([[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]]);
  if (shape === "triangle") return poly([[0, -1.15], [1.1, 0.85], [-1.1, 0.85]]);
  if (shape === "down") return poly([[0, 1.15], [1.1, -0.85], [-1.1, -0.85]]);
  if (shape === "cross") return poly([[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]]);
  return svg("circle", { cx: x, cy: y, r });
}

// One shape and colour for each label, the references first of all.
const looks = new Map();
{
  const names = study.kind === "ablate" ? study.rows : [...new Set(done.map((trial) => trial.label))].sort();
  let next = 0;
  for (const name of names) {
    if (study.kind === "search" && name === study.references[0]) looks.set(name, { shape: "square", color: "var(--host)", reference: true });
    else if (study.kind === "search" && name === study.references[1]) looks.set(name, { shape: "diamond", color: "var(--paper)", reference: true });
    else looks.set(name, { shape: SHAPES[Math.floor(next / 7 + next) % 4], color: `var(--c${next++ % 7})`, reference: false });
  }
}
const look = (trial) => looks.get(trial.label) || { shape: "circle", color: "var(--c6)", reference: false };

// Values of the metric or of a cost: in their unit, as text, and with the unit.
const inUnit = (value, { size } = study.metric) => (size >= 1 ? value / size : value * (1 / size));
function written(value, format) {
  const digits = Number(format.slice(1, -1));
  return format.endsWith("f") ? value.toFixed(digits) : String(Number(value.toPrecision(digits || 1)));
}
const amount = (value, metric = study.metric) => (value === null ? "-" : `${written(inUnit(value, metric), metric.format)} ${metric.unit}`.trimEnd());

function describe(trial) {
  const stages = trial.stages.map((text, i) => `stage ${i + 1}: ${text}`);
  const head = `trial ${trial.number}, ${trial.label}: ${amount(trial.score)}`;
  return [head, study.costs.map((cost) => `${amount(trial[cost.name], cost)} ${cost.title}`).join(", "), ...stages].join("\n");
}

const tip = document.getElementById("tip");
function showTip(text, box) {
  tip.textContent = text;
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - size.width / 2, innerWidth - size.width - 8))}px`;
  tip.style.top = `${box.top - size.height - 10 > 0 ? box.top - size.height - 10 : box.bottom + 10}px`;
}
function hideTip() { tip.hidden = true; }

// A mark or a curve that stands for a trial; `listen` makes those in a box answer.
function lively(node, trial) {
  node.dataset.number = trial.number;
  node.setAttribute("tabindex", "-1");
  node.setAttribute("role", "button");
  node.setAttribute("aria-label", `trial ${trial.number}, ${trial.label}: ${amount(trial.score)}`);
  return node;
}

// The tip on hover and focus, the trial on click and Enter, arrow keys to the next mark; one listener for all marks.
function listen(box) {
  const found = (event) => event.target.closest && event.target.closest("[data-number]");
  const trialOf = (node) => byNumber.get(node.dataset.number);
  box.addEventListener("mousemove", (event) => {
    const node = found(event);
    if (!node) return hideTip();
    const at = node.tagName === "g" ? { left: event.clientX, width: 0, top: event.clientY, bottom: event.clientY } : node.getBoundingClientRect();
    return showTip(describe(trialOf(node)), at);
  });
  box.addEventListener("mouseleave", hideTip);
  box.addEventListener("focusin", (event) => { if (found(event)) showTip(describe(trialOf(found(event))), found(event).getBoundingClientRect()); });
  box.addEventListener("focusout", hideTip);
  box.addEventListener("click", (event) => { if (found(event)) select(trialOf(found(event)).number, found(event)); });
  box.addEventListener("keydown", (event) => {
    const node = found(event), step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hideTip();
    if (!node || !(step || event.key === "Enter" || event.key === " ")) return;
    event.preventDefault();
    if (step) walkMarks(node, step);
    else select(trialOf(node).number, node);
  });
}

// The first mark of a picture is reached by the tab key, the others by arrow keys, in the order of the trials.
function tabStops(node) {
  const first = node.querySelector("[data-number]");
  if (first) first.setAttribute("tabindex", "0");
}

function walkMarks(node, step) {
  const marks = [...node.closest("svg").querySelectorAll("[data-number]")].sort((a, b) => a.dataset.number - b.dataset.number);
  const next = marks[marks.indexOf(node) + step];
  if (!next) return;
  node.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
}

function mark(trial, x, y, full, r = 5.5) {
  const node = outline(look(trial).shape, x, y, r);
  node.setAttribute("class", full ? "mark full" : "mark");
  node.style.color = look(trial).color;
  return lively(node, trial);
}

// The width a picture is drawn for: that of its box, so that its text stays legible on a phone.
function fit(box, most) {
  return Math.max(320, Math.min(most, box.clientWidth || most));
}
