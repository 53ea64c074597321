/** What stands beside the drawing: the curve of faithfulness, bars of logits, a node, and the pairs. */
import { count, counted, el, number, svg } from "./dom.js";
import { heatClass, lineClass, tokenNode, topOf } from "./tokens.js";

const W = 380, H = 170, LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 30;
const titled = (words) => Object.assign(svg("title"), { textContent: words });
const texted = (words, attributes) => Object.assign(svg("text", attributes), { textContent: words });

/** @param {[number, number|null, number|null]} estimate @returns {string} "0.96 (0.93 to 0.98)" */
export function estimated([value, low, high]) {
  return low === null || low === undefined || high === null ? number(value) : `${number(value)} (${number(low)} to ${number(high)})`;
}

const ROUNDED = 1e-3; // of shares
const rounded = (value) => (value === null || value === undefined ? null : Math.round(value / ROUNDED) * ROUNDED);
const of = (row, name) => [row[name], row[`${name}_low`], row[`${name}_high`]].map(rounded);

/** @param {any} found @param {number} size @returns {string} what was measured at a size */
export function saidOfSize(found, size) {
  const row = found.curve.find(({ edges }) => edges === size);
  if (!row) return `${counted(size, "edge")} of ${count(found.n_edges)} with the largest scores. One pair alone has no interval, so faithfulness is not measured: give ${found.fewest} pairs or more.`;
  const useful = row.kept < size ? `, of which ${count(row.kept)} lead from the input to the logits` : "";
  return `${counted(size, "edge")} of ${count(found.n_edges)}${useful}: faithfulness ${estimated(of(row, "faithfulness"))}; random circuits of that many ${estimated(of(row, "random"))}.`;
}

/**
 * @param {any} found
 * @param {number} size that is marked
 * @returns {SVGElement|string} faithfulness by size, with intervals, and that of random circuits
 */
export function curve(found, size) {
  if (!found.curve.length) return "";
  const across = (edges) => LEFT + (Math.log(edges) / Math.log(found.n_edges)) * (W - LEFT - RIGHT);
  const [low, high] = [-0.25, 1.25];
  const up = (y) => TOP + ((high - Math.min(high, Math.max(low, y))) / (high - low)) * (H - TOP - BOTTOM);
  const path = (name) => found.curve.map((row, i) => `${i ? "L" : "M"}${across(row.edges).toFixed(1)},${up(row[name]).toFixed(1)}`).join("");
  const band = (name) => `${path(`${name}_high`)}L${found.curve.toReversed().map((row) => `${across(row.edges).toFixed(1)},${up(row[`${name}_low`]).toFixed(1)}`).join("L")}Z`;
  const ticks = [1, 10, 100, 1000, 10_000, 100_000].filter((n) => n <= found.n_edges);
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Faithfulness by the number of edges; the numbers of each size are said when it is chosen above" },
    ...[0, 0.5, 1].flatMap((y) => [svg("line", { class: "grid-line", x1: LEFT, x2: W - RIGHT, y1: up(y), y2: up(y) }), texted(number(y), { x: LEFT - 6, y: up(y) + 4, "text-anchor": "end" })]),
    svg("line", { class: "level", x1: LEFT, x2: W - RIGHT, y1: up(found.level), y2: up(found.level) }),
    ...ticks.map((n) => texted(count(n), { x: across(n), y: H - BOTTOM + 14, "text-anchor": "middle" })),
    texted("edges kept", { x: W - RIGHT, y: H - 2, "text-anchor": "end" }),
    svg("path", { class: "null-band", d: band("random") }), svg("path", { class: "null-line", d: path("random") }),
    svg("path", { class: "band", d: band("faithfulness") }), svg("path", { class: "line", d: path("faithfulness") }),
    ...found.curve.map((row) => svg("circle", { class: row.edges === size ? "here" : "", cx: across(row.edges), cy: up(row.faithfulness), r: row.edges === size ? 4.5 : 2.5 }, titled(saidOfSize(found, row.edges)))));
}

/**
 * Bars of numbers before and after.
 * @param {{name: string, before: number, after: number, predicted?: number, said: string}[]} rows
 * @returns {HTMLElement}
 */
export function bars(rows) {
  const all = rows.flatMap(({ before, after, predicted }) => [before, after, predicted ?? 0]);
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const left = 96, right = 46, each = 46;
  const across = (value) => left + ((value - low) / (high - low || 1)) * (W - left - right);
  const bar = (name, value, y) => [
    svg("rect", { class: name, x: Math.min(across(0), across(value)), y, width: Math.max(1, Math.abs(across(value) - across(0))), height: 12 }, titled(`${name}: ${number(value, 3)}`)),
    texted(number(value, 3), { x: W - 2, y: y + 10.5, "text-anchor": "end" }),
  ];
  const drawn = rows.flatMap(({ name, before, after, predicted, said }, i) => [
    texted(name.length > 14 ? `${name.slice(0, 13)}…` : name, { x: 0, y: i * each + 14 }), texted(said, { class: "said", x: 0, y: i * each + 29 }),
    ...bar("before", before, i * each + 4), ...bar("after", after, i * each + 18),
    ...(predicted === undefined ? [] : [svg("rect", { class: "predicted", x: Math.min(across(0), across(predicted)), y: i * each + 18, width: Math.max(1, Math.abs(across(predicted) - across(0))), height: 12 }, titled(`the graph says ${number(predicted, 3)}`))]),
  ]);
  const height = rows.length * each;
  return el("div", { class: "bars" }, svg("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": rows.map(({ name, before, after }) => `${name}: ${number(before, 3)} before, ${number(after, 3)} after`).join("; ") },
    ...drawn, svg("line", { class: "zero", x1: across(0), x2: across(0), y1: 0, y2: height })));
}

/** @param {string} text @returns {HTMLElement} */
export const flag = (text) => el("span", { class: "flag", text });

/**
 * Edges in a table, the largest first.
 * @param {string} caption @param {{name: string, score: number|null}[]} edges @param {number} [most]
 */
export function edgeTable(caption, edges, most = 6) {
  if (!edges.length) return el("p", { class: "hint", text: `${caption}: none.` });
  const sorted = [...edges].sort((one, other) => Math.abs(other.score) - Math.abs(one.score)).slice(0, most);
  const rest = edges.length > most ? `, the largest ${most} of ${count(edges.length)}` : "";
  return el("table", {}, el("caption", { text: `${caption}${rest}` }),
    el("tbody", {}, ...sorted.map(({ name, score }) => el("tr", {}, el("td", { class: "key-row", text: name }), el("td", { class: "n", text: number(score, 3) })))));
}

/** Tokens of the first pair, heated by what a node reads there. */
export function readTokens({ tokens, scores, kind }) {
  const top = topOf(scores);
  const best = scores.reduce((at, score, i) => (Math.abs(score) > Math.abs(scores[at]) ? i : at), 0);
  const what = kind === "head" ? "values" : "input";
  const said = top ? `On the first pair its ${what} matter most at “${tokens[best].text.trim()}” (${number(scores[best], 3)}); coloured is the score of the edges into them, by token.` : `On the first pair its ${what} do not differ.`;
  const nodes = tokens.map((token, i) => {
    const node = tokenNode(token, token.special ? "" : heatClass(scores[i], top));
    node.title = `${number(scores[i], 3)}${token.instead === token.text ? "" : `; in the corrupted prompt “${token.instead.trim()}”`}`;
    return node;
  });
  return [el("p", { class: "hint", text: said }), el("div", { class: lineClass(tokens) }, ...nodes)];
}

/** @param {any[]} neurons @param {boolean} served whether they have a page @returns {HTMLElement} */
export function neuronTable(neurons, served) {
  return el("table", {}, el("caption", { text: "Its neurons with the largest scores (attribution patching, on the pairs chosen on)" }),
    el("tbody", {}, ...neurons.map((one) => el("tr", { class: one.guess ? "guess-row" : "" },
      el("td", { class: "key-row" }, served ? el("a", { href: `/feature/${one.key}`, text: one.key }) : one.key),
      el("td", {}, one.short || one.description || "not described", " ", one.description && one.guess ? flag("a guess") : null),
      el("td", { class: "n", text: number(one.effect, 3) })))));
}

/** @param {any} found @returns {Node[]} what was asked, and the first pairs */
export function about(found) {
  const { metric } = found;
  const halves = found.alike ? `All ${counted(found.n_report, "pair")} are both chosen on and measured on, so what is measured is too high: with ${found.fewest} pairs or more they are divided.`
    : `Edges and the size are chosen on ${counted(found.n_choose, "pair")}; faithfulness is measured on ${found.n_report} others.`;
  const values = metric.clean === undefined ? "" : ` The ${metric.name.replace("_", " ")} is ${number(metric.clean, 3)} on the clean prompts and ${number(metric.corrupted, 3)} with everything corrupted.`;
  return [el("p", { text: halves + values }),
    el("ul", { class: "examples" }, ...found.examples.map((one) => el("li", {}, el("span", { class: "key", text: one.clean }), ` → ${one.answers.join(" | ")}, not ${one.distractors.join(" | ")}; corrupted: `, el("span", { class: "key", text: one.corrupted }))))];
}
