/** The page Features: what is asked, in the address; the table of what is found, and its pages. */
import { get, post, wasCancelled } from "./api.js";
import { byId, count, counted, el, number, percent, saying, showError, svg } from "./dom.js";
import { asked, drawChips, groupsOf, read, saidOfAll, saidOfGroup, setUpAdding, written } from "./features_chips.js";

const ROWS = 50;
const STOP_AFTER = 2000;
/** The columns: their name for the server, their title, and whether the largest come first. */
const COLUMNS = [["key", "feature", false], ["", "description", false], ["layer", "layer", false], ["score", "score", true], ["", "interval and null", false], ["rate", "active at", true], ["likeness", "likeness", true]];

const state = fromAddress();
const tell = setUpAdding((chip) => change({ chips: [...state.chips, chip] }));
let held = null;
let running = null;

function fromAddress() {
  const given = new URLSearchParams(location.search);
  const texts = given.getAll("f");
  const chips = texts.map(read);
  const from = Number(given.get("from") ?? 1);
  return {
    words: given.get("q") ?? "", by: given.get("by") === "meaning" ? "meaning" : "keyword",
    chips: chips.filter(Boolean).map((chip, i) => ({ ...chip, or: i > 0 && chip.or })),
    wrong: texts.filter((_, i) => !chips[i]),
    sort: COLUMNS.some(([name]) => name && name === given.get("sort")) ? given.get("sort") : null,
    down: given.get("down") === "1", offset: Number.isSafeInteger(from) && from > 0 ? from - 1 : 0,
  };
}

function keepAddress() {
  const said = new URLSearchParams();
  if (state.words) said.set("q", state.words);
  if (state.by === "meaning") said.set("by", "meaning");
  for (const chip of state.chips) said.append("f", written(chip));
  if (state.sort) said.set("sort", state.sort);
  if (state.sort && state.down) said.set("down", "1");
  if (state.offset) said.set("from", state.offset + 1);
  history.replaceState(null, "", said.size ? `${location.pathname}?${said}` : location.pathname);
}

/** Changes what is asked, and asks again; anything but another page begins at the first one. */
function change(values) {
  Object.assign(state, { offset: 0 }, values);
  state.chips = state.chips.map((chip, i) => ({ ...chip, or: i > 0 && chip.or }));
  if (state.sort === "likeness" && !byMeaning()) state.sort = null;
  keepAddress();
  draw();
  find();
}

const byMeaning = () => state.by === "meaning" && state.words !== "";

function draw() {
  if (document.activeElement !== byId("words")) byId("words").value = state.words;
  for (const radio of document.querySelectorAll("[name=by]")) radio.checked = radio.value === state.by;
  drawChips(state.chips, (chips) => change({ chips }));
  byId("asked").replaceChildren(...sentence());
}

/** What is asked, in words. */
function sentence() {
  const conditions = saidOfAll(state.chips);
  const unscored = state.chips.some((chip) => chip.negated && (chip.kind === "score" || chip.kind === "above_null")) ? " What has no score passes that NOT." : "";
  const bold = (text) => el("b", { text });
  if (byMeaning()) return ["Asked for: the nearest in meaning to ", bold(`“${state.words}”`), ...(conditions ? [", of those with ", bold(conditions)] : []), ".", unscored];
  const contains = state.words ? `description contains “${state.words}”` : "";
  const open = contains && state.chips.length && groupsOf(state.chips).length === 1 && state.chips.length > 1;
  const all = [open ? `(${conditions})` : conditions, contains].filter(Boolean).join(" AND ");
  return ["Asked for: ", bold(all || "all features"), ".", unscored];
}

async function find() {
  running?.abort();
  const mine = (running = new AbortController());
  const late = setTimeout(() => (byId("stop").hidden = false), STOP_AFTER);
  byId("found").classList.add("stale");
  const { words, by, sort, down, offset } = state;
  try {
    if (!held) await saying(byId("status"), "reading the stores, once", () => readHeld(mine.signal));
    const body = { words, by, sort, down, offset, limit: ROWS, where: asked(state.chips) };
    const found = await saying(byId("status"), byMeaning() ? "searching by meaning (the first time, descriptions are embedded)" : "searching", () => post("/api/features", body, mine.signal));
    if (running !== mine) return;
    if (offset >= found.total && offset > 0) return change({ offset: Math.max(0, Math.ceil(found.total / ROWS) - 1) * ROWS });
    showError(byId("error"), wrongInAddress());
    show(found);
    byId("found").classList.remove("stale");
  } catch (cause) {
    if (running !== mine) return;
    if (wasCancelled(cause)) byId("status").textContent = "Stopped. Search asks again.";
    else showError(byId("error"), cause);
  } finally {
    clearTimeout(late);
    if (running === mine) {
      running = null;
      byId("stop").hidden = true;
    }
  }
}

async function readHeld(signal) {
  held = await get("/api/features", signal);
  drawLegend();
  tell(held);
}

function wrongInAddress() {
  return state.wrong.length ? { thing: `the address has a condition that is none: ${state.wrong.join(", ")}`, fix: "take it out of the address; it was left out here" } : null;
}

function show(found) {
  const { rows, total, passing } = found;
  const first = state.offset + 1;
  byId("count").replaceChildren(total ? `rows ${count(first)} to ${count(state.offset + rows.length)} of ${count(total)}${byMeaning() && passing > total ? ` nearest, chosen among ${count(passing)} described` : ""}` : "");
  for (const id of ["pages-top", "pages-end"]) drawPager(id, total);
  byId("legend").hidden = !total;
  const focused = byId("found").contains(document.activeElement) ? document.activeElement.dataset.name : null;
  byId("found").replaceChildren(total ? tableNode(rows) : emptyNode(found));
  if (focused) [...byId("found").querySelectorAll("[data-name]")].find((node) => node.dataset.name === focused)?.focus();
}

function drawPager(id, total) {
  const place = byId(id);
  const last = Math.max(0, Math.ceil(total / ROWS) - 1) * ROWS;
  place.hidden = total <= ROWS;
  const go = (offset) => {
    change({ offset });
    if (id === "pages-end") document.querySelector(".over").scrollIntoView({ block: "nearest" });
  };
  const steps = [["First", 0, state.offset > 0], ["Previous", Math.max(0, state.offset - ROWS), state.offset > 0], ["Next", state.offset + ROWS, state.offset < last], ["Last", last, state.offset < last]];
  const focused = place.contains(document.activeElement) ? document.activeElement.textContent : null;
  place.replaceChildren(...steps.map(([text, offset, on]) => el("button", { type: "button", text, disabled: !on, onclick: () => go(offset) })));
  if (!focused) return;
  const buttons = [...place.querySelectorAll("button")];
  (buttons.find((one) => one.textContent === focused && !one.disabled) ?? buttons.find((one) => !one.disabled))?.focus();
}

function tableNode(rows) {
  const shown = COLUMNS.filter(([name]) => name !== "likeness" || byMeaning());
  const head = el("tr", { role: "row" }, ...shown.map(headNode));
  return el("table", { class: "found", role: "table" }, el("caption", { class: "sr", text: "Features that were found" }),
    el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, ...rows.map(rowNode)));
}

function headNode([name, title, down]) {
  const kind = name === "key" || title === "description" ? null : "n";
  const cell = { role: "columnheader", scope: "col", class: [kind, `c-${name || title.split(" ")[0]}`].filter(Boolean).join(" ") };
  if (!name) return el("th", { ...cell, text: title });
  const here = state.sort === name || (state.sort === null && name === (byMeaning() ? "likeness" : "key"));
  const falls = state.sort === null ? byMeaning() : state.down;
  const sort = () => change({ sort: name, down: here ? !falls : down });
  return el("th", { ...cell, "aria-sort": here ? (falls ? "descending" : "ascending") : null }, el("button", { type: "button", "data-name": `sort ${name}`, text: title, onclick: sort }));
}

function rowNode(one) {
  const link = el("a", { href: `/feature/${one.key.split("/").map(encodeURIComponent).join("/")}`, class: "words", text: one.short || "undescribed" });
  const guess = one.short && one.guess ? [" ", el("span", { class: "flag", text: "guess" })] : [];
  const told = [held?.explainers.length > 1 && one.explainer ? `by ${one.explainer}` : "", one.interesting ? "interesting" : ""].filter(Boolean).join(", ");
  const words = el("td", { role: "cell", class: "c-description" }, link, ...guess, told ? el("span", { class: "by", text: ` ${told}` }) : null);
  const cell = (name, text) => el("td", { role: "cell", class: `n c-${name}`, text });
  const mark = el("td", { role: "cell", class: "n c-interval" }, ...(one.score === null ? [] : [markNode(one), el("span", { class: "sr", text: intervalOf(one) })]));
  return el("tr", { role: "row", class: !one.short ? "bare" : one.guess ? "guess" : null },
    el("th", { role: "rowheader", scope: "row", class: "key c-key", text: one.key }), words, cell("layer", one.layer ?? "–"), cell("score", hundredths(one.score)), mark,
    cell("rate", one.rate === null ? "–" : percent(one.rate)), ...(byMeaning() ? [cell("likeness", hundredths(one.likeness))] : []));
}

function intervalOf(one) {
  const interval = one.low === null ? "no interval" : `${number(one.low)} to ${number(one.high)}`;
  return `${interval}; ${one.null_high === null ? "no null" : `other features' descriptions reach ${number(one.null_high)}`}`;
}

/** A score with as many digits as all of its column. */
const hundredths = (value) => (value === null ? "–" : value.toFixed(2).replace("-", "−").replace("−0.00", "0.00"));

const WIDE = 90, HIGH = 14;

/** A score as a dot on its interval, over the reach of its null in grey; the same scale in every row. */
function markNode({ score, low, high, null_high: chance, guess }) {
  const from = Math.min(0, held?.lowest ?? 0), x = (value) => 3 + ((Math.min(1, Math.max(from, value)) - from) / (1 - from)) * (WIDE - 6);
  const parts = [svg("line", { x1: x(from), x2: x(1), y1: HIGH - 1, y2: HIGH - 1, class: "axis" })];
  if (chance !== null) parts.push(svg("rect", { x: x(from), y: 1, width: x(chance) - x(from), height: HIGH - 2, class: "chance" }));
  if (low !== null && high !== null) parts.push(svg("line", { x1: x(low), x2: x(high), y1: HIGH / 2, y2: HIGH / 2, class: "interval" }));
  parts.push(svg("circle", { cx: x(score), cy: HIGH / 2, r: 2.7, class: "dot" }));
  return svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, width: WIDE, height: HIGH, class: guess ? "mark guess" : "mark", "aria-hidden": "true" }, ...parts);
}

function emptyNode({ why_none: why }) {
  const said = (text, ...more) => el("p", { class: "empty", text }, ...more);
  if (held && !held.features) return el("p", { class: "empty" }, "No store is open, so nothing is known of the features. ", el("code", { text: "interp run describe" }), " makes one; ", el("code", { text: "interp serve RUN" }), " opens it.");
  if (!why.length) return said(byMeaning() ? "Nothing is near: none of these words, nor a piece of them, is in a description. Try another word." : "Nothing is found.");
  const { group, alone, without } = why[0];
  const groups = groupsOf(state.chips);
  const name = group === null ? `description contains “${state.words}”` : saidOfGroup(groups[group]);
  const out = () => change(group === null ? { words: "" } : { chips: groups.filter((_, i) => i !== group).flat() });
  const told = without ? `without it ${counted(without, "feature")} would be found` : `alone it lets ${counted(alone, "feature")} through, and several conditions exclude one another`;
  return el("div", {}, said("Nothing is found. What excludes most: ", el("b", { text: name }), `; ${told}.`), el("button", { type: "button", text: "Take it out", onclick: out }));
}

function drawLegend() {
  const sample = markNode({ score: 0.6, low: 0.45, high: 0.75, null_high: 0.25, guess: false });
  byId("legend").replaceChildren(sample, ` the score and its 95% interval, ${number(Math.min(0, held?.lowest ?? 0))} to 1; grey: as far as other features' descriptions reach. A score that is not above it is a guess.`);
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  change({ words: byId("words").value.trim() });
});
byId("words").addEventListener("search", () => byId("words").value === "" && state.words && change({ words: "" }));
for (const radio of document.querySelectorAll("[name=by]")) radio.addEventListener("change", () => change({ by: radio.value, words: byId("words").value.trim(), sort: null }));
byId("stop").addEventListener("click", () => running?.abort());
draw();
find();
