/** The list of runs: sorted, filtered, and read again while something runs. Its state is in the address. */
import { get } from "./api.js";
import { byId, counted, el, saying, showError } from "./dom.js";
import { clock } from "./curves.js";

const AGAIN_MS = 5000;
const ACTIVE = ["running", "starting"];
const address = new URLSearchParams(location.search);
const state = {
  words: address.get("q") ?? "",
  status: address.get("status") ?? "",
  sort: address.get("sort") ?? "started",
  down: (address.get("order") ?? "down") === "down",
};
const heads = [...document.querySelectorAll("th button[data-sort]")];
const body = document.querySelector("#runs tbody");
let runs = [];
let drawn = "";

function keep() {
  const kept = new URLSearchParams();
  if (state.words) kept.set("q", state.words);
  if (state.status) kept.set("status", state.status);
  if (state.sort !== "started") kept.set("sort", state.sort);
  if (!state.down) kept.set("order", "up");
  history.replaceState(null, "", `${location.pathname}${kept.size ? `?${kept}` : ""}`);
}

function row(run) {
  const place = `/runs/${encodeURIComponent(run.name)}`;
  const metrics = run.headline.map((one) =>
    el("li", {}, el("span", { text: one.name }), el("span", { class: "n", text: [one.shown, one.unit === "count" ? "" : one.unit].filter(Boolean).join(" ") })),
  );
  const shown = run.damage ? el("p", { class: "hint", text: run.damage }) : el("ul", { class: "headline" }, ...metrics.slice(0, 4));
  if (metrics.length > 4) {
    shown.append(el("li", { class: "hint" }, el("a", { href: place, text: `and ${counted(metrics.length - 4, "more", "more")}` })));
  }
  return el("tr", {},
    el("td", {}, el("a", { href: place, text: run.name }), run.report ? el("span", {}, " ", el("a", { class: "hint", href: `${place}/report`, text: "report", "aria-label": `Report of ${run.name}` })) : null),
    el("td", { text: run.experiment }),
    el("td", {}, el("span", { class: "state", "data-state": run.status, text: run.status })),
    el("td", { class: "when", text: run.started.slice(0, 16).replace("T", " ") }),
    el("td", { class: "n", text: clock(run.seconds) }),
    el("td", {}, shown),
  );
}

function draw() {
  const words = state.words.trim().toLowerCase();
  const has = (run) => [run.name, run.experiment, ...run.headline.map((one) => one.name)].some((text) => text.toLowerCase().includes(words));
  const kept = runs.filter((run) => (!state.status || run.status === state.status) && has(run));
  const order = (a, b) => (a[state.sort] < b[state.sort] ? -1 : a[state.sort] > b[state.sort] ? 1 : 0);
  kept.sort((a, b) => (state.down ? -order(a, b) : order(a, b)));
  body.replaceChildren(...kept.map(row));
  for (const head of heads) {
    const here = head.dataset.sort === state.sort;
    head.closest("th").setAttribute("aria-sort", here ? (state.down ? "descending" : "ascending") : "none");
  }
  byId("runs").hidden = !kept.length;
  byId("empty").hidden = kept.length > 0;
  byId("empty").textContent = runs.length ? "No run fits: shorten the words, or choose any status." : "No runs yet: `interp configs` lists what can be run, and `interp run quickstart` makes the first.";
  byId("said").textContent = kept.length === runs.length ? counted(runs.length, "run") : `${kept.length} of ${counted(runs.length, "run")}`;
}

function choices() {
  const found = [...new Set([...runs.map((run) => run.status), ...(state.status ? [state.status] : [])])].sort();
  byId("status").replaceChildren(el("option", { value: "", text: "any" }), ...found.map((one) => el("option", { value: one, text: one })));
  byId("status").value = state.status;
}

async function read() {
  try {
    runs = (await get("/api/runs")).runs;
    showError(byId("error"));
  } catch (error) {
    showError(byId("error"), error);
  }
  const now = JSON.stringify(runs);
  if (now !== drawn) {
    drawn = now;
    choices();
    draw();
  }
  setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", read, { once: true }) : read()), runs.some((run) => ACTIVE.includes(run.status)) ? AGAIN_MS : 12 * AGAIN_MS);
}

byId("words").value = state.words;
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("words").addEventListener("input", (event) => (Object.assign(state, { words: event.target.value }), keep(), draw()));
byId("status").addEventListener("change", (event) => (Object.assign(state, { status: event.target.value }), keep(), draw()));
for (const head of heads) {
  head.addEventListener("click", () => {
    const { sort } = head.dataset;
    Object.assign(state, { sort, down: sort === state.sort ? !state.down : ["started", "seconds"].includes(sort) });
    keep();
    draw();
  });
}
saying(byId("said"), "reading the runs", read);
