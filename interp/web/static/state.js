/** What the page knows: the server's view, what is selected, and what is drawn on the tokens. */

/**
 * @typedef {Object} Heat values along the tokens, full colour at `top`
 * @property {number[]} values
 * @property {number} top
 * @property {string} caption
 */

/** @type {{session: string|null, view: any, place: number|null, range: [number, number]|null, heat: Heat|null, writing: any, hover: number|null, anchor: number|null}} */
export const now = { session: null, view: null, place: null, range: null, heat: null, writing: null, hover: null, anchor: null };

const listeners = new Map();

/**
 * Calls `listener` after any of these parts of `now` changed.
 * @param {string} names such as "view place"
 * @param {() => void} listener
 */
export function on(names, listener) {
  for (const name of names.split(" ")) listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}

/**
 * Changes parts of `now` and tells those who listen, each once.
 * @param {Partial<typeof now>} changes
 */
export function set(changes) {
  const told = new Set();
  for (const [name, value] of Object.entries(changes)) {
    if (now[name] === value) continue;
    now[name] = value;
    for (const listener of listeners.get(name) ?? []) told.add(listener);
  }
  for (const listener of told) listener();
}

/** Tells those who listen that something inside this part of `now` changed. @param {string} name */
export function tell(name) {
  for (const listener of listeners.get(name) ?? []) listener();
}

/** @returns {string} the address of what is shown: the session as path, the selection as hash */
export function address() {
  const hash = new URLSearchParams();
  if (now.place !== null) hash.set("token", now.place);
  if (now.range) hash.set("range", now.range.join("-"));
  return `/monitor/${encodeURIComponent(now.session)}${hash.size ? `#${hash}` : ""}`;
}

/** @returns {{session: string|null, place: number|null, range: [number, number]|null}} what the address says */
export function addressed() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const path = /^\/monitor\/([^/]+)/.exec(location.pathname);
  const range = /^(\d+)-(\d+)$/.exec(hash.get("range") ?? "");
  const place = /^\d+$/.test(hash.get("token") ?? "") ? Number(hash.get("token")) : null;
  const session = path ? decodeURIComponent(path[1]) : hash.get("session");
  return { session, place, range: range ? [Number(range[1]), Number(range[2])] : null };
}

/** Puts what is shown into the address; `new` sessions make a step of the browser's history. */
export function keepAddress() {
  if (!now.session) return;
  const next = address();
  if (next === location.pathname + location.hash) return;
  const same = location.pathname === next.split("#")[0];
  history[same || addressed().session === null ? "replaceState" : "pushState"](null, "", next);
}

/** Keeps the state in this tab, so that it can be restored when the server has forgotten the session. */
export function remember() {
  try {
    sessionStorage.setItem(`monitor:${now.session}`, JSON.stringify(now.view.state));
  } catch {
    // a private window may refuse: then only the server remembers
  }
}

/** @param {string} session @returns {object|null} the state that this tab remembers */
export function remembered(session) {
  try {
    return JSON.parse(sessionStorage.getItem(`monitor:${session}`));
  } catch {
    return null;
  }
}
