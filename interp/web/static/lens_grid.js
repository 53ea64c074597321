/** The grid of a lens: a table whose cells the arrow keys move through, and its colours. */
import { el, number, probability } from "./dom.js";
import { heatClass, heatLegend, topOf, visible } from "./tokens.js";

const FAINTEST_RANK = 99;

/** @param {any} found as the server sends it @returns {[string, string][]} what may colour the cells */
export function heatChoices(found) {
  const of = (name, what) => found.targets.map(({ text }, i) => [`${name}${i}`, `${what} of “${text.trim()}”`]);
  return [["top", "probability of the likeliest"], ...of("p", "probability"), ...of("r", "rank"), ["entropy", "entropy"], ["kl", "KL to the last layer"]];
}

/** The heat of each cell, full at `top`, and what it is. */
function heatOf(found, heat) {
  const target = found.targets[Number(heat.slice(1))];
  if (heat === "entropy" || heat === "kl") {
    const values = found[heat];
    const caption = heat === "kl" ? "nats: KL(last layer || this layer)" : "nats: entropy of the prediction";
    return { of: (row, place) => values[row][place], top: topOf(values.flat()), caption };
  }
  if (target && heat[0] === "p") return { of: (row, place) => target.p[row][place], top: 1, caption: `probability of “${target.text.trim()}”` };
  if (target && heat[0] === "r") {
    const full = Math.log10(1 + FAINTEST_RANK);
    return { of: (row, place) => Math.max(0, full - Math.log10(1 + target.rank[row][place])), top: full, caption: "", ranks: target };
  }
  return { of: (row, place) => found.p[row][place][0], top: 1, caption: "probability of the likeliest next token" };
}

/**
 * Draws the grid, the last layer on top as in the figures.
 * @param {HTMLElement} box
 * @param {HTMLElement} legend
 * @param {any} found
 * @param {string} heat
 * @param {[number, number]|null} cell
 */
export function drawGrid(box, legend, found, heat, cell) {
  const { of, top, caption, ranks } = heatOf(found, heat);
  const head = el("tr", {}, el("th", { scope: "col", text: "layer" }), ...found.tokens.map((token) => el("th", { scope: "col", class: token.special ? "special" : null, title: `token ${token.id}` }, ...(token.special ? [token.text] : visible(token.text)))));
  const rows = found.names.map((name, row) => {
    const cells = found.tokens.map((_, place) => {
      const text = ranks ? String(ranks.rank[row][place] + 1) : found.texts[found.top[row][place][0]];
      const node = el("td", { role: "gridcell", tabindex: "-1", "aria-selected": "false", class: heatClass(of(row, place), top) || null, "data-layer": found.layers[row], "data-place": place, title: hover(found, row, place) });
      node.append(...(ranks ? [text] : visible(text)));
      return node;
    });
    return el("tr", {}, el("th", { scope: "row", text: name }), ...cells);
  });
  const label = `Likeliest next token by layer (rows, the last on top) and token (columns); ${found.lens}`;
  box.replaceChildren(el("table", { role: "grid", "aria-label": label }, el("thead", {}, head), el("tbody", {}, ...rows.reverse())));
  legend.replaceChildren(ranks ? rankLegend() : heatLegend({ values: [], top, caption }));
  mark(box, cell, false);
}

const rankLegend = () => el("span", { class: "legend" }, el("span", { text: `rank over ${FAINTEST_RANK}` }), ...["", "p2", "p4", "p6", "p8"].map((name) => el("i", { class: name || null })), el("span", { text: "1" }), el("span", { class: "caption", text: "rank, 1 is the likeliest" }));

function hover(found, row, place) {
  const lines = found.top[row][place].map((id, i) => `${found.texts[id]} ${probability(found.p[row][place][i])}`);
  lines.push(`entropy ${number(found.entropy[row][place])} nats`, `KL ${number(found.kl[row][place])} nats`);
  return [...lines, ...found.targets.map(({ text, rank }) => `${text.trim()}: rank ${rank[row][place] + 1}`)].join("\n");
}

/**
 * Marks the chosen cell; without one the first cell of the last token's column takes the focus of Tab.
 * @param {HTMLElement} box
 * @param {[number, number]|null} cell
 * @param {boolean} focus
 */
export function mark(box, cell, focus) {
  for (const node of box.querySelectorAll("td[tabindex='0']")) Object.assign(node, { tabIndex: -1 }).setAttribute("aria-selected", "false");
  const cells = box.querySelectorAll("td");
  const node = cell ? box.querySelector(`td[data-layer="${cell[0]}"][data-place="${cell[1]}"]`) : cells[box.querySelectorAll("thead th").length - 2];
  if (!node) return;
  node.tabIndex = 0;
  if (!cell) return;
  node.setAttribute("aria-selected", "true");
  if (focus) node.focus({ preventScroll: true });
  node.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** @param {any} found @param {[number, number]} cell @param {string} key @returns {[number, number]|null} the cell that a key leads to */
export function moved(found, [layer, place], key) {
  const last = found.tokens.length - 1;
  const by = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -last], End: [0, last], PageUp: [found.layers.length, 0], PageDown: [-found.layers.length, 0] }[key];
  if (!by) return null;
  const row = Math.min(found.layers.length - 1, Math.max(0, found.layers.indexOf(layer) + by[0]));
  return [found.layers[row], Math.min(last, Math.max(0, place + by[1]))];
}
