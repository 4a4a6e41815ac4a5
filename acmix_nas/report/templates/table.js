// The table of trials: sort by a click on a heading, filter by text, open a row. Arrow keys walk through the rows.
const table = document.getElementById("trials"), body = table.tBodies[0];
const texts = new Map();

function value(row, column) {
  const cell = row.cells[column], stored = cell.dataset.value;
  if (stored === undefined) return cell.textContent.trim().toLowerCase();
  return stored === "" ? -Infinity : Number(stored);
}

function sortBy(column) {
  const heading = table.tHead.rows[0].cells[column], up = heading.getAttribute("aria-sort") === "descending";
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0), rows = [...body.rows];
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  rows.sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
  body.append(...rows);
}

function filterRows() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const only = document.getElementById("only").checked;
  let shown = 0;
  for (const row of body.rows) {
    const trial = byNumber.get(row.dataset.number), text = texts.get(row);
    const kept = study.kind === "search" ? trial.front : trial.status === "complete";
    row.hidden = !words.every((word) => text.includes(word)) || (only && !kept);
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = `${shown} of ${study.trials.length}`;
  tabStop([...body.rows].find((row) => !row.hidden));
}

// One row takes part in the order of the tab key: a thousand would bar the way.
function tabStop(row) {
  for (const old of body.querySelectorAll('tr[tabindex="0"]')) old.tabIndex = -1;
  if (row) row.tabIndex = 0;
}

function walk(row, step) {
  let next = row;
  do next = step > 0 ? next.nextElementSibling : next.previousElementSibling; while (next && next.hidden);
  if (!next) return;
  tabStop(next);
  next.focus();
}

function prepareTable() {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = html("button", heading.textContent.trim(), { type: "button" });
    button.addEventListener("click", () => sortBy(column));
    heading.replaceChildren(button);
  });
  for (const row of body.rows) {
    row.tabIndex = -1;
    texts.set(row, row.textContent.toLowerCase());
  }
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !getSelection().toString()) open(Number(row.dataset.number), row);
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr"), step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") open(Number(row.dataset.number), row);
    if (!step) return;
    event.preventDefault();
    walk(row, step);
  });
  document.getElementById("filter").addEventListener("input", filterRows);
  document.getElementById("only").addEventListener("change", filterRows);
  filterRows();
}
