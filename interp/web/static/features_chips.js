/** Conditions on features: as chips on the page, in the address, in words, and as the server is asked. */
import { byId, el, showError } from "./dom.js";

/**
 * @typedef {Object} Chip one condition
 * @property {string} kind
 * @property {string} value as the address writes it; empty where the kind has none
 * @property {boolean} negated
 * @property {boolean} or whether it is joined by OR to the chip before it, otherwise by AND
 */

/** What each kind is called where it is chosen, in words, and in the server's form. */
const KINDS = {
  space: { title: "space", says: (value) => value, asks: (value) => ({ name: value }) },
  layers: {
    title: "layers", says: (value) => (pair(value)[0] === pair(value)[1] ? `layer ${pair(value)[0]}` : `layers ${pair(value).join(" to ")}`),
    asks: (value) => ({ first: Number(pair(value)[0]), last: Number(pair(value)[1]) }),
  },
  score: {
    title: "score at least", says: (value) => `score ≥ ${value.replace("-", "−")}`,
    asks: (value) => ({ least: Number(value) }),
  },
  above_null: { title: "above its null", says: () => "score above its null" },
  explainer: { title: "explainer", says: (value) => `explainer ${value}`, asks: (value) => ({ name: value }) },
  interesting: { title: "interesting", says: () => "interesting" },
  described: { title: "described", says: () => "described" },
  text: { title: "description contains", says: (value) => `description contains “${value}”`, asks: (value) => ({ words: value }) },
};
const pair = (value) => value.split("-");
const FORM = { layers: /^\d+-\d+$/, score: /^-?[\d.]+(e-?\d+)?$/i };

/** @param {Chip} chip @returns {string} the condition in words */
export function saidOf(chip) {
  const plain = KINDS[chip.kind].says(chip.value);
  return chip.negated ? `NOT (${plain})` : plain;
}

/** @param {Chip} chip @returns {string} as the address has it */
export const written = (chip) => `${chip.or ? "|" : ""}${chip.negated ? "~" : ""}${chip.kind}${KINDS[chip.kind].asks ? `:${chip.value}` : ""}`;

/** @param {string} text of the address @returns {Chip|null} the chip, or null if it is none */
export function read(text) {
  const found = /^(\|?)(~?)([a-z_]+)(?::(.*))?$/s.exec(text);
  if (!found || !Object.hasOwn(KINDS, found[3])) return null;
  const chip = { kind: found[3], value: found[4] ?? "", negated: found[2] === "~", or: found[1] === "|" };
  return (KINDS[chip.kind].asks ? chip.value !== "" : true) && (FORM[chip.kind]?.test(chip.value) ?? true) ? chip : null;
}

/** @param {Chip[]} chips @returns {Chip[][]} those that OR joins are one group */
export function groupsOf(chips) {
  const groups = [];
  for (const chip of chips) {
    if (chip.or && groups.length) groups.at(-1).push(chip);
    else groups.push([chip]);
  }
  return groups;
}

/** @param {Chip[]} group @param {boolean} alone whether nothing stands beside it @returns {string} the group in words */
export function saidOfGroup(group, alone = true) {
  const said = group.map(saidOf).join(" OR ");
  return group.length > 1 && !alone ? `(${said})` : said;
}

/** @param {Chip[]} chips @returns {string} all of them in words */
export function saidOfAll(chips) {
  const groups = groupsOf(chips);
  return groups.map((group) => saidOfGroup(group, groups.length === 1)).join(" AND ");
}

/** @param {Chip[]} chips @returns {object[][]} the groups as the server is asked for them */
export const asked = (chips) => groupsOf(chips).map((group) => group.map(({ kind, value, negated }) => ({ kind, negated, ...KINDS[kind].asks?.(value) })));

/**
 * Draws the chips, with what joins them between.
 * @param {Chip[]} chips
 * @param {(chips: Chip[]) => void} change is given the chips after a change
 */
export function drawChips(chips, change) {
  const place = byId("chips");
  const held = place.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const changed = (at, values) => change(chips.map((chip, i) => (i === at ? { ...chip, ...values } : chip)));
  let at = 0;
  const nodes = groupsOf(chips).flatMap((group) => {
    const inner = group.flatMap((chip, i) => {
      const node = chipNode(chip, at, changed, () => change(chips.filter((one) => one !== chip)));
      const join = i ? [joinNode(chip, at, changed)] : [];
      at += 1;
      return [...join, node];
    });
    const first = at - group.length;
    const box = el("span", { class: group.length > 1 ? "group" : "group one" }, ...inner);
    return first ? [joinNode(chips[first], first, changed), box] : [box];
  });
  place.replaceChildren(...nodes, chips.length > 1 ? el("button", { type: "button", class: "quiet", text: "Take all out", onclick: () => change([]) }) : "");
  if (held) ([...place.querySelectorAll("[data-name]")].find((node) => node.dataset.name === held) ?? byId("kind")).focus();
}

function chipNode(chip, at, changed, remove) {
  const plain = saidOf({ ...chip, negated: false });
  return el("span", { class: `chip${chip.negated ? " negated" : ""}` },
    el("button", { type: "button", class: "not", "aria-pressed": String(chip.negated), "aria-label": `NOT ${plain}`, "data-name": `not ${at}`, title: "the opposite", text: "NOT", onclick: () => changed(at, { negated: !chip.negated }) }),
    el("span", { class: "words", text: plain }),
    el("button", { type: "button", class: "out", "aria-label": `Take out: ${plain}`, "data-name": `out ${at}`, text: "×", onclick: remove }));
}

function joinNode(chip, at, changed) {
  const [here, other] = chip.or ? ["OR", "AND"] : ["AND", "OR"];
  return el("button", { type: "button", class: "join", "data-name": `join ${at}`, "aria-label": `${here}: switch to ${other}`, title: `switch to ${other}`, text: here, onclick: () => changed(at, { or: !chip.or }) });
}

/**
 * Sets up the form that adds a chip.
 * @param {(chip: Chip) => void} add
 * @returns {(held: {spaces: any[], explainers: any[], layers: number[]|null}) => void} tells what there is to ask for
 */
export function setUpAdding(add) {
  const kind = byId("kind"), value = byId("value"), error = byId("add-error");
  let held = { spaces: [], explainers: [], layers: null };
  const ask = () => {
    showError(error);
    value.replaceChildren(...fieldsOf(kind.value, namesOf(held), held.layers ?? [0, 0]));
  };
  kind.addEventListener("change", ask);
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = [...value.querySelectorAll("input,select")].map((field) => field.value.trim());
    const chip = read(written({ kind: kind.value, value: fields.join("-"), negated: false, or: false }));
    if (!chip) return showError(error, { thing: "the condition has no value", fix: "fill in its field" });
    showError(error);
    add(chip);
  });
  const tell = (told) => {
    held = told;
    const names = namesOf(held);
    kind.replaceChildren(...Object.keys(KINDS).filter((one) => !names[one] || names[one].length).map((one) => el("option", { value: one, text: KINDS[one].title })));
    ask();
  };
  tell(held);
  return tell;
}

const namesOf = (held) => ({ space: held.spaces, explainer: held.explainers });

function fieldsOf(kind, named, [first, last]) {
  const numbered = (label, value, attributes) => el("label", { text: `${label} ` }, el("input", { type: "number", value, required: true, ...attributes }));
  if (named[kind]) return [el("select", { "aria-label": KINDS[kind].title }, ...named[kind].map(({ name }) => el("option", { value: name, text: name })))];
  if (kind === "layers") return [numbered("from", String(first), { min: first, max: last }), " ", numbered("to", String(last), { min: first, max: last })];
  if (kind === "score") return [el("input", { type: "number", step: "any", value: "0.3", required: true, "aria-label": "least score" })];
  if (kind === "text") return [el("input", { type: "text", maxlength: 500, required: true, "aria-label": "words that the description contains", spellcheck: "false" })];
  return [];
}
