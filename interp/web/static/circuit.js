/** The page Circuits: its state is its address; what is asked, the circuit's size, and the nodes that are taken out. */
import { events, post, wasCancelled } from "./api.js";
import { markTaken, mountDrawing, show } from "./circuit_drawing.js";
import { mountFeatures } from "./circuit_features.js";
import { about, bars, curve, edgeTable, estimated, flag, neuronTable, readTokens, saidOfSize } from "./circuit_parts.js";
import { byId, counted, el, number, saying, showError } from "./dom.js";

const MOST_OF_AN_ADDRESS = 6000;
const NARROW = matchMedia("(max-width: 759px)");
/** What is asked for, of a behaviour or pairs of one's own; `out` are the nodes that are taken out. */
const asked = { mode: "circuit", question: null, size: null, out: [], whole: false };
let found = null, circuit = null, finding = null, looked = null, later = 0;
const running = new Map();
const inside = new Map();
const form = byId("ask");
const features = mountFeatures({ keepAddress, download });

/** Posts what takes a while; a new request of a kind takes the place of the one before. */
async function during(kind, place, what, path, content) {
  running.get(kind)?.abort();
  const mine = new AbortController();
  running.set(kind, mine);
  try {
    return await saying(place, what, () => post(path, content, mine.signal));
  } finally {
    if (running.get(kind) === mine) running.delete(kind);
  }
}

function fromAddress() {
  const query = new URLSearchParams(location.search);
  asked.mode = query.get("mode") === "features" ? "features" : "circuit";
  asked.whole = query.get("of") === "model";
  asked.size = /^\d+$/.test(query.get("size") ?? "") ? Number(query.get("size")) : null;
  asked.out = (query.get("out") ?? "").split(",").filter(Boolean);
  if (query.get("behaviour") !== null || query.get("pairs")) {
    const fields = form.elements;
    fields.behaviour.value = query.get("behaviour") ?? "";
    for (const name of ["n", "seed", "method", "corruption", "metric"]) if (query.get(name)) fields[name].value = query.get(name);
    if (fields.behaviour.selectedIndex < 0) fields.behaviour.value = "";
    try {
      putPairs(JSON.parse(query.get("pairs") ?? "[]"));
      asked.question = question();
    } catch {
      // an address that was cut: the fields stay empty
    }
  }
  features.fromAddress(query);
}

function keepAddress() {
  const query = new URLSearchParams();
  if (asked.mode === "features") query.set("mode", "features"), features.toAddress(query);
  else if (asked.question) {
    const { behaviour, pairs, ...rest } = asked.question;
    if (behaviour) query.set("behaviour", behaviour);
    else query.set("pairs", JSON.stringify(pairs));
    for (const [name, value] of Object.entries(rest)) query.set(name, value);
    if (asked.size !== null) query.set("size", asked.size);
    if (asked.out.length) query.set("out", asked.out.join(","));
    if (asked.whole) query.set("of", "model");
  }
  if (String(query).length > MOST_OF_AN_ADDRESS) query.delete("pairs");
  history.replaceState(null, "", query.size ? `/circuits?${query}` : "/circuits");
}

const linesOf = (name) => form.elements[name].value.split("\n").map((line) => line.trim());
const wordsOf = (line) => (line.includes("|") ? line.split("|").map((word) => word.trim()).filter(Boolean) : line);

function question() {
  const { behaviour, n, seed, method, corruption, metric } = form.elements;
  const asks = { behaviour: behaviour.value, n: Number(n.value), seed: Number(seed.value), method: method.value, corruption: corruption.value, metric: metric.value, pairs: [] };
  if (behaviour.value) return asks;
  const [clean, corrupted, answers, distractors] = ["clean", "corrupted", "answer", "distractor"].map(linesOf);
  const last = Math.max(...[clean, corrupted, answers, distractors].map((lines) => lines.findLastIndex(Boolean)));
  for (let i = 0; i <= last; i++) {
    const all = [clean[i], corrupted[i], answers[i], distractors[i]];
    if (all.every((text) => !text)) continue;
    const missing = ["clean prompt", "corrupted prompt", "answer", "distractor"].filter((_, place) => !all[place]);
    if (missing.length) throw { thing: `line ${i + 1} has no ${missing.join(", no ")}`, place: "pairs", fix: "write one line for each pair in all four fields" };
    asks.pairs.push({ clean: clean[i], corrupted: corrupted[i], answer: wordsOf(answers[i]), distractor: wordsOf(distractors[i]) });
  }
  if (!asks.pairs.length) throw { thing: "there is no pair", place: "pairs", fix: "write a clean and a corrupted prompt, an answer and a distractor" };
  return asks;
}

function putPairs(pairs) {
  const joined = (word) => (Array.isArray(word) ? word.join(" | ") : word);
  for (const name of ["clean", "corrupted", "answer", "distractor"]) form.elements[name].value = pairs.map((one) => joined(one[name])).join("\n");
}

async function find(restored = false) {
  showError(byId("error"));
  try {
    asked.question = question();
  } catch (cause) {
    return showError(byId("error"), cause);
  }
  if (!restored) Object.assign(asked, { size: null, out: [] });
  keepAddress();
  finding?.abort();
  const mine = (finding = new AbortController());
  const say = (text) => finding === mine && (byId("status").textContent = text);
  byId("stop").hidden = false;
  byId("find").disabled = true;
  byId("parts").classList.toggle("stale", Boolean(found));
  try {
    const answer = await events("/api/circuits/find", {
      queued: ({ place }) => say(`Waiting: ${place} before this`),
      said: ({ words, amount }) => say(`${words} … ${amount}`),
    }, mine.signal, asked.question);
    if (finding !== mine) return;
    found = answer;
    say("");
    inside.clear();
    looked = null;
    if (!found.sizes.includes(asked.size)) asked.size = found.size;
    byId("about").replaceChildren(...about(found));
    byId("node").replaceChildren(el("p", { class: "empty", text: "Point at a node, or move to it with Tab, for its score and edges." }));
    byId("inside").replaceChildren();
    const slider = byId("size");
    slider.max = found.sizes.length - 1;
    slider.value = found.sizes.indexOf(asked.size);
    await draw(false);
  } catch (cause) {
    say(wasCancelled(cause) ? "Stopped." : "");
    if (!wasCancelled(cause)) showError(byId("error"), cause);
  } finally {
    if (finding === mine) {
      finding = null;
      byId("stop").hidden = true;
      byId("find").disabled = false;
      byId("parts").classList.remove("stale");
    }
  }
}

function sayLayout() {
  const circuits = asked.mode === "circuit";
  byId("ask").hidden = !circuits;
  byId("ask-graph").hidden = circuits;
  for (const id of ["size-part", "whole", "sign"]) byId(id).hidden = !circuits;
  byId("saves").querySelector("[data-form=dot]").hidden = !circuits;
  byId("saves").querySelector("[data-form=json]").textContent = circuits ? "JSON" : "Neuronpedia JSON";
  byId("graph-h").textContent = circuits ? "The circuit" : "What adds to the next token";
  const there = circuits ? Boolean(circuit) : features.there();
  byId("parts").hidden = !there;
  byId("empty").hidden = there;
  byId("empty").textContent = circuits ? "Choose a behaviour and Find: the edges between heads and MLPs that carry it are drawn, from the input at the bottom to the logits."
    : "Write a prompt and draw the graph: which features of its tokens add to which others, and to the likeliest next tokens.";
}

async function draw(keep = true) {
  const size = asked.size;
  byId("size").setAttribute("aria-valuetext", counted(size, "edge"));
  byId("size-said").textContent = saidOfSize(found, size);
  byId("curve").replaceChildren(curve(found, size));
  byId("curve-said").textContent = found.curve.length ? `Bands are 95% intervals over groups of pairs; grey, dashed: random circuits with as many edges of each kind. The dotted line is ${number(found.level)}, which the size chosen reached on the other half.` : "";
  byId("size-part").querySelector("#size-said").classList.toggle("guess-row", !found.curve.length);
  keepAddress();
  try {
    circuit = await during("draw", byId("drawing-status"), "Drawing", "/api/circuits/draw", { ...asked.question, size, width: NARROW.matches ? "phone" : "wide" });
  } catch (cause) {
    if (!wasCancelled(cause)) showError(byId("error"), cause);
    return;
  }
  if (size !== asked.size) return;
  byId("sign").textContent = "A score estimates what corrupting an edge does to the measure: a negative one carries the behaviour.";
  sayLayout();
  if (asked.mode === "circuit") redraw(keep);
}

/** Shows the circuit; `keep` what part of it is seen. */
function redraw(keep) {
  show(circuit.svg, { look, toggle, fixed: (name) => name === "logits" }, keep);
  showTaken();
}

function look(name) {
  if (looked === name) return;
  looked = name;
  const node = circuit.nodes.find((one) => one.name === name);
  const into = circuit.edges.filter(({ targets }) => targets.includes(name)), from = circuit.edges.filter(({ source }) => source === name);
  const kind = { head: `head of layer ${node.layer}`, mlp: `MLP of layer ${node.layer}`, input: "what the embedding writes", logits: "what is read by the unembedding" }[node.kind];
  byId("node").replaceChildren(
    el("p", {}, el("b", { text: name }), el("span", { class: "role", text: ` ${kind}` }), node.score === null ? "" : `; the scores of all its edges in the model add up to ${number(node.score, 3)}, an estimate of what corrupting it does.`),
    edgeTable("Edges in", into), edgeTable("Edges out", from));
  byId("inside").replaceChildren();
  showError(byId("node-error"));
  clearTimeout(later);
  if (node.kind === "input" || node.kind === "logits") return;
  if (inside.has(name)) showInside(name);
  else later = setTimeout(() => open(name), 400); // a pointer that only passes asks nothing
}

async function open(name) {
  try {
    const { question: own, size } = asked;
    inside.set(name, await during("node", byId("node-status"), `Looking into ${name}`, "/api/circuits/node", { ...own, size, node: name }));
    if (looked === name) showInside(name);
  } catch (cause) {
    if (!wasCancelled(cause) && looked === name) showError(byId("node-error"), cause);
  }
}

function showInside(name) {
  const { neurons, served, ...read } = inside.get(name);
  byId("inside").replaceChildren(...readTokens(read), ...(neurons ? [neuronTable(neurons, served)] : []));
}

function toggle(name) {
  asked.out = asked.out.includes(name) ? asked.out.filter((one) => one !== name) : [...asked.out, name];
  keepAddress();
  showTaken();
}

async function showTaken() {
  markTaken(asked.out);
  const place = byId("taken");
  showError(byId("taken-error"));
  if (!asked.out.length) {
    running.get("taken")?.abort();
    place.replaceChildren(el("p", { class: "empty", text: "Click a node to take it out: the model runs with its edges corrupted, too." }));
    return;
  }
  place.classList.add("stale");
  const chips = el("div", { class: "chips" }, ...asked.out.map((name) => el("button", { type: "button", text: `restore ${name}`, onclick: () => toggle(name) })),
    asked.out.length > 1 ? el("button", { type: "button", text: "restore all", onclick: () => (asked.out = [], keepAddress(), showTaken()) }) : null);
  place.replaceChildren(chips, ...[...place.children].filter((node) => !node.classList.contains("chips") && !node.classList.contains("empty")));
  try {
    const answer = await during("taken", byId("taken-status"), "Running without them", "/api/circuits/ablate", { ...asked.question, size: asked.size, nodes: asked.out, whole: asked.whole });
    place.replaceChildren(chips, ...takenSaid(answer));
    place.classList.remove("stale");
  } catch (cause) {
    if (wasCancelled(cause)) return;
    place.replaceChildren(chips);
    place.classList.remove("stale");
    showError(byId("taken-error"), cause);
  }
}

function takenSaid({ answers, distractors, difference, null: null_, guess, draws, n }) {
  const row = (name, one) => ({ name, before: one.before[0], after: one.after[0], said: `${one.change[0] > 0 ? "+" : ""}${number(one.change[0])}` });
  const others = draws ? `Taking out ${asked.out.length === 1 ? "another node" : "as many other nodes"} of the same kind (${counted(draws, "draw")}): ${draws > 1 ? `${estimated(null_)}, mean and range` : number(null_[0])}.` : "There are no other nodes of the same kind to compare with.";
  return [
    bars([row("answers", answers), row("distractors", distractors), row("difference", difference)]),
    el("p", { class: guess ? "guess-row" : "" }, `Without ${asked.out.join(", ")} the difference of the logits changes by ${estimated(difference.change)} `, guess ? flag("no more than others do") : null),
    el("p", { class: "hint", text: `Grey: before, ${asked.whole ? "the whole model" : "the circuit"}; blue: after. Mean logits of ${counted(n, "pair")} that the circuit was ${found.alike ? "also" : "not"} chosen on, 95% intervals. ${others}` })];
}

/** Saves a file that the server makes. */
async function download(path, content, name) {
  showError(byId("error"));
  try {
    const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content) });
    if (!response.ok) throw (await response.json()).error;
    const address = URL.createObjectURL(await response.blob());
    const link = el("a", { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  } catch (cause) {
    showError(byId("error"), cause);
  }
}

function mount() {
  const theme = matchMedia("(prefers-color-scheme: dark)");
  mountDrawing();
  fromAddress();
  const own = () => {
    byId("own").hidden = form.elements.behaviour.value !== "";
    byId("drawn").hidden = !byId("own").hidden;
  };
  form.elements.behaviour.addEventListener("change", own);
  own();
  for (const radio of document.querySelectorAll("[name=mode]")) {
    radio.checked = radio.value === asked.mode;
    radio.addEventListener("change", () => {
      asked.mode = radio.value;
      showError(byId("error"));
      for (const id of ["node", "inside", "taken"]) byId(id).replaceChildren();
      looked = null;
      sayLayout();
      keepAddress();
      if (asked.mode === "features") features.shown();
      else if (circuit) redraw(false), byId("about").replaceChildren(...about(found));
    });
  }
  for (const radio of document.querySelectorAll("[name=whole]")) {
    radio.checked = (radio.value === "model") === asked.whole;
    radio.addEventListener("change", () => (asked.whole = radio.value === "model", keepAddress(), found && showTaken()));
  }
  form.addEventListener("submit", (event) => (event.preventDefault(), find()));
  byId("stop").addEventListener("click", () => finding?.abort());
  byId("size").addEventListener("input", () => {
    asked.size = found.sizes[Number(byId("size").value)];
    inside.clear();
    draw();
  });
  byId("saves").addEventListener("click", (event) => {
    const kind = event.target.dataset.form, shade = theme.matches ? "dark" : "light";
    if (!kind) return;
    if (asked.mode === "features") features.save(kind, shade);
    else download("/api/circuits/save", { ...asked.question, size: asked.size, form: kind, theme: shade }, `circuit.${kind}`);
  });
  sayLayout();
  if (asked.mode === "features") features.shown(true);
  else if (asked.question) find(true);
}

mount();
