/** What all parts of a feature's page use: which feature, a line of heated tokens, and a job that can be stopped. */
import { events, wasCancelled } from "./api.js";
import { byId, counted, el, number, showError } from "./dom.js";
import { heatClass, lineClass, tokenNode } from "./tokens.js";

/** The feature that the page is of. */
export const feature = { key: byId("feature").dataset.key };

const RADIUS = 14;

/**
 * @param {{tokens: any[], values: number[], peak: number|null, top: number, start?: number, whole?: boolean}} line
 * @returns {HTMLElement} the tokens on one scale, centred on the underlined peak; cut ends open
 */
export function tokenLine({ tokens, values, peak, top, start = 0, whole = false }) {
  const nodes = tokens.map((token, i) => {
    const node = tokenNode(token, token.special ? "" : `${heatClass(Math.max(0, values[i]), top)} ${i === peak ? "peak" : ""}`);
    node.title = `${number(values[i], 3)} · id ${token.id} · position ${start + i}`;
    return node;
  });
  const length = 2 * RADIUS + 1;
  const first = whole || nodes.length <= length ? 0 : Math.min(Math.max(0, (peak ?? 0) - RADIUS), nodes.length - length);
  const last = whole ? nodes.length : Math.min(nodes.length, first + length);
  return el("div", { class: lineClass(tokens) }, ...cut(nodes.slice(0, first)), ...nodes.slice(first, last), ...cut(nodes.slice(last)));
}

function cut(nodes) {
  if (!nodes.length) return [];
  const open = el("button", { type: "button", class: "cut", text: "…", "aria-label": `Show ${counted(nodes.length, "more token")}`, title: counted(nodes.length, "more token") });
  open.addEventListener("click", () => open.replaceWith(...nodes));
  return [open];
}

/**
 * Runs a job of the server, says how far it is, and lets it be stopped.
 * @param {string} what the job's name
 * @param {Object<string, string>} asked
 * @param {string} place the ids `${place}-status`, `${place}-stop` and `${place}-error` exist
 * @param {HTMLButtonElement} button that began it
 * @returns {Promise<any|null>} its result; null where it failed or was stopped, which is said
 */
export async function stream(what, asked, place, button) {
  const status = byId(`${place}-status`), stop = byId(`${place}-stop`), error = byId(`${place}-error`);
  const control = new AbortController();
  const start = performance.now();
  let words = "Asking";
  const say = () => {
    const seconds = (performance.now() - start) / 1000;
    if (seconds > 0.3) status.textContent = `${words} … ${Math.floor(seconds)} s`;
  };
  const tick = setInterval(say, 250);
  showError(error);
  stop.onclick = () => control.abort();
  [button.disabled, stop.hidden] = [true, false];
  try {
    const found = await events(`/api/feature-page/${what}?${new URLSearchParams({ key: feature.key, ...asked })}`, {
      queued: ({ place: before }) => (words = before ? `${counted(before, "request")} before this one` : "Next in line"),
      said: ({ words: doing, amount, seconds_left: left }) => (words = [doing, amount, left > 1 ? `${Math.ceil(left)} s left` : ""].filter(Boolean).join(", ")),
    }, control.signal);
    status.textContent = "";
    return found;
  } catch (cause) {
    status.textContent = wasCancelled(cause) ? "Stopped." : "";
    if (!wasCancelled(cause)) showError(error, cause);
    return null;
  } finally {
    clearInterval(tick);
    [button.disabled, stop.hidden] = [false, true];
  }
}
