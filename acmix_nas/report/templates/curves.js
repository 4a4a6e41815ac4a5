// The score after each epoch, one curve for each trial that was trained.
function drawCurves() {
  const box = document.getElementById("curves");
  const trained = study.trials.filter((trial) => trial.scores.length && trial.shared === null);
  if (!trained.length) return box.replaceChildren(html("p", "No trial has a score yet."));
  const width = fit(box, 1180), left = 48, right = width - 90, bottom = 300, epochs = Math.max(...trained.map((trial) => trial.scores.length));
  const node = canvas(box, width, 352, `${study.metric.heading} by epoch, one curve for each trial`);
  const x = scale(epochs > 1 ? [1, epochs] : [0.5, 1.5], left, right);
  const y = scale(range(trained.flatMap((trial) => trial.scores).map((score) => inUnit(score)), 0.05), bottom, 30);
  axisY(node, y, left, right, study.metric.label);
  axisX(node, x, bottom, "epoch", Math.min(epochs, width < 500 ? 5 : 12), true);
  const drawn = svg("g");
  node.append(drawn);
  drawSome(drawn, trained, x, y);
  nameReferences(node, trained.filter((trial) => look(trial).reference), x, y);
  document.getElementById("curve-legend").replaceChildren(...legendEntries());
  return undefined;
}

// A thousand curves take a while: a hundred at a time, so that the page answers meanwhile.
function drawSome(group, trials, x, y) {
  group.append(...trials.slice(0, 100).map((trial) => curve(trial, x, y)));
  if (trials.length > 100) return setTimeout(() => drawSome(group, trials.slice(100), x, y));
  tabStops(group);
  return highlight();
}

// Names at the ends of the curves, moved apart where they would touch.
function nameReferences(node, trials, x, y) {
  const ends = trials.map((trial) => ({ trial, at: y(inUnit(trial.scores.at(-1))) + 4 })).sort((a, b) => a.at - b.at);
  let last = -Infinity;
  for (const { trial, at } of ends) {
    last = Math.max(at, last + 15);
    const text = label(trial.label, x(trial.scores.length) + 10, last, { class: "tag" });
    text.style.color = look(trial).color;
    node.append(text);
  }
}

function curve(trial, x, y) {
  const d = `M${trial.scores.map((score, i) => `${x(i + 1)} ${y(inUnit(score))}`).join("L")}`;
  const line = svg("path", { class: "curve", d }), group = svg("g", {}, [svg("path", { class: "catch", d }), line]);
  group.style.color = look(trial).color;
  if (trial.scores.length === 1) group.append(mark(trial, x(1), y(inUnit(trial.scores[0])), true, 4));
  return lively(group, trial);
}
