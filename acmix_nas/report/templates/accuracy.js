// Score against a cost with its front, or by row of an ablation.
const costs = new Map(study.costs.map((cost) => [cost.name, cost]));
let axis = study.kind === "ablate" ? "rows" : study.cost;

function drawAccuracy() {
  const box = document.getElementById("accuracy");
  if (!done.length) return box.replaceChildren(html("p", "No trial is complete."));
  axis === "rows" ? drawRows(box) : drawCosts(box);
  return tabStops(box);
}

function drawCosts(box) {
  const width = fit(box, 720), height = Math.min(560, width + 60), left = 48, right = width - 16, bottom = height - 52, cost = costs.get(axis), { label: title, less } = cost;
  const node = canvas(box, width, height, `${study.metric.heading} against cost, one mark for each trial`);
  const x = scale(range(done.map((trial) => inUnit(trial[axis], cost)), 0.06), left, right);
  const y = scale(range(done.map((trial) => inUnit(trial.score)), 0.09), bottom, 34);
  axisY(node, y, left, right, study.metric.label);
  axisX(node, x, bottom, title, width < 500 ? 4 : 6);
  const place = (trial) => [x(inUnit(trial[axis], cost)), y(inUnit(trial.score))];
  // What a budget buys: the line goes on to the side on which a trial still keeps within it.
  const best = done.filter((trial) => trial.edge.includes(axis)).sort((a, b) => (less ? 1 : -1) * (a[axis] - b[axis]));
  if (study.kind === "search") {
    const steps = best.map((trial, i) => { const [a, b] = place(trial); return i ? `H${a}V${b}` : `M${a} ${b}`; });
    node.append(svg("path", { class: "front", d: `${steps.join("")}H${less ? right : left}` }));
  }
  const order = [...done].sort((a, b) => Number(look(a).reference) - Number(look(b).reference));
  for (const trial of order) {
    const [a, b] = place(trial), full = study.kind === "search" && trial.front;
    if (look(trial).reference) {
      const end = a > right - 90;
      const text = label(trial.label, a + (end ? 6 : -6), b - 12, { class: "tag", "text-anchor": end ? "end" : "start" });
      text.style.color = look(trial).color;
      node.append(text);
    }
    node.append(mark(trial, a, b, full || look(trial).reference));
  }
}

function drawRows(box) {
  const rows = study.rows.map((name) => [name, done.filter((trial) => trial.label === name)]);
  const width = fit(box, 720), left = Math.min(230, 0.42 * width, 30 + 7.2 * Math.max(...rows.map(([name]) => name.length + (name === study.baseline ? 11 : 0)))), right = width - 16;
  const step = Math.max(40, Math.min(72, 420 / rows.length)), bottom = step * (rows.length - 0.4);
  const node = canvas(box, width, bottom + 52, `${study.metric.heading} by row, one mark for each seed`);
  const x = scale(range(done.map((trial) => inUnit(trial.score)), 0.06), left, right);
  axisX(node, x, bottom, study.metric.label, width < 500 ? 3 : 6);
  rows.forEach(([name, trials], i) => {
    const y = step * (i + 0.3), values = trials.map((trial) => inUnit(trial.score));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const most = Math.floor((left - 30) / 6.6), shown = name.length > most ? `${name.slice(0, most - 1)}…` : name;
    node.append(svg("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    node.append(label(shown + (name === study.baseline ? " (baseline)" : ""), left - 12, y + 4, { "text-anchor": "end", class: "name" }));
    if (!values.length) return node.append(label("no complete trial", left + 6, y - 5));
    if (name === study.baseline) node.append(svg("line", { class: "base", x1: x(mean), x2: x(mean), y1: 0, y2: bottom }));
    if (values.length > 1) {
      const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
      const line = svg("line", { x1: x(mean - spread), x2: x(mean + spread), y1: y, y2: y, stroke: looks.get(name).color, "stroke-width": 2 });
      node.append(line);
    }
    const middle = outline("diamond", x(mean), y, 6.5);
    middle.setAttribute("fill", looks.get(name).color);
    node.append(middle, ...trials.map((trial) => mark({ ...trial }, x(inUnit(trial.score)), y, false, 4.5)));
    return undefined;
  });
}

function drawLegend() {
  const box = document.getElementById("legend");
  if (!done.length) return box.replaceChildren();
  if (axis === "rows") return box.replaceChildren(html("span", "◆ mean"), html("span", "small open marks: single seeds"), html("span", "bar: ± one standard deviation"));
  return box.replaceChildren(...legendEntries(), ...(study.kind === "search" ? [html("span", `filled: on the front of ${study.objectives}`), html("span", "line: the best at each cost shown")] : []));
}

function legendEntries() {
  return [...looks].map(([name, { shape, color }]) => {
    const shaped = outline(shape, 7, 7, 4.8), entry = html("span", "");
    shaped.setAttribute("class", "mark");
    shaped.style.color = color;
    entry.append(svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, [shaped]), name);
    return entry;
  });
}

function drawChoice() {
  const names = [...(study.kind === "ablate" ? ["rows"] : []), ...costs.keys()];
  document.getElementById("axis").replaceChildren(...names.map((name) => {
    const input = html("input", "", { type: "radio", name: "axis", value: name });
    input.checked = name === axis;
    input.addEventListener("change", () => { axis = name; drawAccuracy(); drawLegend(); highlight(); });
    const choice = html("label", "");
    choice.append(input, name === "rows" ? "by row" : costs.get(name).title);
    return choice;
  }));
}
