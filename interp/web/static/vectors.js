/** The page Vectors: which there are, a mixture of them, what it does, how alike they are, and texts along them. */
import { ApiError, get, post, wasCancelled } from "./api.js";
import { column, movedTable, sideEffect } from "./compare.js";
import { byId, counted, el, number, saying, showError } from "./dom.js";
import { drawAlike, drawAlong } from "./vectors_drawn.js";

const REACH = 3;
const OUT = "out";
/** The server's file that takes out the direction of a file. */
const outs = new Map();
/** `mix` has the strength of each chosen file in its own unit, or OUT where its direction is taken out. */
const asked = { mix: new Map(), prompt: "", chat: false, count: 24, text: "", ran: false };
let files = [], applying = null, reading = null, alikeFor = "", later = 0, shownFor = "";

function fromAddress() {
  const query = new URLSearchParams(location.search);
  for (const one of query.getAll("vector")) {
    const cut = one.lastIndexOf("="), said = one.slice(cut + 1), strength = said === OUT ? OUT : Number(said);
    if (cut > 0 && (strength === OUT || Number.isFinite(strength))) asked.mix.set(one.slice(0, cut), strength);
  }
  const count = Number(query.get("tokens"));
  Object.assign(asked, { prompt: query.get("prompt") ?? "", chat: query.get("mode") === "chat", text: query.get("text") ?? "", ran: query.get("apply") === "yes", count: Number.isInteger(count) && count > 0 ? count : 24 });
}

function keepAddress() {
  const query = new URLSearchParams();
  for (const [file, strength] of asked.mix) query.append("vector", `${file}=${strength}`);
  if (asked.prompt) query.set("prompt", asked.prompt);
  if (asked.chat) query.set("mode", "chat");
  if (asked.count !== 24) query.set("tokens", asked.count);
  if (asked.text) query.set("text", asked.text);
  if (asked.ran) query.set("apply", "yes");
  history.replaceState(null, "", query.size ? `/vectors?${query}` : "/vectors");
}

const known = (file) => files.find((one) => one.file === file);
const calledOf = (file) => (known(file)?.called ?? file).replace(/\.safetensors$/, "");
const usable = () => [...asked.mix].filter(([file]) => known(file) && !known(file).wrong);

function cards() {
  return usable().flatMap(([file, strength]) => {
    const one = known(file), card = { kind: "vector", name: calledOf(file), file, strength };
    if (strength === OUT) return outs.has(file) ? [{ ...card, name: `${card.name}, ablated`, file: outs.get(file), strength: 1 }] : [];
    if (!one.has_strength) return [{ ...card, strength: 1 }];
    return strength === 0 ? [] : [card];
  });
}

/** Lets the server make the file that takes out a direction. */
async function takeOut(file) {
  if (!outs.has(file)) outs.set(file, (await post("/api/vectors/out", { file })).file);
}

const signature = () => JSON.stringify([cards(), asked.prompt, asked.chat, asked.count]);

function changed() {
  drawList();
  drawMix();
  settled();
}

/** What follows from another mixture, without drawing its sliders anew. */
function settled() {
  keepAddress();
  const none = !cards().length;
  byId("run").disabled = none || Boolean(applying);
  byId("monitor").disabled = none;
  byId("result").classList.toggle("stale", Boolean(shownFor) && shownFor !== signature());
  clearTimeout(later);
  later = setTimeout(alike, 120);
}

function drawList() {
  const box = byId("list");
  if (!files.length) return box.replaceChildren(el("p", { class: "empty", text: "No vectors yet: load a .safetensors file that interp wrote, or start the server with --vectors FOLDER." }));
  const focused = document.activeElement?.dataset?.add;
  const rows = files.map((one) => {
    const part = one.parts[0], more = one.parts.length - 1;
    const sites = [...new Set(one.parts.map(({ site }) => site))];
    const site = sites.length > 2 ? `${sites[0]} to ${sites.at(-1)}, ${sites.length} sites` : sites.join(", ");
    const size = part ? [number(part.norm, 3), part.typical ? el("div", { class: "made", title: `The median norm of activations at its site, at the ends of neutral texts, is ${number(part.typical, 3)}`, text: `${number(part.norm / part.typical)} of typical` }) : ""] : ["–"];
    const inMix = asked.mix.has(one.file);
    const add = one.wrong ? "" : el("button", { type: "button", class: "quiet", "data-add": one.file, text: inMix ? "Remove" : "Add", "aria-label": `${inMix ? "Remove from the mixture" : "Add to the mixture"}: ${one.called}`, onclick: () => {
      if (inMix) asked.mix.delete(one.file);
      else asked.mix.set(one.file, 1);
      changed();
    } });
    return el("tr", { class: one.wrong ? "wrong" : null },
      el("td", {}, el("div", { class: "name", text: calledOf(one.file) }),
        one.wrong ? el("div", { class: "made", text: `Cannot be used: ${one.wrong.thing}.` }) : "",
        part ? el("div", { class: "made", text: [part.name, more ? `and ${more} more` : "", part.method, part.use.replaceAll("_", " "), `at ${part.positions}`].filter(Boolean).join(", ") }) : el("div", { class: "made", text: one.wrong ? "" : "a truthful space" }),
        part?.made_of ? el("details", { class: "fold" }, el("summary", { text: "what it was made of" }), el("p", { class: "key", text: part.made_of })) : ""),
      el("td", { class: "key", text: site }), el("td", { class: "n size" }, ...size), el("td", {}, add));
  });
  box.replaceChildren(el("div", { class: "wide long", tabindex: "0", role: "region", "aria-label": "Vectors" }, el("table", { class: "vectors" }, el("thead", {}, el("tr", {}, el("th", { text: "file, and what is in it" }), el("th", { text: "site" }), el("th", { class: "n", title: "Beside the median norm of activations at its site, at the ends of neutral texts", text: "norm" }), el("th", {}, el("span", { class: "sr", text: "mixture" })))), el("tbody", {}, ...rows))));
  if (focused) [...box.querySelectorAll("[data-add]")].find((node) => node.dataset.add === focused)?.focus();
}

function drawMix() {
  if (!asked.mix.size) return byId("mix").replaceChildren(el("p", { class: "empty", text: "Add a vector of the list: it acts at 1 times its own length, and a slider changes that." }));
  const focused = document.activeElement?.dataset?.out;
  byId("mix").replaceChildren(...[...asked.mix].map(([file, strength]) => {
    const one = known(file), name = calledOf(file);
    const out = el("button", { type: "button", class: "quiet", text: "✕", "aria-label": `Remove ${name}`, onclick: () => (asked.mix.delete(file), changed()) });
    const head = el("div", { class: "mix-head" }, el("b", { text: name }), out);
    if (!one || one.wrong) return el("div", { class: "mix-row" }, head, el("p", { class: "hint", text: one ? `It is left out: ${one.wrong.thing}.` : "It is not here any more: load its file again." }));
    if (!one.has_strength) return el("div", { class: "mix-row" }, head, el("p", { class: "hint", text: one.parts[0].use === "project_out" ? "Its direction is taken out (ablation), which has no strength." : "It replaces the activation, which has no strength." }));
    const canBeOut = one.parts.length > 0 && one.parts.every(({ site }) => !site.startsWith("head_out"));
    const flip = canBeOut ? el("label", { title: "Projects its direction out of all that writes to the residual stream" }, el("input", { type: "checkbox", "data-out": file, checked: strength === OUT, onchange: async (event) => {
      showError(byId("error"));
      try {
        if (event.target.checked) await takeOut(file);
        asked.mix.set(file, event.target.checked ? OUT : 1);
      } catch (cause) {
        showError(byId("error"), cause);
      }
      changed();
    } }), " ablate") : "";
    if (strength === OUT) return el("div", { class: "mix-row" }, head, el("div", { class: "rowed" }, el("span", { class: "hint", text: "Its direction is projected out (ablation), which has no strength." }), flip));
    const slider = el("input", { type: "range", min: -REACH, max: REACH, step: 0.05, value: strength, "aria-label": `Strength of ${name}` });
    const field = el("input", { type: "number", min: -1000, max: 1000, step: "any", value: strength, "aria-label": `Strength of ${name} as a number` });
    const take = (source, other) => {
      if (source.value === "" || !Number.isFinite(Number(source.value))) return;
      asked.mix.set(file, Number(source.value));
      other.value = source.value;
      settled();
    };
    slider.addEventListener("input", () => take(slider, field));
    field.addEventListener("input", () => take(field, slider));
    return el("div", { class: "mix-row" }, head, el("div", { class: "rowed" }, el("span", { class: "hint", text: "−3" }), slider, el("span", { class: "hint", text: "3" }), field, flip));
  }));
  if (focused) [...byId("mix").querySelectorAll("[data-out]")].find((node) => node.dataset.out === focused)?.focus();
}

async function list() {
  const answer = await saying(byId("list-status"), "Reading the vectors", () => get("/api/vectors"));
  files = answer.files;
}

async function load(event) {
  event.preventDefault();
  const file = byId("file").files[0], most = Number(byId("parts").dataset.most);
  showError(byId("list-error"));
  try {
    if (file.size > most) throw new ApiError({ thing: `the file is larger than ${most.toLocaleString("en")} bytes`, place: file.name, fix: "put it into a folder and start the server with --vectors FOLDER" });
    const { file: taken } = await saying(byId("list-status"), "Loading the file", () => sent(file));
    files = [...files.filter((one) => one.file !== taken.file), taken];
    asked.mix.set(taken.file, asked.mix.get(taken.file) ?? 1);
    byId("load").reset();
    changed();
  } catch (cause) {
    showError(byId("list-error"), cause);
  }
}

/** Sends a file as it is. */
async function sent(file) {
  let response;
  try {
    response = await fetch(`/api/vectors/load?${new URLSearchParams({ name: file.name })}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
  } catch {
    throw new ApiError({ thing: "the server does not answer", fix: "look whether `interp serve` still runs, then try again" });
  }
  const answer = await response.json().catch(() => ({ error: { thing: `the server failed (${response.status})`, fix: "see what it printed" } }));
  if (!response.ok) throw new ApiError(answer.error, response.status);
  return answer;
}

async function apply() {
  applying = new AbortController();
  asked.ran = true;
  settled();
  byId("stop").hidden = false;
  showError(byId("error"));
  const key = signature();
  try {
    const ask = { prompt: asked.prompt, chat: asked.chat, cards: cards(), max_new_tokens: asked.count };
    const found = await saying(byId("status"), "Writing three continuations and measuring them", () => post("/api/vectors/apply", ask, applying.signal));
    shownFor = key;
    drawResult(found);
  } catch (cause) {
    if (wasCancelled(cause)) byId("status").textContent = "Stopped.";
    else showError(byId("error"), cause);
  } finally {
    applying = null;
    byId("stop").hidden = true;
    settled();
  }
}

function drawResult(found) {
  const { unsteered, steered, changed: marks, random } = found;
  const differ = marks.filter(Boolean).length;
  byId("result").replaceChildren(
    el("p", { class: "said", text: differ ? `${differ} of ${counted(steered.length, "token")} are not in the unsteered continuation.` : "The steered continuation is the same, token by token." }),
    el("div", { class: "two" }, column("Unsteered", unsteered), column("Steered", steered, marks)),
    random ? el("details", { class: "fold", open: true }, el("summary", { text: "With random vectors of the same length in their place" }), column("", random)) : el("p", { class: "hint", text: "No random vectors: a truthful space has none to compare with." }),
    sideEffect(found, "random vectors of the same length"), movedTable(found.moved));
}

async function alike() {
  const chosen = usable().map(([file]) => file), key = JSON.stringify(chosen);
  if (key === alikeFor) return;
  alikeFor = key;
  showError(byId("alike-error"));
  const of = chosen.filter((file) => known(file).parts.length);
  if (of.length < 2) return byId("alike").replaceChildren(el("p", { class: "empty", text: "Add two vectors or more: those of one site are held against each other." }));
  try {
    const { sites } = await saying(byId("alike-status"), "Comparing the vectors", () => post("/api/vectors/cosines", { files: of }));
    if (key === alikeFor) drawAlike(byId("alike"), sites, calledOf);
  } catch (cause) {
    if (key === alikeFor) showError(byId("alike-error"), cause);
  }
}

async function along() {
  const chosen = usable().map(([file]) => file).filter((file) => known(file).parts.length);
  showError(byId("along-error"));
  if (!chosen.length) return byId("along").replaceChildren(el("p", { class: "empty", text: "Add a vector first: the text is read along those of the mixture." }));
  reading?.abort();
  const mine = (reading = new AbortController());
  try {
    const ask = { files: chosen, prompt: asked.text, chat: false };
    const answer = await saying(byId("along-status"), "Reading the text", () => post("/api/vectors/along", ask, mine.signal));
    drawAlong(byId("along"), answer, calledOf);
  } catch (cause) {
    if (!wasCancelled(cause)) showError(byId("along-error"), cause);
  }
}

/** Makes a session with the mixture as its cards, and goes there. */
async function toMonitor() {
  showError(byId("error"));
  try {
    take();
    const turns = asked.prompt ? [{ role: "user", text: asked.prompt }] : [];
    const conversation = { chat: asked.chat, turns, shown: turns.length ? 0 : null };
    const { session } = await saying(byId("status"), "Beginning a session", () => post("/api/sessions", { chat: asked.chat, state: { conversation, cards: cards(), settings: { max_new_tokens: asked.count } } }));
    location.assign(`/monitor/${encodeURIComponent(session)}`);
  } catch (cause) {
    showError(byId("error"), cause);
  }
}

function take() {
  asked.prompt = byId("prompt").value;
  asked.chat = document.querySelector("[name=mode]:checked")?.value === "chat";
  asked.count = Math.max(1, Math.round(Number(byId("count").value)) || 24);
}

function sends(textarea, form) {
  textarea.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

async function mount() {
  fromAddress();
  byId("prompt").value = asked.prompt;
  byId("text").value = asked.text;
  byId("count").value = asked.count;
  for (const radio of document.querySelectorAll("[name=mode]")) radio.checked = (radio.value === "chat") === asked.chat;
  byId("load").addEventListener("submit", load);
  byId("apply").addEventListener("submit", (event) => (event.preventDefault(), take(), applying || byId("run").disabled || apply()));
  byId("apply").addEventListener("change", () => (take(), settled()));
  byId("read").addEventListener("submit", (event) => (event.preventDefault(), (asked.text = byId("text").value), keepAddress(), along()));
  byId("stop").addEventListener("click", () => applying?.abort());
  byId("monitor").addEventListener("click", toMonitor);
  sends(byId("prompt"), byId("apply"));
  sends(byId("text"), byId("read"));
  drawMix();
  try {
    await list();
    for (const [file, strength] of usable()) if (strength === OUT) await takeOut(file);
  } catch (cause) {
    return showError(byId("list-error"), cause);
  }
  changed();
  if (asked.text) along();
  if (asked.ran && asked.prompt && cards().length) apply();
}

mount();
