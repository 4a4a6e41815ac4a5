// The table of trials: sort by a click on a heading, filter by text, choose a row.
const table = document.getElementById("trials"), body = table.tBodies[0];

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
  const byNumber = new Map(study.trials.map((trial) => [String(trial.number), trial]));
  let shown = 0;
  for (const row of body.rows) {
    const trial = byNumber.get(row.dataset.number), text = row.textContent.toLowerCase();
    const kept = study.kind === "search" ? trial.front[study.cost] : trial.status === "complete";
    row.hidden = !words.every((word) => text.includes(word)) || (only && !kept);
    shown += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = `${shown} of ${study.trials.length}`;
}

function prepareTable() {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = html("button", heading.textContent.trim(), { type: "button" });
    button.addEventListener("click", () => sortBy(column));
    heading.replaceChildren(button);
  });
  for (const row of body.rows) {
    row.tabIndex = 0;
    row.addEventListener("click", () => select(Number(row.dataset.number), row));
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter") select(Number(row.dataset.number), row);
    });
  }
  document.getElementById("filter").addEventListener("input", filterRows);
  document.getElementById("only").addEventListener("change", filterRows);
  filterRows();
}
