/** The table of features that matter for a token: rows to read, to see on the text, and to choose. */
import { get } from "./api.js";
import { counted, el, number, percent, showError } from "./dom.js";
import { topOf } from "./tokens.js";

/**
 * @typedef {Object} TableOptions
 * @property {any} found the server's ranking
 * @property {Set<string>|null} only keys to show, or null for all
 * @property {Set<string>} chosen keys whose box is ticked; changed here
 * @property {(heat: import("./state.js").Heat|null, pin: boolean) => void} onheat
 * @property {() => void} onchoose
 * @property {(feature: any) => void} onwatch
 */

const COLUMNS = [
  ["layer", "layer", (one) => one.layer],
  ["value", "attribution", (one) => one.value],
  ["activation", "activation", (one) => one.activation],
  ["score", "score", (one) => one.score],
];
const WHAT = { attribution: "attribution", activation: "activation over its quantile" };
const order = { name: "value", down: true, size: true };
let open = null;

/** @param {any} one a feature @param {string} by what was measured @returns {import("./state.js").Heat} */
export function heatOf(one, by) {
  return { values: one.by_token, top: topOf(one.by_token), caption: `${WHAT[by]} of ${one.key} at each token` };
}

/** @param {any[]} features @param {string} by @param {string} name @returns {import("./state.js").Heat} their sum */
export function summedHeat(features, by, name) {
  const values = features.reduce((sum, one) => one.by_token.map((value, i) => value + (sum[i] ?? 0)), []);
  return { values, top: topOf(values), caption: `${WHAT[by]} of “${name}”, summed over ${counted(features.length, "feature")}` };
}

/**
 * @param {TableOptions} options
 * @returns {HTMLElement} the table; it draws itself again when it is sorted or a row opens
 */
export function featureTable(options) {
  const box = el("div", { class: "scroll" });
  const draw = () => {
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    box.replaceChildren(tableNode(options, draw));
    if (focused) [...box.querySelectorAll("[data-name]")].find((node) => node.dataset.name === focused)?.focus();
  };
  draw();
  return box;
}

function tableNode(options, draw) {
  const rows = sorted(options.found.features.filter((one) => !options.only || options.only.has(one.key)));
  const top = topOf(options.found.features.map((one) => one.value));
  const all = el("input", { type: "checkbox", "aria-label": "Choose all rows shown", "data-name": "all", checked: rows.length > 0 && rows.every((one) => options.chosen.has(one.key)) });
  all.addEventListener("change", () => {
    for (const { key } of rows) options.chosen[all.checked ? "add" : "delete"](key);
    draw();
    options.onchoose();
  });
  const head = el("tr", {}, el("th", {}, all), el("th", { text: "feature" }), ...COLUMNS.map((column) => headNode(column, options.found.by, draw)));
  const body = el("tbody", {}, ...rows.flatMap((one) => rowNodes(one, top, options, draw)));
  return el("table", { class: "features" }, el("caption", { class: "sr", text: "Features that matter for the token" }), el("thead", {}, head), body);
}

function headNode([name, title], by, draw) {
  const shown = name !== "value" ? title : by === "activation" ? "× quantile" : by;
  const here = order.name === name;
  const sort = () => {
    Object.assign(order, { name, down: here ? !order.down : name !== "layer", size: name === "value" || name === "activation" });
    draw();
  };
  return el("th", { class: `n c-${name}`, "aria-sort": here ? (order.down ? "descending" : "ascending") : null },
    el("button", { type: "button", "data-name": `sort ${name}`, title: name === "value" ? "sorts by size" : null, text: shown, onclick: sort }));
}

function sorted(features) {
  const value = COLUMNS.find(([name]) => name === order.name)[2];
  const key = (one) => (value(one) === null ? null : order.size ? Math.abs(value(one)) : value(one));
  return [...features].sort((a, b) => {
    if (key(a) === null || key(b) === null) return (key(a) === null) - (key(b) === null);
    return order.down ? key(b) - key(a) : key(a) - key(b);
  });
}

function rowNodes(one, top, options, draw) {
  const { by } = options.found;
  const tick = el("input", { type: "checkbox", checked: options.chosen.has(one.key), "aria-label": `Choose ${one.key}`, "data-name": `tick ${one.key}` });
  tick.addEventListener("change", () => (options.chosen[tick.checked ? "add" : "delete"](one.key), options.onchoose()));
  const toggle = () => {
    open = open === one.key ? null : one.key;
    options.onheat(open ? heatOf(one, by) : null, true);
    draw();
  };
  const name = el("button", { type: "button", class: one.short ? "says" : "says bare", "aria-expanded": String(open === one.key), "data-name": `open ${one.key}`, onclick: toggle });
  if (one.short) name.append(el("span", { class: "words", text: one.short }), ...(one.guess ? [" ", el("span", { class: "flag", text: "guess" })] : []));
  name.append(el("span", { class: "key", text: one.key }));
  if (!one.short) name.append(el("span", { class: "words none", text: " undescribed" }));
  const row = el("tr", { class: one.guess ? "guess" : null }, el("td", {}, tick), el("td", {}, name),
    el("td", { class: "n c-layer", text: one.layer }), el("td", { class: "n c-value" }, el("div", {}, barNode(one.value, top), el("span", { text: number(one.value) }))),
    el("td", { class: "n c-activation", text: number(one.activation) }), el("td", { class: "n c-score", text: one.score === null ? "–" : number(one.score) }));
  const show = () => options.onheat(heatOf(one, by), false), hide = () => options.onheat(null, false);
  for (const [event, listener] of [["pointerenter", show], ["pointerleave", hide], ["focusin", show], ["focusout", hide]]) row.addEventListener(event, listener);
  return open === one.key ? [row, detailNode(one, options)] : [row];
}

function barNode(value, top) {
  const bar = el("i", { class: `signed ${value < 0 ? "below" : "above"}`, "aria-hidden": "true" });
  bar.style.setProperty("--share", String(top > 0 ? Math.abs(value) / top : 0));
  return bar;
}

function detailNode(one, options) {
  const watch = el("button", { type: "button", text: "Watch along the text", onclick: () => options.onwatch(one) });
  return el("tr", { class: "detail" }, el("td"), el("td", { colspan: 5 },
    el("p", { text: one.description || "Nothing describes this feature yet: `interp run describe` does, and its store is opened with the server." }),
    el("p", { class: "hint", text: scoreSentence(one) }), moreOf(one), el("div", { class: "rowed" }, watch)));
}

/** How often a feature is active, and its other descriptions; space is kept until they come. */
function moreOf(one) {
  const node = el("div", { class: "more" }, el("p", { class: "hint", text: "Reading the store …" }));
  get(`/api/feature/${one.key.split("/").map(encodeURIComponent).join("/")}`).then(({ rate, quantiles, descriptions }) => {
    const said = [rate === null ? "" : `Active on this side at ${percent(rate)} of tokens`, quantiles["0.99999"] === undefined ? "" : `above ${number(quantiles["0.99999"])} at one of 100,000`].filter(Boolean);
    const others = descriptions.filter((told) => told.text !== one.description);
    node.replaceChildren(el("p", { class: "hint", text: said.length ? `${said.join(", ")}.` : "The store holds nothing else of it." }),
      others.length ? el("details", { class: "fold" }, el("summary", { text: counted(others.length, "other description") }), el("ul", {}, ...others.map((told) => el("li", { text: told.text })))) : "");
  }, (cause) => showError(node, cause));
  return node;
}

/** @param {any} one a feature @returns {string} how sure its description is, in words */
export function scoreSentence(one) {
  if (!one.short && !one.description) return "";
  if (one.score === null || one.score === undefined) return "The description has no score: nothing says that it is better than another feature's.";
  const interval = one.score_low === null || one.score_low === undefined ? "" : ` (${number(one.score_low)} to ${number(one.score_high)}${one.n ? `, n ${one.n}` : ""})`;
  const chance = one.null_high === null || one.null_high === undefined ? "" : `; other features' descriptions reach ${number(one.null_high)}`;
  return `Score ${number(one.score)}${interval}${chance}. ${one.guess ? "So it is a guess." : ""}`;
}

/**
 * Groups of features by meaning, as buttons.
 * @param {any} groups the server's answer
 * @param {any|null} pressed the one that is shown
 * @param {{onpress: (group: any) => void, onhover: (group: any|null) => void}} listeners
 * @returns {HTMLElement}
 */
export function groupList(groups, pressed, { onpress, onhover }) {
  const node = (group) => {
    const bar = el("i", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", percent(group.share));
    const odd = (group.out_of_place ?? 0) >= 0.8 || (group.grade ?? 4) <= 2;
    const why = [
      group.out_of_place === null ? null : `a description outside the group is nearer to the text than one of the group ${percent(group.out_of_place)} of the time`,
      group.grade === null || group.grade === undefined ? null : `graded ${group.grade} of 4 by ${group.named_by}`,
    ].filter(Boolean).join("; ");
    const button = el("button", { type: "button", class: "group", "aria-pressed": String(pressed === group), title: why || null, onclick: () => onpress(group) },
      el("span", { class: "words", text: group.name }), odd ? el("span", { class: "odd", text: "out of place" }) : null,
      el("span", { class: "n", text: counted(group.keys.length, "feature") }), bar, el("span", { class: "n share", text: percent(group.share) }));
    if (odd) button.setAttribute("aria-description", why);
    for (const [event, value] of [["pointerenter", group], ["focus", group], ["pointerleave", null], ["blur", null]]) button.addEventListener(event, () => onhover(value));
    return el("li", {}, button);
  };
  return el("div", {}, el("p", { class: "group-head hint" }, el("span", { text: "groups by meaning" }), el("span", { text: "share of what the described carry" })), el("ul", { class: "groups" }, ...groups.groups.map(node)));
}
