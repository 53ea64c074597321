/** Curves of a run as small SVG drawings, and times in words. */
import { count, el, number, svg } from "./dom.js";

const WIDE = 320;
const HIGH = 96;
const EDGE = { left: 6, right: 6, top: 8, bottom: 18 };

/** @param {number} seconds @returns {string} "8 s", "2 min 05 s", "1 h 02 min" */
export function clock(seconds) {
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/**
 * @param {{step: string, name: string, unit: string, n: number, points: [number, number][]}} curve
 * @returns {HTMLElement}
 */
export function curveNode(curve) {
  const { points } = curve;
  const xs = points.map(([at]) => at);
  const ys = points.map(([, value]) => value);
  const ends = { x: [Math.min(...xs), Math.max(...xs)], y: [Math.min(...ys), Math.max(...ys)] };
  const place = (value, [low, high], from, to) => (high > low ? from + ((value - low) / (high - low)) * (to - from) : (from + to) / 2);
  const x = (at) => place(at, ends.x, EDGE.left, WIDE - EDGE.right);
  const y = (value) => place(value, ends.y, HIGH - EDGE.bottom, EDGE.top);
  const path = points.map(([at, value], i) => `${i ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
  const [lastAt, last] = points.at(-1);
  const says = `${curve.name} of the step ${curve.step}: ${number(ys[0], 3)} at ${count(xs[0])}, ${number(last, 3)} at ${count(lastAt)}, between ${number(ends.y[0], 3)} and ${number(ends.y[1], 3)}`;
  const text = (value, attributes) => {
    const node = svg("text", attributes);
    node.textContent = value;
    return node;
  };
  const title = svg("title");
  title.textContent = says;
  const base = HIGH - EDGE.bottom;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": says },
    title,
    svg("line", { x1: EDGE.left, x2: WIDE - EDGE.right, y1: base + 2, y2: base + 2 }),
    svg("path", { d: path }),
    svg("circle", { cx: x(lastAt), cy: y(last), r: 2.5 }),
    text(count(ends.x[0]), { x: EDGE.left, y: HIGH - 3 }),
    text(curve.step, { x: WIDE / 2, y: HIGH - 3, "text-anchor": "middle" }),
    text(count(ends.x[1]), { x: WIDE - EDGE.right, y: HIGH - 3, "text-anchor": "end" }),
  );
  const unit = curve.unit && curve.unit !== "count" ? ` (${curve.unit})` : "";
  const range = `${number(ends.y[0], 3)} to ${number(ends.y[1], 3)}, now ${number(last, 3)}`;
  return el("figure", { class: "curve" }, el("figcaption", {}, el("span", { text: `${curve.name}${unit}` }), el("span", { class: "n", text: range })), drawing);
}
