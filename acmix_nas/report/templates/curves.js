// Accuracy after each epoch, one curve for each trial that was trained.
function drawCurves() {
  const box = document.getElementById("curves");
  const trained = study.trials.filter((trial) => trial.scores.length && trial.shared === null);
  if (!trained.length) return box.replaceChildren(html("p", "No trial has a score yet."));
  const left = 48, right = 1090, bottom = 300, epochs = Math.max(...trained.map((trial) => trial.scores.length));
  const node = canvas(box, 1180, 352, "Accuracy by epoch, one curve for each trial");
  const x = scale(epochs > 1 ? [1, epochs] : [0.5, 1.5], left, right);
  const y = scale(range(trained.flatMap((trial) => trial.scores).map((score) => 100 * score), 0.05), bottom, 30);
  axisY(node, y, left, right, TOP1);
  axisX(node, x, bottom, "epoch", Math.min(epochs, 12), true);
  for (const trial of trained) node.append(curve(trial, x, y));
  tabStops(box);
  nameReferences(node, trained.filter((trial) => look(trial).reference), x, y);
  document.getElementById("curve-legend").replaceChildren(...legendEntries());
  return undefined;
}

// Names at the ends of the curves, moved apart where they would touch.
function nameReferences(node, trials, x, y) {
  const ends = trials.map((trial) => ({ trial, at: y(100 * trial.scores.at(-1)) + 4 })).sort((a, b) => a.at - b.at);
  let last = -Infinity;
  for (const { trial, at } of ends) {
    last = Math.max(at, last + 15);
    const text = label(trial.label, x(trial.scores.length) + 10, last, { class: "tag" });
    text.style.color = look(trial).color;
    node.append(text);
  }
}

function curve(trial, x, y) {
  const d = `M${trial.scores.map((score, i) => `${x(i + 1)} ${y(100 * score)}`).join("L")}`;
  const line = svg("path", { class: "curve", d }), group = svg("g", {}, [svg("path", { class: "catch", d }), line]);
  group.style.color = look(trial).color;
  group.dataset.number = trial.number;
  if (trial.scores.length === 1) group.append(mark(trial, x(1), y(100 * trial.scores[0]), true, 4));
  return lively(group, trial, (event) => ({ left: event.clientX, width: 0, top: event.clientY, bottom: event.clientY }));
}
