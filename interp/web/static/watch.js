/** Live readings: what is watched, as a line along the tokens of the text. */
import { byId, el, number, svg } from "./dom.js";
import { now, on, set } from "./state.js";
import { topOf } from "./tokens.js";

const WIDTH = 600, HEIGHT = 36, EDGE = 3;

/**
 * Draws a line for each thing that is watched.
 * @param {Object<string, (...values: any[]) => any>} actions
 */
export function mountReadings(actions) {
  const draw = () => {
    const watched = (now.view?.watched ?? []).map(written);
    byId("readings").hidden = !watched.length;
    byId("sparks").replaceChildren(...watched.map((one, i) => row(one, i, actions)));
  };
  on("view writing", draw);
  on("hover place", mark);
}

/** A reading with what came of it while the model writes. */
function written({ name, values }, i) {
  if (!now.writing) return { name, values };
  const { base, tokens } = now.writing;
  const all = values.slice(0, base);
  for (const { readings } of tokens) if (readings) all[readings.place] = readings.values[i];
  return { name, values: Array.from(all, (value) => value ?? 0) };
}

function row({ name, values }, i, actions) {
  const heat = { values, top: topOf(values), caption: `reading “${name}”` };
  const low = Math.min(0, ...values), high = Math.max(...values, low + 1e-9);
  const readout = el("span", { class: "n readout", text: values.length ? `${number(low)} to ${number(Math.max(...values))}` : "no text yet" });
  const stop = el("button", { type: "button", class: "quiet", text: "✕", "aria-label": `Stop watching ${name}`, onclick: () => actions.unwatch(i) });
  const show = el("button", { type: "button", class: "says", title: "Shows it on the tokens", onclick: () => {} }, el("span", { class: "words", text: name }));
  const node = el("div", { class: "spark", "data-i": i }, el("div", { class: "spark-head" }, show, readout, stop), values.length ? line(values, low, high, name) : "");
  for (const [event, value] of [["pointerenter", heat], ["pointerleave", null]]) node.addEventListener(event, () => set({ heat: value }));
  show.addEventListener("focus", () => set({ heat }));
  show.addEventListener("blur", () => set({ heat: null }));
  Object.assign(node, { values, range: readout.textContent });
  return node;
}

const across = (i, n) => (n < 2 ? WIDTH / 2 : EDGE + (i / (n - 1)) * (WIDTH - 2 * EDGE));

function line(values, low, high, name) {
  const up = (value) => HEIGHT - EDGE - ((value - low) / (high - low)) * (HEIGHT - 2 * EDGE);
  const points = values.map((value, i) => `${across(i, values.length).toFixed(1)},${up(value).toFixed(1)}`).join(" ");
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: ${number(Math.min(...values))} to ${number(Math.max(...values))} along ${values.length} tokens` },
    svg("line", { class: "zero", x1: 0, x2: WIDTH, y1: up(0), y2: up(0) }), svg("polyline", { class: "curve", points }),
    svg("line", { class: "cursor", x1: -9, x2: -9, y1: 0, y2: HEIGHT }));
}

/** Marks the token that is hovered, or else the chosen one, on every line, and says its value. */
function mark() {
  const place = now.hover ?? now.place;
  for (const node of byId("sparks").children) {
    const value = place === null ? undefined : node.values[place];
    const at = value === undefined ? -9 : across(place, node.values.length);
    for (const end of ["x1", "x2"]) node.querySelector(".cursor")?.setAttribute(end, at);
    node.querySelector(".readout").textContent = value === undefined ? node.range : `${number(value)} at ${place}`;
  }
}
