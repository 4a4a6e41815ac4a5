// What mattered: the front's hypervolume by trial, and alpha and beta by depth over the front.
function drawHypervolume() {
  const box = document.getElementById("hypervolume"), values = study.hypervolume;
  if (!box) return;
  const width = fit(box, 560), left = 52, right = width - 10, bottom = 190;
  const node = canvas(box, width, 240, "Hypervolume of the front after each trial");
  const x = scale(values.length > 1 ? [1, values.length] : [0.5, 1.5], left, right), y = scale(range(values, 0.08), bottom, 30);
  axisY(node, y, left, right, "hypervolume, share of the box", 4);
  axisX(node, x, bottom, "trials ended", Math.min(values.length, 6), true);
  const d = values.map((value, i) => (i ? `H${x(i + 1)}V${y(value)}` : `M${x(1)} ${y(value)}`)).join("");
  const line = svg("g");
  line.style.color = "var(--c0)";
  const end = outline("circle", x(values.length), y(values.at(-1)), 4);
  end.setAttribute("fill", "currentColor");
  end.append(svg("title", {}, [`after ${values.length} trials: ${values.at(-1).toFixed(4)}`]));
  line.append(svg("path", { d, fill: "none", stroke: "currentColor", "stroke-width": 2 }), end);
  node.append(line);
}

function drawFrontMixing() {
  const box = document.getElementById("front-mixing"), blocks = study.front_mixing;
  if (!box) return;
  const width = fit(box, 560), left = 44, right = width - 10, bottom = 190;
  const node = canvas(box, width, 240, "Weights of attention and convolution by block over the front");
  const x = scale([blocks[0].block - 0.6, blocks.at(-1).block + 0.6], left, right);
  const y = scale([0, Math.max(...blocks.flatMap(({ alpha, beta }) => [alpha[2], beta[2]])) * 1.08 || 1], bottom, 34);
  axisY(node, y, left, right, "", 4);
  axisX(node, x, bottom, "block, first to last", Math.min(blocks.length, 12), true);
  drawSpans(node, blocks.map(({ block, alpha }) => [block - 0.08, block, alpha]), x, y, "var(--c0)", "|α| attention", "circle", 46);
  drawSpans(node, blocks.map(({ block, beta }) => [block + 0.08, block, beta]), x, y, "var(--c1)", "|β| convolution", "square", 200);
}

// The mean of each block, with a line from the least to the largest.
function drawSpans(node, spans, x, y, color, name, shape, at) {
  const group = svg("g");
  group.style.color = color;
  for (const [place, block, [mean, least, largest]] of spans) {
    const shaped = outline(shape, x(place), y(mean), 4);
    shaped.setAttribute("fill", "currentColor");
    shaped.append(svg("title", {}, [`block ${block}: ${name} ${mean.toFixed(3)}, ${least.toFixed(3)} to ${largest.toFixed(3)}`]));
    group.append(svg("line", { x1: x(place), x2: x(place), y1: y(least), y2: y(largest), stroke: "currentColor", "stroke-width": 5, opacity: 0.35 }), shaped);
  }
  const d = `M${spans.map(([place, , [mean]]) => `${x(place)} ${y(mean)}`).join("L")}`;
  group.append(svg("path", { d, fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-dasharray": shape === "square" ? "5 3" : "none" }));
  const key = outline(shape, at, 12, 4);
  key.setAttribute("fill", "currentColor");
  group.append(key, label(name, at + 10, 16, { class: "tag" }));
  node.append(group);
}
