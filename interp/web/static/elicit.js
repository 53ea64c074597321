/** The page Elicit: a form, a search that is watched turn by turn, and what it found. */
import { events, get, post, wasCancelled } from "./api.js";
import { byId, count, el, saying, showError } from "./dom.js";
import { curveNode, drawTries, sentence, takesNode } from "./elicit_drawn.js";

const NEEDS_LEAST = ["concept", "feature", "vector"];
const EXAMPLE = { words: "a word, another", pattern: "\\b(yes|sure)\\b", concept: "topic_music", feature: "mlp.3/17+", vector: "name.safetensors" };
const ENDED = { budget: "The budget is spent.", "nothing new": "The search has ended: there is nothing new to try.", found: "The search has ended: enough was found.", stopped: "Stopped; what was found is kept." };
let whole = false;
let view = null, searching = null, which = "best", chosen = null;

const path = (what = "") => `/api/elicit/${encodeURIComponent(view.session)}${what}`;
const form = () => byId("ask");

/** What the form asks for. */
function asked() {
  const data = new FormData(form()), least = String(data.get("at_least") ?? "").trim();
  const whole = (name) => (data.get(name) === "" ? null : Number(data.get(name)));
  return {
    kind: data.get("kind"), what: data.get("what").trim(), at_least: least && NEEDS_LEAST.includes(data.get("kind")) ? (Number.isFinite(Number(least)) ? Number(least) : least) : null,
    example: data.get("example").trim(), prompts: data.get("prompts"), slots: data.get("slots"), investigator: data.get("investigator"),
    passes: whole("passes"), chat: data.has("chat") ? data.get("chat") === "yes" : null, new_tokens: whole("new_tokens"), temperature: whole("temperature"), seed: whole("seed"),
  };
}

/** Puts what was asked for into the form. */
function fill(values) {
  for (const [name, value] of Object.entries(values)) {
    const field = form().elements[name];
    if (!field) continue;
    if (name === "chat") {
      if (value !== null) for (const one of form().querySelectorAll("[name=chat]")) one.checked = (one.value === "yes") === value;
    } else field.value = value ?? "";
  }
  explain();
}

/** Says in a sentence what is chosen. */
function explain() {
  const kind = byId("kind").value, input = byId("what"), lists = { concept: "concepts", vector: "files" };
  byId("what-says").textContent = byId("kind").selectedOptions[0]?.dataset.says ?? "";
  byId("investigator-says").textContent = byId("investigator").selectedOptions[0]?.dataset.says ?? "";
  byId("least").hidden = !NEEDS_LEAST.includes(kind);
  input.placeholder = EXAMPLE[kind] ?? "";
  if (lists[kind]) input.setAttribute("list", lists[kind]);
  else input.removeAttribute("list");
  if (kind === "vector" && !byId("files").children.length) vectors();
}

async function vectors() {
  try {
    const { files } = await get("/api/vectors");
    byId("files").replaceChildren(...files.filter((one) => !one.wrong && one.parts.length === 1).map((one) => el("option", { value: one.file, label: one.called })));
  } catch {
    // the field takes a name that is typed, too
  }
}

/** Tells an error beside the field that it is about, or under the form. */
function told(cause) {
  const fields = [...form().querySelectorAll("[data-field]")];
  const about = /^`([a-z_]+)/.exec(cause.thing ?? "")?.[1] ?? cause.place;
  const place = fields.find((one) => one.dataset.field.split(" ").includes(about));
  if (!place) return showError(byId("ask-error"), cause);
  if (place.closest("details")) place.closest("details").open = true;
  showError(place, { thing: cause.thing.replaceAll("`", ""), fix: cause.fix });
  const named = about.split(" ")[0];
  const field = form().elements[named];
  (field instanceof RadioNodeList ? field[0] : field)?.focus();
}

function quiet() {
  for (const one of form().querySelectorAll(".error")) showError(one);
  for (const id of ["error", "tries-error"]) showError(byId(id));
}

async function start(event) {
  event.preventDefault();
  if (searching) return;
  quiet();
  byId("start").disabled = true;
  try {
    const made = await saying(byId("status"), "Checking what is asked for", () => post("/api/elicit", asked()));
    chosen = null;
    whole = false;
    show(made);
    history.pushState(null, "", `/elicit/${encodeURIComponent(made.session)}`);
    await search();
  } catch (cause) {
    told(cause);
  } finally {
    byId("start").disabled = Boolean(searching);
  }
}

/** Asks for one turn after the other, until the search ends or is stopped. */
async function search() {
  const mine = (searching = new AbortController()), say = (text) => (byId("status").textContent = text);
  const { session } = view;
  const round = (next) => {
    if (searching !== mine) return;
    show(next);
    say(`Searching: ${count(next.passes)} of ${count(next.budget)} passes.`);
  };
  showError(byId("error"));
  buttons();
  say("Beginning …");
  try {
    do {
      round(await events(path("/turn"), { queued: ({ place }) => say(`Waiting: ${place === 1 ? "1 request" : `${count(place)} requests`} before this.`), said: ({ words }) => say(`${words} …`), round }, mine.signal, {}));
    } while (!view.ended && searching === mine && view.session === session);
    say(ENDED[view.ended]);
  } catch (cause) {
    if (searching !== mine) return;
    if (wasCancelled(cause)) await stopped(say);
    else {
      say("");
      showError(byId("error"), cause);
    }
  } finally {
    if (searching === mine) searching = null;
    buttons();
  }
}

/** Shows what is kept: a round may have ended in the moment in which it was stopped. */
async function stopped(say) {
  say("Stopping …");
  try {
    show(await get(path()));
    say(ENDED[view.ended] ?? ENDED.stopped);
  } catch (cause) {
    say("");
    showError(byId("error"), cause);
  }
}

function buttons() {
  byId("stop").hidden = !searching;
  byId("start").disabled = Boolean(searching);
  byId("more").hidden = Boolean(searching) || !view || view.ended === "nothing new";
}

async function goOn(event) {
  event.preventDefault();
  if (searching || !view) return;
  showError(byId("error"));
  const passes = Number(byId("more-passes").value);
  try {
    if (passes !== view.budget || view.ended) show(await post(path("/more"), { passes }));
    await search();
  } catch (cause) {
    showError(byId("error"), cause);
  }
}

function show(next) {
  const fresh = next.session !== view?.session || next.budget !== view?.budget || next.ended !== view?.ended;
  view = next;
  byId("empty").hidden = true;
  byId("found").hidden = false;
  byId("said").textContent = sentence(view);
  byId("curve").replaceChildren(curveNode(view));
  byId("takes").replaceChildren(takesNode(view.takes));
  const facts = [["behaviour", view.judge], ["way", view.investigator], ["model", view.target]].filter(([, text]) => text);
  byId("about").replaceChildren(...facts.map(([name, text]) => el("div", {}, el("dt", { text: name }), el("dd", { text }))));
  if (fresh) byId("more-passes").value = view.ended === "budget" ? Math.min(Number(byId("passes").max), view.budget * 2) : view.budget;
  tries();
  buttons();
}

function tries() {
  drawTries(byId("tries"), view[which], { open, confirm, chosen, whole, all: () => ((whole = true), tries()), goTo: (number) => ((chosen = number), tries()) });
}

/** Begins a session of the Monitor with a try, and goes there. */
async function open(one) {
  showError(byId("tries-error"));
  try {
    const { session } = await saying(byId("tries-status"), "Beginning a session", () => post(path("/open"), { number: one.number }));
    location.assign(`/monitor/${encodeURIComponent(session)}`);
  } catch (cause) {
    showError(byId("tries-error"), cause);
  }
}

async function confirm(one) {
  showError(byId("tries-error"));
  const { session } = view, draws = Number(byId("draws").value);
  try {
    const confirmed = await saying(byId("tries-status"), `Drawing ${count(draws)} replies to try ${one.number}, and as many to prompts at random`, () => post(path("/confirm"), { number: one.number, draws }));
    if (session !== view.session) return;
    for (const list of [view.best, view.latest]) for (const other of list) if (other.number === one.number) other.confirmed = confirmed;
    tries();
  } catch (cause) {
    showError(byId("tries-error"), cause);
  }
}

/** Shows the search that the address names. */
async function restore() {
  const found = /^\/elicit\/([^/]+)/.exec(location.pathname);
  if (!found) return;
  try {
    const kept = await saying(byId("status"), "Reading what was kept", () => get(`/api/elicit/${found[1]}`));
    fill(kept.asked);
    show(kept);
    byId("status").textContent = ENDED[kept.ended] ?? "It is not finished; what was found is kept.";
  } catch (cause) {
    showError(byId("error"), cause);
  }
}

function mount() {
  explain();
  form().addEventListener("submit", start);
  form().addEventListener("change", explain);
  byId("more").addEventListener("submit", goOn);
  byId("stop").addEventListener("click", () => searching?.abort());
  for (const one of document.querySelectorAll("[name=which]")) one.addEventListener("change", () => ((which = one.value), tries()));
  addEventListener("popstate", () => location.reload());
  restore();
}

mount();
