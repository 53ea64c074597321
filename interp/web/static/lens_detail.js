/** What is said of one cell of the grid: its tokens, the targets over the layers, and the patchscope. */
import { el, number, probability, svg } from "./dom.js";
import { visible } from "./tokens.js";

const WIDE = 280, HIGH = 110, EDGE = { left: 30, right: 8, top: 8, bottom: 18 };
const word = (text) => el("span", { class: "tokens key" }, ...visible(text));
const nameOf = (name) => (name === "emb" ? "the embedding" : `layer ${name}`);

/**
 * @param {HTMLElement} place
 * @param {any} found
 * @param {[number, number]|null} cell
 * @param {(() => void)|null} onpatch
 */
export function drawCell(place, found, cell, onpatch) {
  if (!cell) return place.replaceChildren(el("p", { class: "empty", text: "Point at a cell for its five likeliest tokens; click it, or press Enter, to ask the model what its state holds." }));
  const row = found.layers.indexOf(cell[0]), at = cell[1];
  const rows = found.top[row][at].map((id, i) => {
    const p = found.p[row][at][i], bar = el("i", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--share", `${p * 100}%`);
    return el("tr", {}, el("td", {}, word(found.texts[id])), el("td", {}, bar), el("td", { class: "n", text: probability(p) }));
  });
  const facts = [`entropy ${number(found.entropy[row][at])} nats`, `KL from the last layer ${number(found.kl[row][at])} nats`,
    ...found.targets.map(({ text, p, rank }) => `“${text.trim()}”: rank ${rank[row][at] + 1}, probability ${probability(p[row][at])}`)];
  place.replaceChildren(el("p", {}, `${nameOf(found.names[row])}, after token ${at} `, word(found.tokens[at].text)),
    el("table", {}, el("caption", { text: `Likeliest next tokens, ${found.lens}` }), el("tbody", {}, ...rows)),
    el("ul", { class: "hint" }, ...facts.map((text) => el("li", { text }))),
    onpatch ? el("button", { type: "button", text: "What does this state hold? (Enter)", onclick: onpatch }) : "");
}

/** @param {HTMLElement} place @param {any} decoded a state first, then its controls */
export function drawScope(place, { target, placeholder, guess, decoded }) {
  const [own, ...controls] = decoded;
  const line = (one, kind) => el("tr", { class: kind },
    el("th", { scope: "row", text: one.what }),
    el("td", {}, ...one.top.slice(0, 3).flatMap(({ text, p }) => [word(text), ` ${probability(p)} `])),
    el("td", {}, word(one.text)), el("td", { class: "n", text: probability(one.of_own) }));
  const best = own.top[0].text.trim();
  place.replaceChildren(
    el("p", { class: guess ? "guess-row" : null }, "It decodes to ", word(own.top[0].text), ` (${probability(own.top[0].p)})`, guess ? ", which a control decodes to, too: " : ".", guess ? el("span", { class: "flag", text: "guess" }) : ""),
    el("table", {}, el("thead", {}, el("tr", {}, ...["put in", "next tokens", "writes"].map((text) => el("th", { scope: "col", text })), el("th", { scope: "col", class: "n", text: `p of “${best}”` }))),
      el("tbody", {}, line(own, guess ? "control" : "own"), ...controls.map((one) => line(one, "control")))),
    el("p", { class: "hint" }, `The state takes the place of the last “${placeholder}” in `, el("span", { class: "key", text: target }), ", at its own layer. Random vectors have its length."));
}

/**
 * @param {HTMLElement} place
 * @param {HTMLElement} said
 * @param {any} answer
 * @param {any} found
 * @param {number} at
 */
export function drawCurves(place, said, answer, found, at) {
  const like = answer.matched ? "the model finds about as likely after neutral texts" : "are drawn at random";
  said.replaceChildren(`After token ${at} `, word(found.tokens[at].text), `, ${found.lens}. Grey: the middle 95% of 20 words that ${like}, such as ${answer.curves[0].like.slice(0, 4).map((text) => `“${text.trim()}”`).join(", ")}.`);
  place.replaceChildren(...answer.curves.map((curve) => figure(curve, found.names)));
}

/** A curve of a target's rank, the likeliest on top, with the band of words like it. */
function figure(curve, names) {
  const most = Math.max(...curve.rank, ...curve.null_rank.flat()) + 1;
  const x = (i) => EDGE.left + (i / Math.max(1, names.length - 1)) * (WIDE - EDGE.left - EDGE.right);
  const y = (rank) => EDGE.top + (Math.log10(1 + rank) / Math.log10(Math.max(10, most))) * (HIGH - EDGE.top - EDGE.bottom);
  const point = (rank, i) => `${x(i).toFixed(1)},${y(rank).toFixed(1)}`;
  const band = [...curve.null_rank.map(([low], i) => point(low, i)), ...curve.null_rank.map(([, high], i) => point(high, i)).reverse()];
  const last = curve.rank.length - 1;
  const says = `“${curve.text.trim()}”: rank ${curve.rank.map((rank) => rank + 1).join(", ")} from the embedding to the last layer`;
  const ticks = [1, 10, 100, 1000, 10000, 100000].filter((rank) => rank <= Math.max(10, most));
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": says },
    ...ticks.flatMap((rank) => [svg("line", { x1: EDGE.left, x2: WIDE - EDGE.right, y1: y(rank - 1), y2: y(rank - 1) }), label(rank < 1000 ? String(rank) : `${rank / 1000}k`, EDGE.left - 4, y(rank - 1) + 3, "end")]),
    svg("polygon", { class: "band", points: band.join(" ") }),
    svg("path", { class: "line", d: `M${curve.rank.map(point).join("L")}` }),
    ...curve.rank.map((rank, i) => dot(x(i), y(rank), `${nameOf(names[i])}: rank ${rank + 1}, probability ${probability(curve.p[i])}; words like it: rank ${number(curve.null_rank[i][0] + 1)} to ${number(curve.null_rank[i][1] + 1)}`)),
    label("emb", x(0), HIGH - 4, "start"), label("layer", (x(0) + x(last)) / 2, HIGH - 4, "middle"), label(names[last], x(last), HIGH - 4, "end"));
  const above = curve.rank.filter((rank, i) => rank < curve.null_rank[i][0]).length;
  const beside = above ? `above the grey in ${above} of ${names.length} rows` : "";
  return el("figure", { class: above ? "along" : "along guess" },
    el("figcaption", {}, el("span", {}, "rank of ", word(curve.text), " ", above ? "" : el("span", { class: "flag", title: "No row ranks it above words like it", text: "guess" })), el("span", { class: "n", text: `at the end ${curve.rank[last] + 1}, p ${probability(curve.p[last])}` })),
    drawing, el("p", { class: "hint", text: beside || "in no row above words like it" }));
}

function dot(cx, cy, text) {
  const title = svg("title");
  title.textContent = text;
  return svg("circle", { cx, cy, r: 2.6 }, title);
}

function label(text, x, y, anchor) {
  const node = svg("text", { x, y, "text-anchor": anchor });
  node.textContent = text;
  return node;
}
