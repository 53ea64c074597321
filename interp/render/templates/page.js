"use strict";
(() => {
  document.documentElement.classList.add("scripted");

  // Sorting: the rows of a plain table, or whole bodies where every entry has a body of its own.
  const valueOf = (entry, column) => {
    const cell = (entry.rows ? entry.rows[0] : entry).cells[column];
    const raw = cell.dataset.sort ?? cell.textContent.trim().replace("−", "-").replace(/,/g, "");
    if (raw === "" || raw === "–") return null;
    const number = Number(raw);
    return Number.isNaN(number) ? raw : number;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        const order = now === null ? first : now === "ascending" ? "descending" : "ascending";
        table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const many = table.tBodies.length > 1;
        const entries = [...(many ? table.tBodies : table.tBodies[0].rows)];
        const sign = order === "ascending" ? 1 : -1;
        const keyed = entries.map((entry) => [valueOf(entry, column), entry]);
        keyed.sort((a, b) => // what has no value stays last
          a[0] === null || b[0] === null ? (a[0] === null) - (b[0] === null) : sign * compare(a[0], b[0]));
        (many ? table : table.tBodies[0]).append(...keyed.map((pair) => pair[1]));
      });
    });
  }
})();
