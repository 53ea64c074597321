"use strict";
(() => {
  // Filtering the rows of a list: a form names its table, which a line for "nothing matches" follows.
  for (const form of document.querySelectorAll("form.filter")) {
    const box = form.querySelector("input"), kind = form.querySelector("select");
    const table = document.getElementById(form.dataset.table), bodies = [...table.tBodies];
    const texts = bodies.map((body) =>
      [...body.rows].map((row) => (row.querySelector("summary") ?? row).textContent).join(" ").toLowerCase());
    const filter = () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      bodies.forEach((body, i) => {
        const match = (!kind.value || body.dataset.kind === kind.value) && words.every((word) => texts[i].includes(word));
        body.hidden = !match;
        shown += match;
      });
      form.querySelector("output").textContent = `${shown} of ${bodies.length}`;
      table.nextElementSibling.hidden = shown > 0;
    };
    box.addEventListener("input", filter);
    kind.addEventListener("change", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

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
