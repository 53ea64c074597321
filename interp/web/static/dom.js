/** Building nodes and writing numbers. What comes from people or models goes in as text only. */

/**
 * Makes an element.
 * @param {string} tag
 * @param {Object<string, any>} [attributes] `text` is its text, `onX` a listener; false and null leave one out.
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/**
 * Makes an SVG element.
 * @param {string} tag
 * @param {Object<string, string|number>} attributes
 * @param {...Node} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** @param {string} id @returns {HTMLElement} the element of the page with this id */
export const byId = (id) => document.getElementById(id);

/**
 * A number with a few significant digits and a true minus sign.
 * @param {number|null|undefined} value
 * @param {number} [digits]
 * @returns {string}
 */
export function number(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  value = Number(value.toPrecision(digits)); // 0.0996 has as many places as 0.10
  const size = Math.abs(value);
  let text;
  if (size < 1e-3 || size >= 1e6) {
    const [base, power] = value.toExponential(digits - 1).split("e");
    text = `${base}e${Number(power)}`;
  } else text = value.toFixed(Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
  return text.replaceAll("-", "−");
}

/** @param {number} value @returns {string} a whole number with commas between thousands */
export const count = (value) => value.toLocaleString("en");

/** @param {number} value @returns {string} a share as a percentage */
export function percent(value) {
  const share = value * 100;
  return `${share !== 0 && Math.abs(share) < 0.95 ? number(share, 1) : String(Math.round(share)).replace("-", "−")}%`;
}

/** @param {number|null} p @returns {string} a probability: three digits after the point, or a power of ten */
export const probability = (p) => (p === null || p === undefined ? "–" : p >= 0.001 ? p.toFixed(3) : number(p, 1));

/** @param {number} n @param {string} one @param {string} [many] @returns {string} "1 token", "2 tokens" */
export const counted = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/**
 * Shows an error in the place beside what caused it, or empties that place.
 * @param {HTMLElement} place
 * @param {any} [error] an ApiError, any other error, or nothing
 */
export function showError(place, error) {
  place.replaceChildren();
  place.hidden = !error;
  if (!error) return;
  const where = error.place ? ` (${error.place})` : "";
  place.append(el("b", { text: `${error.thing ?? error.message}${where}.` }));
  if (error.fix) place.append(` To mend it: ${error.fix}.`);
}

/**
 * Runs something slow; says what it does if it takes more than 300 ms, then the seconds.
 * @template T
 * @param {HTMLElement} place where it is said
 * @param {string} what such as "reading the features"
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function saying(place, what, work) {
  const start = performance.now();
  const mine = {};
  place.saying = mine;
  let before = null;
  const tick = setInterval(() => {
    const seconds = (performance.now() - start) / 1000;
    if (seconds < 0.3 || place.saying !== mine) return;
    before ??= place.textContent;
    place.textContent = seconds < 2 ? `${what} …` : `${what} … ${Math.floor(seconds)} s`;
  }, 150);
  try {
    return await work();
  } finally {
    clearInterval(tick);
    if (place.saying === mine && before !== null) place.textContent = "";
  }
}
