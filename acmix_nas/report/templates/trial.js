// One trial opened: score, cost, network, curve, log, and the command that trains it again.
function yamlOf(trial) {
  const lines = [`# trial ${trial.number}`, `arch_id: "${trial.arch_id}"`, "arch:", `  host: ${JSON.stringify(trial.host)}`];
  if (trial.conv_on !== null) lines.push(`  conv_on: ${JSON.stringify(trial.conv_on)}`);
  lines.push("  stages:");
  for (const stage of trial.blocks) stage.forEach((place, i) => lines.push(`  ${i ? "  " : "- "}- ${study.mixers[place]}`));
  return `${lines.join("\n")}\n`;
}

function logOf(trial) {
  const lines = [`${trial.started}  begins on ${trial.device || "an unnamed device"}`];
  if (trial.shared !== null) lines.push(`scores of trial ${trial.shared}: the two proxy networks are the same`);
  trial.scores.forEach((score, i) => {
    const loss = trial.losses[i] === undefined || trial.losses[i] === null ? "" : `, training loss ${trial.losses[i]}`;
    lines.push(`epoch ${i + 1}: ${study.split} ${study.metric.title} ${study.metric.size < 1 ? score.toFixed(4) : written(inUnit(score), study.metric.format)}${loss}`);
  });
  lines.push(`${trial.status} after ${trial.seconds.toFixed(1)} s${trial.error ? `: ${trial.error}` : ""}`);
  return lines.join("\n");
}

// A button that puts text on the clipboard and says so; where the browser forbids it, the text is selected.
function copyButton(name, textOf, shown) {
  const button = html("button", name, { type: "button", class: "copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(textOf());
      button.textContent = "copied";
    } catch {
      const held = shown || html("textarea", textOf(), { class: "held", readonly: "" });
      if (!shown) button.after(held);
      if (shown) getSelection().selectAllChildren(shown); else held.select();
      button.textContent = document.execCommand("copy") ? "copied" : "selected: copy it now";
      if (!shown && button.textContent === "copied") held.remove();
    }
    setTimeout(() => { button.textContent = name; }, 1600);
  });
  return button;
}

function folded(title, text, name) {
  const box = html("details", ""), shown = html("pre", text);
  box.append(html("summary", title), copyButton(name, () => text, shown), shown);
  return box;
}

function showTrial() {
  document.getElementById("trial-title").textContent = `Trial ${chosen.number}, ${chosen.label}`;
  const list = html("dl", ""), seeds = Object.entries(chosen.seeds).map(([name, seed]) => `${name} ${seed}`);
  const shared = chosen.shared === null ? "" : ` (score of trial ${chosen.shared})`;
  const error = chosen.error_points === null ? "" : ` \u00b1 ${chosen.error_points.toFixed(1)} points`;
  const entries = [
    chosen.status === "complete" ? [study.metric.title, amount(chosen.score) + error + shared] : ["failed", chosen.error || "no reason recorded"],
    ...study.costs.map((cost) => [cost.title, amount(chosen[cost.name], cost)]),
    ...chosen.stages.map((text, i) => [`stage ${i + 1}`, text]),
    ["seeds", seeds.join(", ") || "-"],
    ["arch id", chosen.arch_id],
  ];
  for (const [name, text] of entries) list.append(html("dt", name), html("dd", text));
  const parts = [list, ...ownCurve(chosen), folded("Network (YAML)", yamlOf(chosen), "copy YAML"), folded("Log", logOf(chosen), "copy log")];
  if (chosen.command) parts.push(folded("Train it again", chosen.command, "copy command"));
  document.getElementById("trial").replaceChildren(...parts);
}

function ownCurve(trial) {
  if (trial.scores.length < 2) return [];
  const box = html("div", "", { class: "chart own" }), width = fit(document.getElementById("mixing"), 470), bottom = 84, left = 40, right = width - 8;
  const node = canvas(box, width, 122, `${study.metric.heading} of trial ${trial.number} by epoch`);
  const x = scale([1, trial.scores.length], left, right), y = scale(range(trial.scores.map((score) => inUnit(score)), 0.08), bottom, 18);
  axisY(node, y, left, right, `${study.metric.title} ${study.metric.unit}`, 3);
  axisX(node, x, bottom, "epoch", Math.min(trial.scores.length, 8), true);
  const d = `M${trial.scores.map((score, i) => `${x(i + 1)} ${y(inUnit(score))}`).join("L")}`;
  const line = svg("path", { class: "curve chosen", d });
  line.style.color = look(trial).color;
  node.append(line);
  return [box];
}
