/** The page Lens: the state of the page is its address; the grid, the cell, the curves and the patchscope. */
import { events, get, post, wasCancelled } from "./api.js";
import { byId, el, number, saying, showError } from "./dom.js";
import { drawCell, drawCurves, drawScope } from "./lens_detail.js";
import { drawGrid, heatChoices, mark, moved } from "./lens_grid.js";

/** What is asked for; `cell` is [layer, token]. `scope` says that the cell's state is patched. */
const asked = { prompt: "", chat: false, lens: "logit", targets: [], heat: "top", cell: null, scope: false };
let found = null, fitting = null, shownScope = "", shownCurves = "";
/** What is being asked, by its kind: a new request of a kind takes the place of the one before. */
const running = new Map();
const OFFER_STOP = 1000;

/** Asks the server; the page says what it waits for, and offers to stop after a moment. */
async function during(kind, place, what, work) {
  running.get(kind)?.abort();
  const mine = new AbortController();
  running.set(kind, mine);
  const offer = setTimeout(() => (byId("stop").hidden = false), OFFER_STOP);
  try {
    return await saying(place, what, () => work(mine.signal));
  } finally {
    clearTimeout(offer);
    if (running.get(kind) === mine) running.delete(kind);
    byId("stop").hidden = !running.size && !fitting;
  }
}

function fromAddress() {
  const query = new URLSearchParams(location.search);
  const cell = /^(-?\d{1,5})\.(\d{1,5})$/.exec(query.get("cell") ?? "");
  Object.assign(asked, {
    prompt: query.get("prompt") ?? "", chat: query.get("mode") === "chat", lens: query.get("lens") ?? "logit",
    targets: query.getAll("target"), heat: query.get("heat") ?? "top",
    cell: cell ? [Number(cell[1]), Number(cell[2])] : null, scope: query.get("scope") === "yes",
  });
}

function keepAddress() {
  const query = new URLSearchParams();
  if (asked.prompt) query.set("prompt", asked.prompt);
  if (asked.chat) query.set("mode", "chat");
  if (asked.lens !== "logit") query.set("lens", asked.lens);
  for (const word of asked.targets) query.append("target", word);
  if (asked.heat !== "top") query.set("heat", asked.heat);
  if (asked.cell) query.set("cell", asked.cell.join("."));
  if (asked.cell && asked.scope) query.set("scope", "yes");
  history.replaceState(null, "", query.size ? `/lens?${query}` : "/lens");
}

const request = () => ({ prompt: asked.prompt, chat: asked.chat, lens: asked.lens, targets: asked.targets });

/** Words between commas; a word keeps a space before it that is written as "·". */
const wordsOf = (text) => text.split(",").map((word) => word.trim().replaceAll("·", " ")).filter(Boolean);

async function read(restored = false) {
  showError(byId("error"));
  if (!restored) Object.assign(asked, { cell: null, scope: false });
  keepAddress();
  try {
    found = await during("read", byId("status"), "Reading every layer", (signal) => post("/api/lens/read", request(), signal));
    show();
  } catch (cause) {
    if (!wasCancelled(cause)) showError(byId("error"), cause);
  }
}

function show() {
  for (const kind of ["scope", "curves"]) running.get(kind)?.abort();
  byId("empty").hidden = true;
  byId("keys").hidden = false;
  byId("grid-part").classList.remove("stale");
  [shownScope, shownCurves] = ["", ""];
  const choices = heatChoices(found);
  byId("heat").replaceChildren(...choices.map(([value, text]) => el("option", { value, text })));
  if (!choices.some(([value]) => value === asked.heat)) asked.heat = "top";
  byId("heat").value = asked.heat;
  colour();
  const inside = asked.cell && found.layers.includes(asked.cell[0]) && asked.cell[1] < found.tokens.length;
  choose(inside ? asked.cell : null, { focus: false, scope: asked.scope });
}

function colour() {
  drawGrid(byId("grid"), byId("legend"), found, asked.heat, asked.cell);
}

/** Chooses a cell, which shows its tokens and the targets there; with `scope` its state is patched. */
function choose(cell, { focus = true, scope = false } = {}) {
  asked.cell = cell;
  asked.scope = Boolean(cell && scope);
  mark(byId("grid"), cell, focus);
  drawCell(byId("cell"), found, cell, cell ? () => choose(asked.cell, { scope: true }) : null);
  keepAddress();
  byId("scope-part").hidden = !asked.scope;
  if (asked.scope) patch();
  else {
    running.get("scope")?.abort();
    shownScope = "";
  }
  curves();
}

async function patch() {
  const [layer, place] = asked.cell, key = asked.cell.join();
  if (shownScope === key) return;
  shownScope = key;
  showError(byId("scope-error"));
  byId("scope").classList.add("stale");
  try {
    const { prompt, chat } = asked;
    const decoded = await during("scope", byId("scope-status"), "Patching the state and its controls", (signal) => post("/api/lens/patchscope", { prompt, chat, layer, place }, signal));
    drawScope(byId("scope"), decoded);
    byId("scope").classList.remove("stale");
  } catch (cause) {
    if (shownScope !== key) return; // another cell was chosen
    shownScope = "";
    byId("scope").replaceChildren();
    if (!wasCancelled(cause)) showError(byId("scope-error"), cause);
  }
}

let later = 0;

function curves() {
  byId("curves-part").hidden = !found.targets.length;
  if (!found.targets.length) return;
  const place = asked.cell ? asked.cell[1] : found.tokens.length - 1;
  clearTimeout(later);
  if (shownCurves === String(place)) return;
  later = setTimeout(() => follow(place), asked.cell ? 150 : 0); // not at each step of a held arrow key
}

async function follow(place) {
  shownCurves = String(place);
  showError(byId("curves-error"));
  try {
    const answer = await during("curves", byId("curves-status"), "Following the targets", (signal) => post("/api/lens/curves", { ...request(), place }, signal));
    drawCurves(byId("curves"), byId("curves-said"), answer, found, place);
  } catch (cause) {
    if (shownCurves !== String(place)) return;
    shownCurves = "";
    if (!wasCancelled(cause)) showError(byId("curves-error"), cause);
  }
}

async function lenses(known) {
  const { lenses: all, fitted } = known ?? (await get("/api/lens"));
  if (!all.some(({ name }) => name === asked.lens)) all.push({ name: asked.lens, says: `${asked.lens} (not here)` });
  byId("lens").replaceChildren(...all.map(({ name, says }) => el("option", { value: name, text: says })));
  byId("lens").value = asked.lens;
  byId("fit").hidden = Boolean(fitted);
  return fitted;
}

async function fit() {
  fitting = new AbortController();
  byId("fit").disabled = true;
  byId("stop").hidden = false;
  showError(byId("error"));
  const say = (text) => (byId("status").textContent = text);
  say("Fitting a tuned lens …");
  try {
    const known = await events("/api/lens/fit", {
      queued: ({ place }) => say(`Waiting: ${place} before this`),
      said: ({ words, amount }) => say(`${words} … ${amount}`),
    }, fitting.signal);
    asked.lens = "fitted";
    const { steps, before, after } = await lenses(known);
    if (asked.prompt) await read(true);
    say(`Fitted in ${steps} steps: on text it was fitted on, its KL to the output is ${number(after)} nats, the logit lens's ${number(before)} (mean over layers).`);
  } catch (cause) {
    say(wasCancelled(cause) ? "Stopped: no lens was fitted." : "");
    if (!wasCancelled(cause)) showError(byId("error"), cause);
  } finally {
    fitting = null;
    byId("fit").disabled = false;
    byId("stop").hidden = !running.size;
  }
}

function mount() {
  fromAddress();
  const form = byId("ask");
  byId("prompt").value = asked.prompt;
  byId("targets").value = asked.targets.map((word) => word.replace(/^ /, "·")).join(", ");
  for (const radio of form.querySelectorAll("[name=mode]")) radio.checked = (radio.value === "chat") === asked.chat;
  const take = () => {
    asked.prompt = byId("prompt").value;
    asked.chat = form.querySelector("[name=mode]:checked")?.value === "chat";
    asked.targets = wordsOf(byId("targets").value);
    asked.lens = byId("lens").value;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const before = asked.prompt + asked.chat;
    take();
    read(before === asked.prompt + asked.chat);
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("prompt").addEventListener("input", () => byId("grid-part").classList.toggle("stale", Boolean(found) && byId("prompt").value !== asked.prompt));
  byId("lens").addEventListener("change", () => found && (take(), read(true)));
  byId("example").addEventListener("click", () => (byId("prompt").value = form.dataset.example, form.requestSubmit()));
  byId("heat").addEventListener("change", () => (asked.heat = byId("heat").value, keepAddress(), colour()));
  byId("fit").addEventListener("click", fit);
  byId("stop").addEventListener("click", () => {
    for (const one of [...running.values(), ...(fitting ? [fitting] : [])]) one.abort();
    byId("stop").hidden = true;
    if (!fitting) setTimeout(() => (byId("status").textContent = "Stopped."));
  });
  mountGrid();
  lenses().catch((cause) => showError(byId("error"), cause));
  if (asked.prompt) read(true);
}

function mountGrid() {
  const grid = byId("grid");
  const at = (node) => (node ? [Number(node.dataset.layer), Number(node.dataset.place)] : null);
  grid.addEventListener("click", (event) => {
    const cell = at(event.target.closest("td"));
    if (cell) choose(cell, { scope: true });
  });
  grid.addEventListener("mouseover", (event) => {
    const cell = at(event.target.closest("td"));
    if (cell && !asked.cell) drawCell(byId("cell"), found, cell, null);
  });
  grid.addEventListener("keydown", (event) => {
    const cell = at(event.target.closest("td"));
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") choose(cell, { scope: true });
    else if (event.key === "Escape") choose(null);
    else {
      const next = moved(found, cell, event.key);
      if (!next) return;
      choose(next);
    }
    event.preventDefault();
  });
}

mount();
