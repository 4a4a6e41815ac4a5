// One trial is chosen at a time; every picture and the table show it.
let chosen = null;

// The trial panel is beside the picture on a wide page, and far from the table on a narrow one: go there.
function open(number, source) {
  select(number, source);
  history.replaceState(null, "", `#trial-${number}`);
  const panel = document.querySelector(".trial"), box = panel.getBoundingClientRect();
  if (box.top < 0 || box.top > innerHeight / 2) panel.scrollIntoView({ block: "start" });
}

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
  for (const node of document.querySelectorAll(".chosen[data-number], .chosen .chosen, [aria-selected=true]")) {
    node.classList.remove("chosen");
    if (node.tagName === "TR") node.setAttribute("aria-selected", "false");
  }
  if (chosen === null) return;
  for (const node of document.querySelectorAll(`[data-number="${chosen.number}"]`)) {
    if (node.tagName === "TR") node.setAttribute("aria-selected", "true");
    else node.classList.add("chosen");
    if (node.tagName === "g") node.querySelector(".curve").classList.add("chosen");
  }
}

function drawAll() {
  drawAccuracy();
  drawLegend();
  drawCurves();
  drawHypervolume();
  drawFrontMixing();
  if (chosen !== null) drawMixing(chosen);
  highlight();
}

for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
prepareTable();
drawChoice();
document.getElementById("copies").append(copyButton("copy LaTeX", () => study.latex));
for (const name of ["accuracy", "curves"]) listen(document.getElementById(name));
const linked = study.trials.find((trial) => `#trial-${trial.number}` === location.hash);
if (study.trials.length) select(linked ? linked.number : study.best === null ? study.trials[0].number : study.best);
else document.querySelector(".trial").hidden = true;
drawAll();
addEventListener("scroll", hideTip, { passive: true });
let width = innerWidth, resized = null;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(resized);
  resized = setTimeout(drawAll, 120);
});
