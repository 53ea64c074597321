"use strict";
(() => {
  document.documentElement.classList.add("scripted");

  // Sorting: the rows of a plain table, or whole bodies where every entry has a body of its own.
  const valueOf = (entry, column) => {
    const cell = (entry.rows ? entry.rows[0] : entry).cells[column];
    const raw = cell.dataset.sort ?? cell.textContent.trim().replace("−", "-").replace(/,/g, "");
    if (raw === "" || raw === "–") return null;
    const number = parseFloat(raw);
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

  // Filtering the descriptions.
  const box = document.getElementById("q"), kind = document.getElementById("kind");
  const bodies = [...document.querySelectorAll("#all > tbody")];
  const texts = bodies.map((body) => (body.rows[0].textContent + " " + body.querySelector("summary").textContent).toLowerCase());
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    bodies.forEach((body, i) => {
      const match = (!kind.value || body.dataset.kind === kind.value) && words.every((word) => texts[i].includes(word));
      body.hidden = !match;
      shown += match;
    });
    document.getElementById("shown").textContent = `${shown} of ${bodies.length}`;
    document.getElementById("none").hidden = shown > 0;
  };
  box.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  box.form.addEventListener("submit", (event) => event.preventDefault());

  // Tokens by keyboard: a window takes the focus, arrow keys move, Escape clears.
  const readout = document.getElementById("readout");
  const clear = () => {
    document.querySelectorAll(".tokens .cur").forEach((token) => token.classList.remove("cur"));
    readout.hidden = true;
  };
  for (const tokens of document.querySelectorAll(".tokens")) tokens.tabIndex = 0;
  document.addEventListener("focusout", clear);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return clear();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const home = document.activeElement;
    if (!step || !home.classList.contains("tokens")) return;
    const all = [...home.querySelectorAll("span")].filter((token) => token.offsetParent !== null);
    const at = all.findIndex((token) => token.classList.contains("cur"));
    const start = all.findIndex((token) => token.classList.contains("peak"));
    const next = all[at < 0 ? Math.max(0, start) : Math.min(all.length - 1, Math.max(0, at + step))];
    clear();
    next.classList.add("cur");
    readout.textContent = `${next.textContent}  ${next.title || "no value kept"}`;
    readout.hidden = false;
    event.preventDefault();
  });
})();
