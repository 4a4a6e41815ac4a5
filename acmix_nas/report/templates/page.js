// One trial is chosen at a time; every picture and the table show it.
let chosen = null;

function select(number, source) {
  chosen = study.trials.find((trial) => trial.number === number);
  showTrial();
  drawMixing(chosen);
  highlight();
  if (!source || source.tagName === "TR") return;
  const row = body.querySelector(`tr[data-number="${number}"]`), box = table.parentElement;
  if (row) box.scrollTo({ top: row.offsetTop - table.offsetTop - box.clientHeight / 2 });
}

function highlight() {
  for (const node of document.querySelectorAll("[data-number]")) {
    const same = chosen !== null && node.dataset.number === String(chosen.number);
    if (node.tagName === "TR") node.setAttribute("aria-selected", String(same));
    else node.classList.toggle("chosen", same);
    if (node.tagName === "g") node.querySelector(".curve").classList.toggle("chosen", same);
  }
}

function showTrial() {
  document.getElementById("trial-title").textContent = `Trial ${chosen.number}, ${chosen.label}`;
  const list = html("dl", ""), seeds = Object.entries(chosen.seeds).map(([name, seed]) => `${name} ${seed}`);
  const shared = chosen.shared === null ? "" : ` (score of trial ${chosen.shared})`;
  const entries = [
    chosen.status === "complete" ? ["top-1", percent(chosen.top1) + shared] : ["failed", chosen.error || "no reason recorded"],
    ["MACs", `${giga(chosen.macs)}, deployed ${giga(chosen.macs_deploy)}`],
    ["params", mega(chosen.params)],
    ...chosen.stages.map((text, i) => [`stage ${i + 1}`, text]),
    ["seeds", seeds.join(", ") || "-"],
    ["arch id", chosen.arch_id],
  ];
  for (const [name, text] of entries) list.append(html("dt", name), html("dd", text));
  document.getElementById("trial").replaceChildren(list);
}

for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
prepareTable();
drawChoice();
drawAccuracy();
drawLegend();
drawCurves();
if (study.trials.length) select(study.best === null ? study.trials[0].number : study.best);
else document.querySelector(".trial").hidden = true;
addEventListener("scroll", hideTip, { passive: true });
