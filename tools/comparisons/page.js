"use strict";
const table = document.querySelector("#table"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
const state = new URLSearchParams(location.hash.slice(1));
function value(row, column) {
  const text = row.cells[column].dataset.value;
  return text === undefined || text === "" ? null : isNaN(text) ? text : Number(text);
}
function sort(column, descending) {
  const compare = (one, other) => {
    const [a, b] = [value(one, column), value(other, column)];
    if (a === null || b === null) return (a === null) - (b === null);
    return (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1);
  };
  body.append(...[...body.rows].sort(compare));
  heads.forEach((head, place) => place === column
    ? head.setAttribute("aria-sort", descending ? "descending" : "ascending") : head.removeAttribute("aria-sort"));
}
function choose(name) {
  const place = NAMES.indexOf(name);
  for (const row of body.rows) {
    row.classList.toggle("chosen", row.id === name);
    for (const cell of row.cells) {
      cell.classList.remove("up", "down", "same");
      const differs = DIFFERENT[cell.dataset.cell];
      if (place < 0 || row.id === name || !differs || !cell.dataset.value) continue;
      const own = NAMES.indexOf(row.id), other = body.querySelector("tr.chosen, #" + CSS.escape(name));
      const theirs = other.querySelector(`[data-cell="${cell.dataset.cell}"]`);
      if (!theirs || theirs.dataset.value === "") continue;
      const tested = differs[own]?.[place] ?? "-";
      if (tested !== "-") cell.classList.add(tested === "0" ? "same" : Number(cell.dataset.value) > Number(theirs.dataset.value) ? "up" : "down");
    }
  }
  document.querySelectorAll(".curve").forEach(curve => curve.classList.toggle("chosen", curve.dataset.layer === name));
}
function show() {
  const column = heads.findIndex(head => head.dataset.key === state.get("sort"));
  if (column >= 0) sort(column, state.get("order") !== "up");
  choose(state.get("layer"));
}
function keep(changes) {
  for (const [key, text] of Object.entries(changes)) text ? state.set(key, text) : state.delete(key);
  history.replaceState(null, "", "#" + state);
  show();
}
heads.forEach(head => head.querySelector("button").addEventListener("click", () => {
  const first = head.dataset.key === "layer" ? "up" : "down", other = first === "up" ? "down" : "up";
  const again = state.get("sort") === head.dataset.key && (state.get("order") ?? "down") === first;
  keep({sort: head.dataset.key, order: again ? other : first});
}));
body.addEventListener("click", event => {
  const link = event.target.closest("th a");
  if (!link) return;
  event.preventDefault();
  const name = link.closest("tr").id;
  keep({layer: state.get("layer") === name ? "" : name});
});
for (const kind of ["mouseover", "click"]) body.addEventListener(kind, event => {
  const cell = event.target.closest("td");
  if (!cell?.title) return;
  const name = cell.closest("tr").id, column = heads[cell.cellIndex].dataset.key;
  document.querySelector("#told").textContent = `${name}, ${column}: ${cell.textContent} (${cell.title})`;
});
document.querySelectorAll(".curve").forEach(curve => curve.addEventListener("click", () => keep({layer: curve.dataset.layer})));
document.querySelector("#theme").addEventListener("click", () => {
  const isDark = getComputedStyle(document.documentElement).colorScheme.trim() === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
});
addEventListener("hashchange", () => { for (const key of [...state.keys()]) state.delete(key);
  new URLSearchParams(location.hash.slice(1)).forEach((text, key) => state.set(key, text)); show(); });
show();
