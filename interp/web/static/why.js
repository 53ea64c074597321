/** “Why this one?”: what is asked about the chosen token, and the features that answer it. */
import { post, wasCancelled } from "./api.js";
import { byId, count, counted, el, number, percent, saying, showError } from "./dom.js";
import { featureTable, groupList, summedHeat } from "./features.js";
import { now, on, set } from "./state.js";
import { nameOf } from "./tokens.js";

/** Fewest features of a group. */
const SMALLEST = 3;
const parts = {};
const chosen = new Set();
let found = null, groups = null, group = null, pinned = null, asking = null, timer = 0, asked = "";

/**
 * Draws the panel and asks whenever another token, range or question is chosen.
 * @param {Object<string, (...values: any[]) => any>} actions
 * @param {string[]} spaces names of the feature spaces; none: the server uses all
 * @param {string} [layers] how many layers there are
 */
export function mountWhy(actions, spaces, layers) {
  parts.empty = el("p", { class: "empty", text: "Click a token of the conversation (or move to it and press Enter): here you see which features made it likely, and how sure their descriptions are." });
  parts.form = formNode(spaces);
  parts.said = el("p", { class: "said" });
  parts.status = el("p", { class: "status", "aria-live": "polite" });
  parts.error = el("div", { class: "error", role: "alert", hidden: true });
  parts.groups = el("div", { class: "groups-box" });
  parts.table = el("div");
  parts.bar = barNode(actions);
  Object.assign(parts, { actions, lastLayer: layers ? Number(layers) - 1 : 1000 });
  if (layers) [parts.form.elements.first.placeholder, parts.form.elements.last.placeholder] = ["0", String(layers - 1)];
  parts.rest = el("div", { hidden: true }, parts.form, parts.status, parts.error, parts.said, parts.groups, parts.bar, parts.table);
  byId("why-body").append(parts.empty, parts.rest);
  parts.form.addEventListener("submit", (event) => (event.preventDefault(), ask(0)));
  parts.form.addEventListener("input", () => (readRange(), ask(450)));
  on("place range view writing", () => {
    const token = now.view?.tokens[now.place];
    byId("why-h").textContent = token ? `Why “${nameOf(token)}”?` : "Why this token?";
    parts.empty.hidden = Boolean(token);
    parts.rest.hidden = !token;
    const at = (name, value) => document.activeElement !== parts.form.elements[name] && (parts.form.elements[name].value = value);
    at("from", now.range ? now.range[0] : "");
    at("to", now.range ? now.range[1] : "");
    if (token && !now.writing) ask(now.range ? 250 : 60);
    if (!token) [asked, pinned] = ["", null];
  });
}

function formNode(spaces) {
  const field = (label, attributes) => el("label", {}, `${label} `, el("input", { type: "text", spellcheck: "false", autocomplete: "off", ...attributes }));
  const whole = (name, label) => el("input", { type: "number", min: 0, step: 1, name, "aria-label": label });
  const by = (value, text) => el("label", {}, el("input", { type: "radio", name: "by", value, checked: value === "attribution" }), ` ${text}`);
  const boxes = spaces.map((name) => el("label", {}, el("input", { type: "checkbox", name: "space", value: name, checked: true }), ` ${name}`));
  return el("form", { class: "question" },
    el("fieldset", { class: "choice" }, el("legend", { text: "ranked by" }), by("attribution", "attribution"), by("activation", "activation")),
    el("div", { class: "rowed words-asked" }, field("another word", { name: "word", size: 9, placeholder: "this one" }), field("less", { name: "distractor", size: 9, placeholder: "nothing" })),
    el("div", { class: "rowed" },
      el("span", { class: "pair" }, "layers ", whole("first", "First layer"), " to ", whole("last", "Last layer")),
      el("span", { class: "pair" }, "tokens ", whole("from", "First token that counts"), " to ", whole("to", "Last token that counts"))),
    el("div", { class: "rowed" }, field("only with the word", { name: "filter", size: 12 }),
      el("label", {}, "at most ", el("input", { type: "number", name: "k", min: 1, max: 1000, value: 50 }))),
    boxes.length ? el("details", { class: "fold" }, el("summary", { text: `Feature spaces (${boxes.length})` }), el("fieldset", { class: "spaces" }, el("legend", { class: "sr", text: "Feature spaces" }), ...boxes)) : null);
}

/** The range that is typed is the one on the tokens. */
function readRange() {
  const { from, to } = parts.form.elements;
  if (document.activeElement !== from && document.activeElement !== to) return;
  if (from.value === "" && to.value === "") set({ range: null });
  else {
    const last = now.view.tokens.length - 1;
    const a = Math.min(last, Number(from.value || 0)), b = Math.min(last, Number(to.value === "" ? last : to.value));
    if (a <= b) set({ range: [a, b] });
  }
}

/** @returns {object} the question as the server takes it */
function question() {
  const { elements } = parts.form;
  const body = { place: now.place, by: elements.by.value, k: Number(elements.k.value) || 50 };
  const attribution = body.by === "attribution";
  if (attribution && elements.word.value.trim()) body.word = elements.word.value.trim();
  const less = elements.distractor.value.trim();
  if (attribution && less && less !== now.view.tokens[now.place].text.trim()) body.distractor = less;
  if (elements.filter.value.trim()) body.filter = elements.filter.value.trim();
  if (elements.first.value !== "" || elements.last.value !== "")
    body.layers = [Number(elements.first.value || 0), elements.last.value === "" ? parts.lastLayer : Number(elements.last.value)];
  const boxes = [...parts.form.querySelectorAll("[name=space]")];
  if (boxes.some((box) => !box.checked)) body.spaces = boxes.filter((box) => box.checked).map((box) => box.value);
  if (now.range) {
    body.places = [];
    for (let i = now.range[0]; i <= now.range[1]; i += 1) if (!attribution || i < now.place) body.places.push(i);
  }
  for (const name of ["word", "distractor"]) elements[name].disabled = !attribution;
  return body;
}

function ask(delay) {
  clearTimeout(timer);
  timer = setTimeout(send, delay);
}

/** An answer to another question would mislead: it goes. */
function failed(cause) {
  asked = "";
  [found, groups, group] = [null, null, null];
  chosen.clear();
  pin(null);
  draw();
  parts.rest.classList.remove("stale");
  showError(parts.error, cause);
}

async function send() {
  if (now.place === null || now.writing || !now.view) return;
  const body = question();
  if (body.places && !body.places.length)
    return failed({ thing: "the range begins after this token, and nothing there counts for it", fix: "mark tokens before it, or press Escape" });
  const signature = JSON.stringify([body, now.view.state.cards, now.view.tokens.map((token) => token.id)]);
  if (signature === asked) return;
  asked = signature;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking, path = `/api/sessions/${now.session}`;
  showError(parts.error);
  parts.rest.classList.add("stale");
  try {
    found = await saying(parts.status, body.by === "attribution" ? "Running the model forwards and backwards" : "Reading the features", () => post(`${path}/why`, body, signal));
    [groups, group] = [null, null];
    pin(null);
    for (const key of chosen) if (!found.features.some((one) => one.key === key)) chosen.delete(key);
    parts.rest.classList.remove("stale");
    draw();
    if (found.features.filter((one) => one.short).length < SMALLEST) return;
    groups = await saying(parts.status, "Grouping the features by meaning", () => post(`${path}/groups`, body, signal));
    drawGroups();
  } catch (cause) {
    if (wasCancelled(cause)) return;
    failed(cause);
  }
}

function draw() {
  parts.said.textContent = found ? sentence(found) : "";
  drawGroups();
  drawTable();
}

/** @param {any} ranking @returns {string} what was measured, and what chance gives */
export function sentence({ by, features, filtered_out: out, n_features: n, share, control, target, target_value: value, unknown }) {
  const shown = features.length + (out ?? 0);
  if (!shown) return `None of ${counted(n, "feature")} is active there. Allow more layers, spaces or tokens.`;
  const what = by === "attribution" ? `the sum of attributions (in size) to the logit of ${target}, which is ${number(value, 3)}` : "the sum of activations, each over its feature's own quantile";
  const chance = `as many random active ones ${percent(control.value)}, ${percent(control.low)} to ${percent(control.high)}`;
  const hidden = out ? ` ${counted(out, "feature")} of these without the word ${out === 1 ? "is" : "are"} hidden.` : "";
  const missing = unknown ? ` ${counted(unknown, "active feature")} ${unknown === 1 ? "has" : "have"} no quantile and cannot be ranked.` : "";
  return `${count(shown)} of ${counted(n, "feature")} carry ${percent(share)} of ${what} (${chance}).${hidden}${missing}`;
}

function drawGroups() {
  if (!groups) {
    const described = found?.features.filter((one) => one.short).length ?? 0;
    const some = found?.features.length && described < SMALLEST;
    parts.groups.classList.toggle("reserved", described >= SMALLEST);
    return parts.groups.replaceChildren(el("p", { class: "hint", text: some ? `${described ? `Only ${described}` : "None"} of these ${described === 1 ? "has" : "have"} a description: too few to group by meaning.` : "" }));
  }
  const press = (one) => {
    group = group === one ? null : one;
    pin(group && summedHeat(members(group), found.by, group.name));
    drawGroups();
    drawTable();
  };
  const hover = (one) => heat(one && summedHeat(members(one), found.by, one.name), false);
  const rest = [[groups.ungrouped, "in no group"], [groups.without_description, "without a description"]];
  const said = rest.filter(([n]) => n).map(([n, what]) => `${n} ${what}`).join(", ");
  const focused = parts.groups.contains(document.activeElement) && group !== null;
  parts.groups.replaceChildren(
    groups.groups.length ? groupList(groups, group, { onpress: press, onhover: hover }) : el("p", { class: "hint", text: "No three of these features are near each other in meaning." }),
    el("p", { class: "hint", text: said }));
  if (groups.not_graded) parts.groups.append(el("p", { class: "hint", text: `The groups are named by their own words, as the endpoint did not name them: ${groups.not_graded.thing}. ${groups.not_graded.fix}` }));
  if (focused) parts.groups.querySelector('[aria-pressed="true"]')?.focus();
}

const members = (one) => found.features.filter(({ key }) => one.keys.includes(key));

function drawTable() {
  const only = group ? new Set(group.keys) : null;
  parts.table.replaceChildren(!found?.features.length ? "" : featureTable({ found, only, chosen, onheat: heat, onchoose: drawBar, onwatch: (one) => parts.actions.watch(one.short || one.key, [one.key]) }));
  drawBar();
}

function pin(next) {
  pinned = next;
  set({ heat: pinned });
}

function heat(next, keep) {
  if (keep) pinned = next;
  set({ heat: next ?? pinned });
}

function barNode(actions) {
  const keys = () => found.features.filter(({ key }) => chosen.has(key)).map(({ key }) => key);
  const name = () => {
    const own = found.features.filter(({ key }) => chosen.has(key));
    if (group && own.every(({ key }) => group.keys.includes(key))) return group.name;
    return own.length === 1 ? own[0].short || own[0].key : `${own.length} features of “${nameOf(now.view.tokens[now.place])}”`;
  };
  const button = (text, onclick) => el("button", { type: "button", text, disabled: true, onclick });
  parts.chosen = el("span", { class: "hint" });
  return el("div", { class: "rowed chosen-bar", role: "group", "aria-label": "The chosen features" }, parts.chosen,
    button("Strengthen", () => actions.addCard({ name: name(), features: keys(), strength: 0.5 })),
    button("Suppress", () => actions.addCard({ name: name(), features: keys(), strength: 0 })),
    button("Watch", () => actions.watch(name(), keys())));
}

function drawBar() {
  parts.chosen.textContent = chosen.size ? `${chosen.size} chosen` : "Tick rows to steer";
  for (const button of parts.bar.querySelectorAll("button")) button.disabled = !chosen.size;
}
