/** Cosines between vectors as a table, and texts along vectors as lines and heat. */
import { el, number, svg } from "./dom.js";
import { heatClass, heatLegend, lineClass, tokenNode, topOf } from "./tokens.js";

const WIDE = 600, HIGH = 40, EDGE = 3;

/**
 * @param {HTMLElement} place
 * @param {any[]} sites
 * @param {(file: string) => string} calledOf
 */
export function drawAlike(place, sites, calledOf) {
  if (!sites.length) return place.replaceChildren(el("p", { class: "empty", text: "The vectors of the mixture are of different sites: only those of one site can be compared." }));
  place.replaceChildren(...sites.map(({ site, names, cosines, null: level, null_activations: varied }) => {
    const limit = Math.max(level, varied ?? 0), called = names.map(calledOf);
    const rows = called.map((name, i) => el("tr", {}, el("th", { scope: "row", text: name }), ...cosines[i].map((value, j) => el("td", { class: i === j ? "below" : Math.abs(value) <= limit ? "below" : heatClass(value, 1) || null, text: number(value) }))));
    const also = varied === null ? "" : `, two that vary as activations there do under ${number(varied)}`;
    return el("div", {}, el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Cosines at ${site}` }, el("table", { class: "cosines" }, el("caption", { text: `Cosine at ${site}` }), el("thead", {}, el("tr", {}, el("th"), ...called.map((text) => el("th", { scope: "col", text })))), el("tbody", {}, ...rows))),
      el("p", { class: "hint", text: `In 95% of pairs two random directions stay under ${number(level)} in size${also}: what is not above is grey, and no more than chance.` }));
  }));
}

/**
 * @param {HTMLElement} place
 * @param {{tokens: any[], rows: any[]}} answer
 * @param {(file: string) => string} calledOf
 */
export function drawAlong(place, { tokens, rows }, calledOf) {
  place.replaceChildren(...rows.map(({ file, values, null: level }) => {
    const name = calledOf(file), inside = values.map((value, i) => Math.abs(value) <= level[i]);
    const counted = values.filter((_, i) => !tokens[i].special); // a first token's activation is often far longer than all others
    const top = topOf(counted.length ? counted : values);
    const nodes = tokens.map((token, i) => {
      const node = tokenNode({ ...token, p: null }, inside[i] ? "faint" : heatClass(values[i], top));
      node.title = `${number(values[i])}; random directions ±${number(level[i])}`;
      return node;
    });
    return el("div", { class: "along-row" }, el("h3", { text: name }), line(values, level, top, name), el("div", { class: lineClass(tokens) }, ...nodes),
      heatLegend({ values, top, caption: "activation along the unit vector" }));
  }), el("p", { class: "hint", text: "Grey: what a random direction gives at that token in 95% of draws; tokens within it are not coloured." }));
}

function line(values, level, top, name) {
  const full = Math.max(top, 1e-9) * 1.1, clipped = (value) => Math.min(full, Math.max(-full, value));
  const across = (i) => (values.length < 2 ? WIDE / 2 : EDGE + (i / (values.length - 1)) * (WIDE - 2 * EDGE));
  const up = (value) => HIGH / 2 - (clipped(value) / full) * (HIGH / 2 - EDGE);
  const point = (value, i) => `${across(i).toFixed(1)},${up(value).toFixed(1)}`;
  const band = [...level.map(point), ...level.map((value, i) => point(-value, i)).reverse()];
  return svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${number(Math.min(...values))} to ${number(Math.max(...values))} along ${values.length} tokens` },
    svg("polygon", { class: "band", points: band.join(" ") }), svg("line", { class: "zero", x1: 0, x2: WIDE, y1: up(0), y2: up(0) }), svg("polyline", { class: "curve", points: values.map(point).join(" ") }));
}
