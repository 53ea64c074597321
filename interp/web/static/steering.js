/** Steering by meaning: a concept becomes a card of features; cards are switched, set, ordered and deleted. */
import { post } from "./api.js";
import { byId, counted, el, number, saying, showError } from "./dom.js";
import { now, on } from "./state.js";

/** How many features, and how many times their quantile. */
const RULES = { strengthen: [50, 0.5], suppress: [500, 0] };
const SHOWN = 8;
const parts = {};
const opened = new Set();
let preview = null;

/**
 * Draws the search for a concept and the list of cards.
 * @param {Object<string, (...values: any[]) => any>} actions
 */
export function mountSteering(actions) {
  parts.form = formNode();
  parts.status = el("p", { class: "status", "aria-live": "polite" });
  parts.error = el("div", { class: "error", role: "alert", hidden: true });
  parts.hits = el("div");
  parts.cards = el("div");
  parts.cardsError = el("div", { class: "error", role: "alert", hidden: true, id: "cards-error" });
  parts.cardsStatus = el("p", { class: "status", "aria-live": "polite", id: "cards-status" });
  byId("steer-body").append(parts.form, parts.status, parts.error, parts.hits, parts.cards, parts.cardsStatus, parts.cardsError);
  parts.form.addEventListener("submit", (event) => (event.preventDefault(), search(actions)));
  parts.form.elements.concept.addEventListener("input", () => (preview = null, parts.hits.replaceChildren()));
  on("view", () => drawCards(actions));
  on("range", () => drawCards(actions));
}

function formNode() {
  const radio = (value, checked) => el("label", {}, el("input", { type: "radio", name: "rule", value, checked }), ` ${value}`);
  const form = el("form", { class: "concept" },
    el("label", {}, "concept ", el("input", { type: "text", name: "concept", size: 16, required: true, autocomplete: "off", placeholder: "e.g. capitals of countries" })),
    el("fieldset", { class: "choice" }, el("legend", { class: "sr", text: "What to do with it" }), radio("strengthen", true), radio("suppress", false)),
    el("label", {}, "features ", el("input", { type: "number", name: "k", min: 1, max: 1000, value: 50 })),
    el("label", {}, "strength ", el("input", { type: "number", name: "strength", step: "any", value: 0.5 })),
    el("button", { type: "submit", text: "Find features" }));
  for (const input of form.elements.rule) input.addEventListener("change", () => {
    [form.elements.k.value, form.elements.strength.value] = RULES[input.value];
  });
  return form;
}

async function search(actions) {
  const { concept, k } = parts.form.elements;
  showError(parts.error);
  try {
    const words = concept.value.trim();
    const { hits } = await saying(parts.status, "Searching the descriptions", () => post("/api/search", { words, k: Number(k.value) }));
    preview = hits;
    drawHits(words, actions);
  } catch (cause) {
    parts.hits.replaceChildren();
    showError(parts.error, cause);
  }
}

function drawHits(words, actions) {
  if (!preview.length) return parts.hits.replaceChildren(el("p", { class: "empty", text: `No description is near “${words}”. Use other words.` }));
  const add = el("button", { type: "button", class: "main", text: "Add as a card", onclick: async () => {
    add.disabled = true;
    const { k, strength } = parts.form.elements;
    if (await actions.addConcept(words, Number(k.value), Number(strength.value), parts.error)) {
      [preview, parts.form.elements.concept.value] = [null, ""];
      parts.hits.replaceChildren();
    } else add.disabled = false;
  } });
  const more = preview.slice(SHOWN);
  parts.hits.replaceChildren(hitTable(preview.slice(0, SHOWN)),
    more.length ? el("details", { class: "fold" }, el("summary", { text: `${more.length} more, down to nearness ${number(preview.at(-1).similarity)}` }), hitTable(more)) : "",
    el("div", { class: "rowed" }, add));
}

function hitTable(hits) {
  const rows = hits.map((hit) => el("tr", { class: hit.guess ? "guess" : null },
    el("td", {}, el("span", { class: "words", text: hit.short || hit.text }), hit.guess ? " " : "", hit.guess ? el("span", { class: "flag", text: "guess" }) : "", " ", el("span", { class: "key", text: hit.key })),
    el("td", { class: "n", text: number(hit.similarity) }), el("td", { class: "n", text: number(hit.score) })));
  return el("table", { class: "hits" }, el("thead", {}, el("tr", {}, el("th", { text: "nearest in meaning" }), el("th", { class: "n", text: "nearness" }), el("th", { class: "n", text: "score" }))), el("tbody", {}, ...rows));
}

function drawCards(actions) {
  if (!now.view) return;
  const cards = now.view.state.cards;
  const focused = parts.cards.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  if (!cards.length) {
    parts.cards.replaceChildren(el("p", { class: "empty", text: "No cards yet. Search for a concept, or tick rows of the table of features and strengthen or suppress them." }));
  } else {
    const n = now.view.steering.features, vectors = cards.filter((card) => card.on && card.kind === "vector").length;
    const acting = [n || !vectors ? counted(n, "feature") : "", vectors ? counted(vectors, "vector") : ""].filter(Boolean).join(" and ");
    parts.cards.replaceChildren(
      el("ol", { class: "cards" }, ...cards.map((card, i) => cardNode(card, i, cards, actions))),
      el("p", { class: "hint", text: `Steered by ${acting}. Probabilities and reasons above are of the steered model; text that stands there is not written anew until you regenerate it.` }),
      leftOut(now.view.steering.left_out), saveNode());
  }
  if (focused) [...parts.cards.querySelectorAll("[data-name]")].find((node) => node.dataset.name === focused && !node.disabled)?.focus();
}

/** @param {{card: string, key: string, why: string}[]} rows @returns {HTMLElement|string} what is not changed, and why */
export function leftOut(rows) {
  if (!rows.length) return "";
  const by = new Map();
  for (const { why, key } of rows) by.set(why, [...(by.get(why) ?? []), key]);
  const items = [...by].map(([why, keys]) => el("li", {}, `${counted(keys.length, "feature")}: ${why} `, el("span", { class: "key", text: keys.slice(0, 12).join(", ") + (keys.length > 12 ? ", …" : "") })));
  return el("details", { class: "fold" }, el("summary", { text: `${counted(rows.length, "feature")} left out, and why` }), el("ul", {}, ...items));
}

/** Offers the steering set to other programs, as a model of the OpenAI door. */
function saveNode() {
  const said = el("p", { class: "hint", "aria-live": "polite" });
  const error = el("div", { class: "error", role: "alert", hidden: true });
  const name = el("input", { type: "text", name: "name", size: 12, required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", "data-name": "save", title: "Letters, digits, -, _ and ." });
  const form = el("form", { class: "rowed" }, el("label", {}, "name ", name), el("button", { type: "submit", text: "Save for other programs" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    showError(error);
    try {
      const { model } = await post(`/api/sessions/${encodeURIComponent(now.session)}/save`, { name: name.value });
      said.textContent = `Programs that speak OpenAI's protocol reach it as the model ${model} at ${location.origin}/v1, until the server ends. The session's export keeps it.`;
    } catch (cause) {
      showError(error, cause);
    }
  });
  return el("details", { class: "fold" }, el("summary", { text: "Use this steering set from a program" }), form, said, error);
}

function cardNode(card, i, cards, actions) {
  const name = card.name || (card.kind === "vector" ? card.file : counted(card.features.length, "feature"));
  const put = (changes) => actions.changeCards((all) => all.map((one, j) => (j === i ? { ...one, ...changes } : one)));
  const move = (by) => actions.changeCards((all) => {
    const next = [...all];
    [next[i], next[i + by]] = [next[i + by], next[i]];
    return next;
  });
  const tool = (text, label, disabled, onclick) => el("button", { type: "button", class: "quiet", text, disabled, "aria-label": `${label}: ${name}`, "data-name": `${label} ${i}`, onclick });
  const flip = el("input", { type: "checkbox", checked: card.on, "data-name": `on ${i}`, "aria-label": `On: ${name}`, onchange: (event) => put({ on: event.target.checked }) });
  const strength = el("input", { type: "number", step: "any", value: card.strength, "data-name": `strength ${i}`, onchange: (event) => event.target.value !== "" && put({ strength: Number(event.target.value) }) });
  return el("li", { class: card.on ? "card" : "card off" },
    el("div", { class: "card-head" }, flip, el("b", { text: name }), el("span", { class: "hint", text: wordsOf(card) }),
      el("span", { class: "tools" }, tool("↑", "Earlier", i === 0, () => move(-1)), tool("↓", "Later", i === cards.length - 1, () => move(1)),
        tool("✕", "Delete", false, () => actions.changeCards((all) => all.filter((_, j) => j !== i))))),
    el("div", { class: "rowed" }, el("label", {}, "strength ", strength), whereNode(card, i, put),
      card.kind === "vector" ? null : el("label", { title: "Change a feature only where it is active on the side that is meant" },
        el("input", { type: "checkbox", checked: card.only_same_sign, "data-name": `same ${i}`, onchange: (event) => put({ only_same_sign: event.target.checked }) }), " only where active")),
    card.kind === "vector" ? null : el("details", { class: "fold", open: opened.has(i), ontoggle: (event) => opened[event.target.open ? "add" : "delete"](i) }, el("summary", { text: "Its features" }), el("p", { class: "key", text: card.features.join(", ") })));
}

function wordsOf(card) {
  if (card.kind === "vector") return "vector";
  const what = card.strength === 0 ? "suppressed" : card.strength < 0 ? "turned to the other side" : "strengthened";
  return `${counted(card.features.length, "feature")}, ${what}`;
}

function whereNode(card, i, put) {
  const ranges = Array.isArray(card.where);
  const select = el("select", { "data-name": `where ${i}` });
  const option = (value, text, disabled = false) => select.append(el("option", { value, text, disabled }));
  if (card.kind === "vector") option("file", "as its file says");
  for (const [value, text] of [["all", "all"], ["prompt", "of the prompt"], ["generated", "that are written"]]) option(value, text);
  if (ranges) option("kept", card.where.map((range) => range.join(" to ")).join(", "));
  option("range", now.range ? `the selected range, ${now.range[0]} to ${now.range[1]}` : "a range: select one first", !now.range);
  select.value = ranges ? "kept" : card.where ?? "file";
  select.addEventListener("change", () => {
    if (select.value !== "kept") put({ where: select.value === "range" ? [now.range] : select.value === "file" ? null : select.value });
  });
  return el("label", {}, "tokens ", select);
}
