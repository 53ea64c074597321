/** The page of the Monitor: opens a session, and joins what is said with what is drawn. */
import { get, post } from "./api.js";
import { forgetComparison, mountCompare } from "./compare.js";
import { mountConversation, tokenAt } from "./conversation.js";
import { byId, count, el, saying, showError } from "./dom.js";
import { addressed, keepAddress, now, on, remember, remembered, set, tell } from "./state.js";
import { mountSteering } from "./steering.js";
import { mountStories } from "./presets.js";
import { mountReadings } from "./watch.js";
import { mountWhy } from "./why.js";
import { stop, write } from "./write.js";

const about = document.body.dataset;
const spaces = (about.spaces ?? "").split(" ").filter(Boolean);
const path = (what) => `/api/sessions/${encodeURIComponent(now.session)}${what}`;

let last = Promise.resolve(true);

/**
 * Sends a change after those before it, and shows the view that it gives, or the error beside what caused it.
 * @param {string} what
 * @param {() => object} [body] what is sent, made when the changes before are known
 * @param {HTMLElement} [place] for an error
 * @param {HTMLElement} [said] for what is being done
 * @returns {Promise<boolean>} whether it worked
 */
function change(what, body = () => ({}), place = byId("talk-error"), said = byId("status")) {
  last = last.then(() => changed(what, body, place, said));
  return last;
}

async function changed(what, body, place, said) {
  const { session } = now;
  showError(place);
  try {
    const view = await saying(said, "Reading the text", () => post(path(what), body()));
    if (session === now.session) show(view);
    return true;
  } catch (cause) {
    showError(place, cause);
    return false;
  }
}

function show(view) {
  const { place, range, view: old } = now;
  const same = place !== null && (!old || old.tokens[place]?.id === view.tokens[place]?.id);
  set({ view, place: same ? place : null, range: range && range[1] < view.tokens.length ? range : null, heat: null });
}

const actions = {
  async say(text, system) {
    if (system && !(await change("/say", () => ({ text: system, role: "system" })))) return false;
    return new Promise((resolve) => write("write", show, { text }, null, resolve));
  },
  async edit({ turn, role }, text) {
    show(await post(path("/edit"), { turn, text }));
    if (role === "user") write("write", show);
  },
  show: (turn) => change("/show", () => ({ turn })),
  write: () => write("write", show),
  regenerate: () => write("regenerate", show),
  fork({ turn, place, alternatives }, other) {
    const given = { ...other, special: false, alternatives, turn: null, place: null };
    return write("fork", show, { turn, place, token: other.id }, given);
  },
  stop,
  changeCards: (next, place = byId("cards-error")) => change("/cards", () => ({ cards: next(now.view.state.cards) }), place, byId("cards-status")),
  addCard: (card) => {
    const whole = { kind: "features", tail: 1e-5, only_same_sign: false, where: "all", on: true, ...card };
    byId("steer").scrollIntoView({ block: "nearest" });
    return actions.changeCards((cards) => [...cards, whole]);
  },
  async addConcept(concept, k, strength, place) {
    try {
      const { card } = await post(path("/card"), { concept, k, strength });
      return await actions.changeCards((cards) => [...cards, card], place);
    } catch (cause) {
      showError(place, cause);
      return false;
    }
  },
  watch: (name, features) => change("/watches", () => ({ watches: [...now.view.state.watches, { name, features }] }), readingsError()),
  unwatch: (i) => change("/watches", () => ({ watches: now.view.state.watches.filter((_, j) => j !== i) }), readingsError()),
};

/** The place for errors of readings; it is shown although nothing is watched yet. */
function readingsError() {
  byId("readings").hidden = false;
  return byId("readings-error");
}

async function open(session) {
  const place = byId("talk-error");
  showError(place);
  forgetComparison();
  const { place: token, range } = addressed();
  try {
    const view = await get(`/api/sessions/${encodeURIComponent(session)}`);
    set({ session, view: null, place: null, range: null, heat: null });
    show(view);
    select(token, range);
    if (now.place !== null) tokenAt(now.place)?.scrollIntoView({ block: "nearest" });
  } catch (cause) {
    showError(place, cause);
    offer(session, place);
    byId("turns").replaceChildren();
  }
}

/** Selects what an address says, as far as the text has it. */
function select(place, range) {
  const n = now.view.tokens.length;
  set({ place: place !== null && place < n ? place : null, range: range && range[0] <= range[1] && range[1] < n ? range : null });
}

/** Offers to go on with what this tab remembers of a session that the server no longer has. */
function offer(session, place) {
  const state = remembered(session);
  const button = state
    ? el("button", { type: "button", text: "Restore it from this tab", onclick: () => begin({ state }) })
    : el("button", { type: "button", text: "Start a new session", onclick: () => begin({}) });
  place.append(el("div", { class: "rowed" }, button));
}

async function begin(body) {
  const place = byId("talk-error");
  showError(place);
  forgetComparison();
  stop();
  try {
    const { session, view } = await post("/api/sessions", body);
    set({ session, view: null, place: null, range: null, heat: null });
    show(view);
    byId("say").focus({ preventScroll: true });
  } catch (cause) {
    showError(place, cause);
  }
}

function drawRail() {
  const { view, writing } = now;
  for (const id of ["export", "copy"]) byId(id).hidden = !view;
  if (!view) return;
  const { conversation, settings } = view.state;
  const facts = [["model", about.subject], ["parameters", about.parameters], ["layers", about.layers], ["described", about.described && `${count(Number(about.described))} features`], ["session", view.session], ["kind", conversation.chat ? "chat" : "plain text"], ["turns", count(conversation.turns.length)], ["tokens", count(view.tokens.length)]];
  byId("facts").replaceChildren(...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value, title: value }))));
  byId("undo").disabled = !view.can_undo || Boolean(writing);
  byId("redo").disabled = !view.can_redo || Boolean(writing);
  byId("export").href = path("/export.yaml");
  for (const [name, value] of Object.entries(settings)) {
    const input = byId("settings-form").elements[name];
    if (input && input !== document.activeElement) input.value = value;
  }
}

function mountRail() {
  byId("undo").addEventListener("click", () => change("/undo"));
  byId("redo").addEventListener("click", () => change("/redo"));
  byId("new-chat").hidden = about.chat === "no";
  byId("new-chat").addEventListener("click", () => begin({ chat: true }));
  byId("new-text").addEventListener("click", () => begin({ chat: false }));
  byId("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      byId("session-said").textContent = "The link is copied: the session with what is selected.";
    } catch {
      byId("session-said").textContent = `The browser does not allow it. Copy it from here: ${location.href}`;
    }
  });
  const form = byId("settings-form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    if (!form.reportValidity()) return;
    const { max_new_tokens: most, temperature, seed } = form.elements;
    const settings = { max_new_tokens: Number(most.value), temperature: Number(temperature.value), seed: Number(seed.value) };
    change("/settings", () => settings, byId("settings-error"));
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("textarea, input:not([type=checkbox]):not([type=radio]), select");
    if (typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    byId(event.shiftKey ? "redo" : "undo").click();
  });
  if (matchMedia("(max-width: 759px)").matches) for (const id of ["settings", "session"]) byId(id).open = false;
  on("view writing", drawRail);
  on("view", () => now.view && remember());
  on("view place range", () => now.view && keepAddress());
}

mountRail();
mountConversation(actions);
mountReadings(actions);
mountWhy(actions, spaces, about.layers);
mountSteering(actions);
mountCompare();
mountStories(actions, begin, change);
tell("view");
addEventListener("popstate", () => {
  const { session, place, range } = addressed();
  if (session && session !== now.session) open(session);
  else if (place !== null || range) select(place, range);
});
const { session } = addressed();
const asked = new URLSearchParams(location.search).get("feature");
if (session) await open(session);
else await begin({});
if (asked && !session && now.view) {
  await actions.watch(asked, [asked]);
  await actions.addCard({ name: asked, features: [asked], strength: 0.5, on: false });
}
