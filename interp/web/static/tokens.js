/** Tokens as the reports draw them: white space faint, special ones as pills, heat and sureness by class. */
import { el, number } from "./dom.js";

const VISIBLE = { "\n": "↵", "\t": "⇥", "\r": "␍" };
const LEVELS = 8;
/** Probabilities down to which each underline goes, the surest first. */
const SURE = [0.9, 0.5, 0.1, 0.01];

const faint = (text) => el("i", { class: "ws", text });

/** @param {string} text of a token @returns {(Node|string)[]} with its white space drawn */
export function visible(text) {
  if (!text) return [faint("∅")];
  const [, head, body, tail] = /^( *)([^]*?)( *)$/.exec(text);
  const middle = body.split(/([\n\t\r])/).filter(Boolean).map((part) => (VISIBLE[part] ? faint(VISIBLE[part]) : part));
  return [...(head ? [faint("·".repeat(head.length))] : []), ...middle, ...(tail ? [faint("·".repeat(tail.length))] : [])];
}

/** @param {number|null} p @returns {string} the class of a probability's underline */
export function sureness(p) {
  if (p === null || p === undefined) return "";
  const at = SURE.findIndex((limit) => p >= limit);
  return `q${at < 0 ? SURE.length : at}`;
}

/**
 * @param {any} token as the server sends it
 * @param {string} [extra] more classes
 * @returns {HTMLElement} a line ends where the token ends one
 */
export function tokenNode(token, extra = "") {
  const kind = token.special ? "pill" : sureness(token.p);
  const parts = token.special ? [token.text] : visible(token.text).flatMap((part) => (part.textContent === "↵" ? [part, el("br")] : [part]));
  const ends = parts.length > 1 && parts.some((part) => part.tagName === "BR") ? "ends" : "";
  return el("span", { class: `${kind} ${ends} ${extra}`.replace(/ +/g, " ").trim() || null }, ...parts);
}

/** @param {any[]} tokens @returns {boolean} whether tokens bring their own spaces: then there is no gap between */
export const arePieces = (tokens) => tokens.some((token) => /^\s/.test(token.text));

/** @param {any[]} tokens @returns {string} the class of a line of tokens */
export const lineClass = (tokens) => `tokens${arePieces(tokens) ? " pieces" : ""}`;

/** @param {any} token @returns {string} its name in running text */
export const nameOf = (token) => token.text.trim() || (token.text ? "white space" : "nothing");

/**
 * @param {number} value
 * @param {number} top full heat
 * @returns {string} the class of the heat: "p1" to "p8", "n1" to "n8", or ""
 */
export function heatClass(value, top) {
  if (!(top > 0) || !Number.isFinite(value)) return "";
  const level = Math.round(Math.min(1, Math.max(-1, value / top)) * LEVELS);
  return level === 0 ? "" : `${level > 0 ? "p" : "n"}${Math.abs(level)}`;
}

/**
 * @param {import("./state.js").Heat} heat
 * @returns {HTMLElement} its scale with numbers at the ends, and what it is
 */
export function heatLegend({ values, top, caption }) {
  const signed = values.some((value) => value < 0);
  const names = [...(signed ? ["n8", "n6", "n4", "n2"] : []), "", "p2", "p4", "p6", "p8"];
  return el("span", { class: "legend" }, el("span", { text: signed ? number(-top) : "0" }),
    ...names.map((name) => el("i", { class: name || null })), el("span", { text: number(top) }), el("span", { class: "caption", title: caption, text: caption }));
}

/** @returns {Node[]} what the underlines mean */
export function surenessLegend() {
  const says = [...SURE.map((limit, i) => (i ? String(limit) : `≥ ${limit}`)), "less"];
  return [el("span", { text: "probability" }), ...says.map((text, i) => el("span", { class: "tokens key" }, el("span", { class: `q${i}`, text })))];
}

/** @param {number[]} values @returns {number} the largest in size */
export const topOf = (values) => values.reduce((top, value) => Math.max(top, Math.abs(value)), 0);

/** @param {any} token @returns {boolean} whether the conversation can fork there: the model wrote it */
export const isForkable = (token) => Number.isInteger(token.turn) && Number.isInteger(token.place);
