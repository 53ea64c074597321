/** Writing an answer: its tokens as they come, the place in the queue, and stopping. */
import { events, get, wasCancelled } from "./api.js";
import { byId, counted, showError } from "./dom.js";
import { now, set, tell } from "./state.js";

const path = (what = "") => `/api/sessions/${encodeURIComponent(now.session)}${what}`;
const status = (text) => (byId("status").textContent = text);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Where in the text the answer that is about to be written begins. */
function baseOf(mode, { turn, place }) {
  const spans = now.view.turns.filter((one) => one.span);
  const all = now.view.tokens.length;
  if (mode === "regenerate") return spans.at(-1)?.span[0] ?? all;
  if (mode === "fork") return (spans.find((one) => one.turn === turn)?.span[0] ?? all) + place;
  return all;
}

/** Says to a screen reader what is written, some words at a time. */
function speaker() {
  let waiting = "";
  const flush = () => {
    if (waiting) byId("log").append(`${waiting} `);
    waiting = "";
  };
  byId("log").replaceChildren();
  const timer = setInterval(flush, 1500);
  return { add: (text) => (waiting += /^\s/.test(text) ? text : ` ${text}`), end: () => (clearInterval(timer), flush()) };
}

/**
 * Writes on the server; draws each token as it comes.
 * @param {"write"|"regenerate"|"fork"} mode
 * @param {(view: any) => void} show what is called with the view at the end
 * @param {{text?: string, turn?: number, place?: number, token?: number}} [at] where a fork is
 * @param {(heard: boolean) => void} [heard] is told whether a text that is given was said
 * @param {any} [given] the token that a fork begins with, which the server does not send
 */
export async function write(mode, show, at = {}, given = null, heard = () => {}) {
  if (now.writing || !now.view) return heard(false);
  const { session } = now;
  const byKeys = document.activeElement?.matches(".turn :focus-visible, .popover :focus-visible");
  const controller = new AbortController(), speak = speaker();
  const writing = { base: baseOf(mode, at), controller, tokens: [], note: "Reading the text …" };
  let seen = 0, whole = false;
  const token = (one) => {
    if (seen === 0 && one.p === null) whole = true; // the text's own first token: all of the text comes
    seen += 1;
    if (whole && seen <= writing.base) return;
    if (given && !whole && !writing.tokens.length && one.place !== at.place) writing.tokens.push(given);
    writing.tokens.push(one);
    speak.add(one.text);
    if (now.writing === writing) tell("writing");
  };
  const said = (view) => {
    Object.assign(writing, { base: view.tokens.length, drawn: false });
    show(view);
    tell("writing");
    heard(true);
  };
  const queued = ({ place }) => {
    writing.note = place > 0 ? `Waiting: ${counted(place, "request")} before yours` : "Reading the text …";
    if (now.writing === writing) tell("writing");
  };
  showError(byId("talk-error"));
  set({ writing, heat: null });
  const finish = (view, said) => {
    if (now.session !== session) return;
    now.writing = null;
    if (view) show(view);
    tell("writing");
    if (byKeys && document.activeElement === document.body) byId(`token-${writing.base}`)?.focus({ preventScroll: true });
    status(said);
  };
  try {
    const view = await events(path("/write"), { token, queued, said }, controller.signal, { mode, ...at });
    finish(view, `${counted(writing.tokens.length, "token")} written`);
  } catch (cause) {
    if (wasCancelled(cause)) finish(await kept(session), "Stopped; what was written is kept");
    else {
      finish(await get(`/api/sessions/${encodeURIComponent(session)}`).catch(() => null), "");
      showError(byId("talk-error"), cause);
    }
  } finally {
    heard(false);
    speak.end();
  }
}

/** Stops what is being written; what stands there is kept. */
export function stop() {
  now.writing?.controller.abort();
}

/** The view after a stop: the server keeps what was written a moment after the connection closes. */
async function kept(session) {
  const before = now.view.state.conversation.turns.length;
  let view = null;
  for (let tries = 0; tries < 6; tries += 1) {
    await pause(200);
    view = await get(`/api/sessions/${encodeURIComponent(session)}`).catch(() => null);
    if (view && view.state.conversation.turns.length > before) break;
  }
  return view;
}
