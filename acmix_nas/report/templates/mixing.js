// What one trial's blocks mix, by depth: |alpha| and |beta|, then the norms of what both paths contribute.
const WEIGHTS = { title: "Weights of attention and convolution by block", names: ["|α| attention", "|β| convolution"], ratio: "log |α / β|" };
const NORMS = { title: "Norms of both contributions by block", names: ["‖α·F_att‖", "‖β·F_conv‖"], ratio: "log ratio of the norms" };

function drawMixing(trial) {
  const box = document.getElementById("mixing");
  if (!trial.mixing.some(Boolean)) box.replaceChildren(html("p", "No block of this trial mixes two paths.", { class: "note" }));
  else drawPairs(box, trial, trial.mixing, WEIGHTS);
  document.getElementById("contributions").hidden = !trial.norms.some(Boolean);
  if (trial.norms.some(Boolean)) drawPairs(document.getElementById("norms"), trial, trial.norms, NORMS);
}

function drawPairs(box, trial, values, words) {
  const pairs = values.map((pair) => pair && pair.map(Math.abs));
  const width = fit(box, 470), end = width - 8, node = canvas(box, width, 372, words.title);
  const x = scale([0.4, pairs.length + 0.6], 40, end);
  const y = scale([0, Math.max(...pairs.flatMap((pair) => pair || [])) * 1.08 || 1], 166, 34);
  stages(node, trial, pairs.length, x);
  axisY(node, y, 40, end, "", 4);
  drawValues(node, pairs, 0, x, y, "var(--c0)", words.names[0], "circle");
  drawValues(node, pairs, 1, x, y, "var(--c1)", words.names[1], "square");
  drawRatio(node, pairs, x, end, words.ratio);
}

function stages(node, trial, blocks, x) {
  const known = trial.depths.reduce((sum, depth) => sum + depth, 0) === blocks;
  let start = 1;
  (known ? trial.depths : [blocks]).forEach((depth, i) => {
    if (i) node.append(svg("line", { class: "axis", x1: x(start - 0.5), x2: x(start - 0.5), y1: 24, y2: 330, "stroke-dasharray": "2 3" }));
    if (known) node.append(label(depth > 1 ? `stage ${i + 1}` : `${i + 1}`, x(start + (depth - 1) / 2), 346, { "text-anchor": "middle" }));
    start += depth;
  });
  node.append(label(known ? "block, first to last" : "block of the proxy, first to last", (x(0.5) + x(blocks + 0.5)) / 2, 366, { "text-anchor": "middle", class: "name" }));
}

function drawValues(node, pairs, side, x, y, color, name, shape) {
  const group = svg("g");
  group.style.color = color;
  pairs.forEach((pair, i) => {
    if (!pair) return;
    const [a, b] = [x(i + 1), y(pair[side])], before = pairs[i - 1];
    if (before) group.append(svg("line", { x1: x(i), y1: y(before[side]), x2: a, y2: b, stroke: "currentColor", "stroke-width": 1.8, "stroke-dasharray": side ? "5 3" : "none" }));
    const shaped = outline(shape, a, b, 4);
    shaped.setAttribute("fill", "currentColor");
    shaped.append(svg("title", {}, [`block ${i + 1}: ${name} ${Number(pair[side].toPrecision(4))}`]));
    group.append(shaped);
  });
  const key = outline(shape, side ? 200 : 46, 12, 4);
  key.setAttribute("fill", "currentColor");
  group.append(key, label(name, side ? 210 : 56, 16, { class: "tag" }));
  node.append(group);
}

function drawRatio(node, pairs, x, end, name) {
  const logs = pairs.map((pair) => (pair && pair[0] > 0 && pair[1] > 0 ? Math.log(pair[0] / pair[1]) : null));
  const reach = Math.max(0.2, ...logs.map((value) => Math.abs(value || 0))) * 1.15, y = scale([-reach, reach], 326, 212);
  axisY(node, y, 40, end, name, 4);
  node.append(svg("line", { class: "axis", x1: 40, x2: end, y1: y(0), y2: y(0), "stroke-width": 1.5 }));
  node.append(label("more attention ↑", end, 200, { "text-anchor": "end" }));
  logs.forEach((value, i) => {
    if (value === null) return;
    const color = value >= 0 ? "var(--c0)" : "var(--c1)", shaped = outline(value >= 0 ? "circle" : "square", x(i + 1), y(value), 4);
    shaped.setAttribute("fill", color);
    shaped.append(svg("title", {}, [`block ${i + 1}: ${value.toFixed(3)}`]));
    node.append(svg("line", { x1: x(i + 1), x2: x(i + 1), y1: y(0), y2: y(value), stroke: color, "stroke-width": 2.5 }), shaped);
  });
}
