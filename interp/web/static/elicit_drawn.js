/** A search as a curve of what it spent and found, and its tries as a table. */
import { count, counted, el, number, percent, svg } from "./dom.js";

const FIRST = 12;
const WIDE = 640, HIGH = 170, EDGE = { left: 44, right: 14, top: 12, bottom: 30 };

/** @param {{value: number|null, low: number|null, high: number|null}} share @returns {string} "12% (5% to 20%)" */
export const shareSaid = ({ value, low, high }) => (value === null ? "none could be judged" : `${percent(value)} (${percent(low)} to ${percent(high)})`);

/**
 * Tries that show the behaviour by passes spent, beside what prompts at random would show.
 * @param {any} view
 * @returns {HTMLElement}
 */
export function curveNode({ curve, budget, ordinary, shown, passes }) {
  const chance = ordinary && ordinary.value !== null ? ordinary : null;
  const perPass = (share) => share / Math.max(ordinary.each, 1);
  const right = Math.max(budget, passes, 1);
  const top = Math.max(4, shown * 1.1, chance ? perPass(chance.high) * right : 0);
  const x = (at) => EDGE.left + (at / right) * (WIDE - EDGE.left - EDGE.right);
  const y = (value) => HIGH - EDGE.bottom - (Math.min(value, top) / top) * (HIGH - EDGE.top - EDGE.bottom);
  const text = (value, attributes) => Object.assign(svg("text", attributes), { textContent: value });
  const path = [[0, 0], ...curve].map(([at, value], i) => `${i ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
  const says = `Tries that show the behaviour, by passes spent: ${count(shown)} after ${count(passes)} of ${count(budget)}${chance ? `; prompts at random would show ${number(perPass(chance.value) * passes)}` : ""}`;
  const base = HIGH - EDGE.bottom;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": says },
    svg("line", { class: "axis", x1: EDGE.left, x2: WIDE - EDGE.right, y1: base, y2: base }),
    svg("line", { class: "axis", x1: EDGE.left, x2: EDGE.left, y1: EDGE.top, y2: base }),
    ...(chance ? [
      svg("polygon", { class: "null-band", points: [[0, 0], [right, perPass(chance.high) * right], [right, perPass(chance.low) * right]].map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }),
      svg("line", { class: "null-line", x1: x(0), y1: y(0), x2: x(right), y2: y(perPass(chance.value) * right) })] : []),
    svg("path", { class: "line", d: path }), svg("circle", { cx: x(passes), cy: y(shown), r: 3 }),
    text(count(Math.round(top)), { x: EDGE.left - 5, y: EDGE.top + 4, "text-anchor": "end" }), text("0", { x: EDGE.left - 5, y: base, "text-anchor": "end" }),
    text("0", { x: EDGE.left, y: base + 14 }), text(count(right), { x: WIDE - EDGE.right, y: base + 14, "text-anchor": "end" }),
    text("passes spent", { x: (EDGE.left + WIDE - EDGE.right) / 2, y: HIGH - 4, "text-anchor": "middle" }));
  const caption = `Tries that show the behaviour, by passes spent${chance ? "; grey: what prompts at random would show, with its 95% interval" : ""}.`;
  return el("figure", {}, drawing, el("figcaption", { text: caption }));
}

/**
 * @param {HTMLElement} place
 * @param {any[]} tries
 * @param {{open: (one: any) => void, confirm: (one: any) => void, goTo: (number: number) => void, all: () => void, chosen: number|null, whole: boolean}} actions
 */
export function drawTries(place, tries, { open, confirm, goTo, chosen, whole, all }) {
  if (!tries.length) return place.replaceChildren(el("p", { class: "empty", text: "Nothing that can be judged was tried yet." }));
  const focused = document.activeElement?.dataset?.act;
  const listed = whole ? tries : tries.slice(0, FIRST);
  const more = tries.length - listed.length;
  const rows = listed.flatMap((one) => row(one, { open, confirm, goTo, chosen, here: new Set(listed.map(({ number: n }) => n)) }));
  const head = [["try", "n c-number"], ["prompt", ""], ["reply", ""], ["score", "n c-score"], ["how it was made", "c-how"]].map(([text, style]) => el("th", { scope: "col", class: style || null, text }));
  place.replaceChildren(el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Tries" },
    el("table", { class: "tries" }, el("thead", {}, el("tr", {}, ...head, el("th", { class: "c-acts" }, el("span", { class: "sr", text: "what to do with it" })))), el("tbody", {}, ...rows))),
    more > 0 ? el("button", { type: "button", class: "quiet", "data-act": "all", text: `Show ${count(more)} more`, onclick: all }) : "");
  if (focused) [...place.querySelectorAll("[data-act]")].find((node) => node.dataset.act === focused)?.focus();
}

function row(one, { open, confirm, goTo, chosen, here }) {
  const parents = one.parents.flatMap((parent, i) => [i ? ", " : " from ", here.has(parent) ? el("a", { href: `#try-${parent}`, text: `#${parent}`, onclick: () => goTo(parent) }) : `#${parent}`]);
  const steer = one.steer.map(({ direction, strength }) => el("div", { class: "steer", text: `steered: ${direction} at ${number(strength, 3)}` }));
  if (steer.length && !one.cards) steer.push(el("div", { class: "hint", text: "The Monitor has no card for this: it opens with the prompt alone." }));
  const act = (what, text, action) => el("button", { type: "button", class: "quiet", "data-act": `${what} ${one.number}`, "aria-label": `${text}: try ${one.number}`, text, onclick: () => action(one) });
  const result = one.confirmed;
  const style = [one.shown ? "" : "not", chosen === one.number ? "here" : "", result ? "with" : ""].filter(Boolean).join(" ");
  const main = el("tr", { id: `try-${one.number}`, class: style || null },
    el("td", { class: "n", text: `#${one.number}` }), el("td", { class: "prompt" }, el("span", { class: "text", text: one.prompt })), el("td", { class: "reply" }, one.reply ? el("span", { class: "text", text: one.reply }) : el("span", { class: "hint", text: "nothing was written" })),
    el("td", { class: "n" }, Number.isInteger(one.score) ? count(one.score) : number(one.score, 3), el("div", { class: one.shown ? "mark" : null, text: one.shown === null ? "not judged" : one.shown ? "shows" : "does not" })),
    el("td", { class: "how" }, one.how, ...parents, ...steer),
    el("td", { class: "acts" }, act("open", "Open in the Monitor", open), " ", act("confirm", "Confirm", confirm)));
  if (!result) return [main];
  const said = `At temperature 1, ${shareSaid(result.own)} of its replies show it; of replies to prompts at random ${shareSaid(result.others)}.`;
  return [main, el("tr", { class: "says" }, el("td", {}), el("td", { class: "confirmed", colspan: "5" }, el("b", { text: said }), result.reply ? el("div", {}, "such as ", el("span", { class: "text", text: result.reply })) : ""))];
}

/**
 * The least strength of each direction that brings the behaviour out.
 * @param {any[]} takes
 * @returns {Node|string}
 */
export function takesNode(takes) {
  if (!takes.length) return "";
  return el("div", {}, el("h3", { text: "What it takes" }), el("ul", {}, ...takes.slice(0, 5).map((one) =>
    el("li", { text: `${one.direction} at ${number(one.strength, 3)} (at ${number(one.below, 3)} not yet): ${shareSaid(one.shown)} of the prompts show it` }))));
}

/**
 * The sentence of what a search has found.
 * @param {any} view
 * @returns {string}
 */
export function sentence({ tries, judged, shown, different, passes, ordinary, unusable }) {
  if (!tries) return ordinary ? `Of prompts at random ${shareSaid(ordinary)} show it.` : "";
  const found = shown ? `${count(shown)} of ${counted(judged, "try", "tries")} ${shown === 1 ? "shows" : "show"} the behaviour${different < shown ? `, ${count(different)} of them different prompts` : ""}` : `None of ${counted(judged, "try", "tries")} shows the behaviour`;
  const chance = ordinary ? `; of prompts at random ${shareSaid(ordinary)} do` : "";
  const lost = [tries > judged ? `${count(tries - judged)} could not be judged` : "", unusable ? `${counted(unusable, "proposal")} could not be asked` : ""].filter(Boolean).join(", ");
  return `${found}, after ${counted(passes, "pass", "passes")}${chance}.${lost ? ` ${lost}.` : ""}`;
}
