/** Stories: guided steps, each a state of the session with what to read, what is done then, and what was found. */
import { ApiError, get } from "./api.js";
import { byId, el, percent, showError } from "./dom.js";
import { now, on, set } from "./state.js";

const parts = {};
const address = new URLSearchParams(location.search);
const asked = { story: address.get("story"), step: Math.max(1, Number(address.get("step")) || 1) };
const openedBare = !/^\/monitor\/[^/]+/.test(location.pathname);
let story = null, step = 1, own = null, waiting = null, busy = false, pressed = null;

/**
 * Lists the stories and, where the address names one, goes on with it.
 * @param {Object<string, (...values: any[]) => any>} actions
 * @param {(body: object) => Promise<void>} begin starts a session
 * @param {(what: string, body: () => object, place: HTMLElement, said: HTMLElement) => Promise<boolean>} change
 */
export function mountStories(actions, begin, change) {
  Object.assign(parts, { actions, begin, change });
  parts.status = el("p", { class: "status", "aria-live": "polite" });
  parts.error = el("div", { class: "error", role: "alert", hidden: true });
  parts.body = el("div");
  parts.panel = el("section", { class: "story", "aria-labelledby": "story-h", tabindex: "-1", hidden: true }, parts.body, parts.status, parts.error);
  byId("talk").prepend(parts.panel);
  byId("stories").hidden = true;
  on("view", followed);
  on("view place range", () => now.view && keepStory());
  on("writing", () => drawButtons());
  list();
}

async function list() {
  try {
    const { stories } = await get("/api/stories");
    byId("stories").hidden = !stories.length;
    byId("stories").open = Boolean(asked.story);
    byId("story-list").replaceChildren(...stories.map(({ name, title, works }) => el("li", {},
      el("button", { type: "button", class: "says", onclick: () => start(name) }, title), works ? "" : " ", works ? "" : el("span", { class: "flag", text: "does not work" }))));
    if (asked.story) await resume();
  } catch (cause) {
    parts.panel.hidden = false;
    showError(parts.error, cause);
  }
}

/** Goes on with the story of the address: in its own session as it stands, in a new one from this step on. */
async function resume() {
  const found = await get(`/api/stories/${encodeURIComponent(asked.story)}`);
  if (asked.step > found.steps.length) throw new ApiError({ thing: `the story has no step ${asked.step}`, place: "the address", fix: `use one from 1 to ${found.steps.length}` });
  [story, step] = [found, asked.step];
  const ready = () => {
    own = now.session;
    draw();
    keepStory();
    if (openedBare) go(step);
  };
  if (now.view) ready();
  else waiting = ready;
}

/** A story belongs to the session it was begun in. */
function followed() {
  if (!now.view) return;
  if (waiting) {
    const ready = waiting;
    waiting = null;
    ready();
  } else if (story && own !== null && now.session !== own) close();
}

async function start(name) {
  showError(parts.error);
  try {
    const found = await get(`/api/stories/${encodeURIComponent(name)}`);
    [story, own] = [null, null];
    await parts.begin({ chat: false });
    [story, step, own] = [found, 1, now.session];
    draw();
    await go(1);
    parts.panel.focus({ preventScroll: true });
    parts.panel.scrollIntoView({ block: "nearest" });
  } catch (cause) {
    parts.panel.hidden = false;
    showError(parts.error, cause);
  }
}

/** Puts the session into the state of a step, then does what the step says. */
async function go(to) {
  const told = story, session = own;
  const still = () => story === told && now.session === session;
  pressed = parts.body.contains(document.activeElement) ? document.activeElement.textContent : null;
  busy = true;
  drawButtons();
  set({ place: null, range: null, heat: null });
  const placed = await parts.change("/story", () => ({ story: told.name, step: to }), parts.error, parts.status);
  busy = false;
  if (!still()) return;
  step = to;
  draw();
  keepStory();
  if (!placed) return;
  const { do: does, ask } = told.steps[step - 1];
  const same = () => still() && step === to;
  if (does.includes("write")) await parts.actions.write();
  if (does.includes("why") && same()) why(ask ?? { token: 0 });
  if (does.includes("compare") && same()) byId("compare-body").querySelector("button.main")?.click();
}

/** Chooses a token of the answer, and asks as the step says. */
function why({ token, by, word, distractor }) {
  const span = now.view.turns.findLast((one) => one.span)?.span;
  if (!span) return;
  const { elements } = byId("why-body").querySelector("form.question");
  elements.word.value = word ?? "";
  elements.distractor.value = distractor ?? "";
  elements.by.value = by ?? "attribution";
  set({ place: Math.min(span[0] + token, now.view.tokens.length - 1) });
}

function close() {
  [story, own] = [null, null];
  parts.panel.hidden = true;
  keepStory();
}

/** Keeps the story and its step in the address, beside what the page itself keeps there. */
function keepStory() {
  if (waiting) return;
  const query = new URLSearchParams(location.search);
  query.delete("story");
  query.delete("step");
  if (story) [["story", story.name], ["step", String(step)]].forEach(([name, value]) => query.set(name, value));
  const next = `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`;
  if (next !== location.pathname + location.search + location.hash) history.replaceState(null, "", next);
}

function draw() {
  const { text, found } = story.steps[step - 1];
  const button = (words, to, main) => el("button", { type: "button", class: main ? "main" : null, text: words, "data-to": to, onclick: () => go(to) });
  parts.panel.hidden = false;
  parts.body.replaceChildren(
    el("div", { class: "head" }, el("h2", { id: "story-h", text: story.title }), el("button", { type: "button", class: "quiet", text: "Close", "aria-label": "Close the story", onclick: close })),
    el("p", { class: "hint", text: story.question }),
    el("p", { class: "told", "aria-live": "polite", text }),
    found.length ? el("table", { class: "found" }, el("caption", { text: "Found on questions that chose nothing; random: five sets of as many other features, changed alike; grey: as a random set does" }),
      el("thead", {}, el("tr", {}, ...["", "count", "share (95%)", "random sets"].map((words, i) => el("th", { class: i ? "n" : null, text: words })))),
      el("tbody", {}, ...found.map(row))) : "",
    el("div", { class: "rowed" }, button("Back", step - 1), button("Next", step + 1, true), button("Again", step), el("span", { class: "hint", text: `step ${step} of ${story.steps.length}` })));
  drawButtons();
}

function row({ what, hits, n, low, high, random }) {
  const [least, most] = [Math.min(...random), Math.max(...random)];
  const range = random.length ? `${least === most ? "" : `${least} to `}${most} of ${n}` : "–";
  return el("tr", { class: least <= hits && hits <= most ? "guess" : null },
    el("th", { scope: "row", class: "words" }, what), el("td", { class: "n", text: `${hits} of ${n}` }),
    el("td", { class: "n", text: `${percent(hits / n)} (${percent(low)} to ${percent(high)})` }), el("td", { class: "n", text: range }));
}

function drawButtons() {
  if (!story) return;
  for (const button of parts.body.querySelectorAll("[data-to]")) {
    const to = Number(button.dataset.to);
    button.disabled = busy || Boolean(now.writing) || to < 1 || to > story.steps.length;
  }
  if (pressed === null || busy || now.writing || document.activeElement !== document.body) return;
  const able = [...parts.body.querySelectorAll("[data-to]:not([disabled])")];
  (able.find((one) => one.textContent === pressed) ?? able.at(-1))?.focus({ preventScroll: true });
}
