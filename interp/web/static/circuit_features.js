/** The second mode of the page Circuits: the attribution graph of one prompt, and its logits without some features. */
import { events, post, wasCancelled } from "./api.js";
import { markTaken, show } from "./circuit_drawing.js";
import { bars, edgeTable, estimated, flag } from "./circuit_parts.js";
import { byId, count, counted, el, number, percent, saying, showError } from "./dom.js";
import { heatClass, lineClass, tokenNode } from "./tokens.js";

const form = byId("ask-graph");
const asked = { question: null, gone: [] };
const EXAMPLES = 3, RADIUS = 8;
let found = null, tracing = null, removing = null, looked = null, later = 0;
const exemplars = new Map();
let page = null;

/**
 * @param {{keepAddress: () => void, download: (path: string, content: object, name: string) => Promise<void>}} whole
 * @returns {object} what the page asks of this mode
 */
export function mountFeatures(whole) {
  page = whole;
  form.addEventListener("submit", (event) => (event.preventDefault(), trace()));
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("stop-graph").addEventListener("click", () => tracing?.abort());
  return { fromAddress, toAddress, shown, save, there: () => Boolean(found) };
}

function fromAddress(query) {
  const fields = form.elements;
  fields.prompt.value = query.get("prompt") ?? "";
  fields.targets.value = query.getAll("target").join(", ");
  for (const name of ["kind", "share"]) if (query.get(name)) fields[name].value = query.get(name);
  asked.gone = query.getAll("gone");
  asked.question = fields.prompt.value.trim() ? question() : null;
}

function toAddress(query) {
  if (!asked.question) return;
  const { prompt, targets, kind, share } = asked.question;
  for (const [name, value] of Object.entries({ prompt, kind, share })) query.set(name, value);
  for (const word of targets) query.append("target", word);
  for (const name of asked.gone) query.append("gone", name);
}

function question() {
  const { prompt, targets, kind, share } = form.elements;
  return { prompt: prompt.value, targets: targets.value.split(",").map((word) => word.trim()).filter(Boolean), kind: kind.value || "neurons", share: Number(share.value) };
}

/** Shows this mode; `restored` draws the graph that the address asks for. */
function shown(restored = false) {
  if (found) draw();
  else if (restored && asked.question) trace(true);
}

function save(kind, theme) {
  page.download("/api/circuits/graph/save", { ...asked.question, form: kind, theme }, `attribution_graph.${kind}`);
}

async function trace(restored = false) {
  showError(byId("error"));
  asked.question = question();
  if (!restored) asked.gone = [];
  page.keepAddress();
  tracing?.abort();
  const mine = (tracing = new AbortController());
  const say = (text) => tracing === mine && (byId("status").textContent = text);
  byId("stop-graph").hidden = false;
  byId("trace").disabled = true;
  try {
    const answer = await events("/api/circuits/graph", {
      queued: ({ place }) => say(`Waiting: ${place} before this`),
      said: ({ words, amount }) => say(`${words} … ${amount}`),
    }, mine.signal, asked.question);
    if (tracing !== mine) return;
    found = answer;
    say("");
    if (!form.hidden) draw();
  } catch (cause) {
    say(wasCancelled(cause) ? "Stopped." : "");
    if (!wasCancelled(cause)) showError(byId("error"), cause);
  } finally {
    if (tracing === mine) {
      tracing = null;
      byId("stop-graph").hidden = true;
      byId("trace").disabled = false;
    }
  }
}

function draw() {
  looked = null;
  byId("parts").hidden = false;
  byId("empty").hidden = true;
  const kinds = Object.fromEntries(found.nodes.map(({ name, kind }) => [name, kind]));
  asked.gone = asked.gone.filter((name) => kinds[name] === "feature");
  show(found.svg, { look, toggle, fixed: (name) => kinds[name] !== "feature" });
  const features = found.nodes.filter(({ kind }) => kind === "feature").length;
  byId("about").replaceChildren(
    el("p", { text: `Shown are ${counted(features, "feature")} with ${percent(found.share)} of the influence on the logits${found.share < asked.question.share ? " (more would be too many to draw)" : ""}, of ${count(found.n_features)} in the graph and ${count(found.n_active)} active.` }),
    el("p", { text: `Of all end-to-end influence ${percent(found.scores.replacement)} comes from tokens rather than from what features leave out (replacement score); ${percent(found.scores.completeness)} of what nodes receive is not from errors (completeness).` }),
    el("p", { class: "hint", text: "An edge is what a node adds directly to another one, or to a logit less the mean of all logits, with attention and the scales of norms held as they are on this prompt." }));
  byId("node").replaceChildren(el("p", { class: "empty", text: "Point at a node, or move to it with Tab, for its edges." }));
  byId("inside").replaceChildren();
  showGone();
}

const said = (name) => found.nodes.find((node) => node.name === name)?.says ?? name;

function look(name) {
  if (looked === name) return;
  looked = name;
  const node = found.nodes.find((one) => one.name === name);
  const at = node.kind === "logit" ? "" : ` at “${found.words[node.position].trim()}”`;
  const named = (end) => ({ [end]: key, score }) => ({ name: said(key), score });
  byId("node").replaceChildren(
    el("p", {}, el("b", { text: node.says }), el("span", { class: "role", text: at }), node.kind === "feature" ? `; active with ${number(node.value, 3)} ` : node.kind === "logit" ? `; probability ${number(node.probability, 3)} ` : " ",
      node.key && document.body.dataset.spaces.split(" ").includes(node.key.split("/")[0]) ? el("a", { href: `/feature/${node.key}`, text: "its page" }) : null),
    edgeTable("Adds to it", found.edges.filter(({ target }) => target === name).map(named("source"))),
    edgeTable("It adds to", found.edges.filter(({ source }) => source === name).map(named("target"))));
  byId("inside").replaceChildren();
  showError(byId("node-error"));
  clearTimeout(later);
  if (node.kind !== "feature") return;
  if (exemplars.has(node.key)) showExemplars(node.key);
  else later = setTimeout(() => read(node), 500); // a pointer that only passes asks nothing
}

async function read(node) {
  try {
    exemplars.set(node.key, await saying(byId("node-status"), "Reading examples", () => post("/api/feature-page/exemplars", { key: node.key })));
  } catch (cause) {
    exemplars.set(node.key, null); // no store knows it
    if (![400, 404].includes(cause.status) && looked === node.name) showError(byId("node-error"), cause);
  }
  if (looked === node.name) showExemplars(node.key);
}

function showExemplars(key) {
  const answer = exemplars.get(key);
  const windows = (answer?.windows ?? []).slice(0, EXAMPLES);
  if (!windows.length) return byId("inside").replaceChildren(el("p", { class: "hint", text: "No store has examples of it." }));
  byId("inside").replaceChildren(el("p", { class: "hint", text: "Where it is most active:" }), ...windows.map(({ tokens, values, peak }) => {
    const first = Math.max(0, (peak ?? 0) - RADIUS), near = tokens.slice(first, first + 2 * RADIUS);
    return el("div", { class: lineClass(near) }, ...near.map((token, i) => tokenNode(token, token.special ? "" : heatClass(Math.max(0, values[first + i]), answer.top))));
  }));
}

function toggle(name) {
  asked.gone = asked.gone.includes(name) ? asked.gone.filter((one) => one !== name) : [...asked.gone, name];
  page.keepAddress();
  showGone();
}

async function showGone() {
  markTaken(asked.gone);
  const place = byId("taken");
  showError(byId("taken-error"));
  removing?.abort();
  if (!asked.gone.length) {
    place.replaceChildren(el("p", { class: "empty", text: "Click a feature to remove it: the model runs with it at zero." }));
    return;
  }
  const mine = (removing = new AbortController());
  place.classList.add("stale");
  const chips = el("div", { class: "chips" }, ...asked.gone.map((name) => el("button", { type: "button", text: `restore ${said(name)}`, onclick: () => toggle(name) })));
  place.replaceChildren(chips);
  try {
    const { logits } = await saying(byId("taken-status"), "Running without them", () => post("/api/circuits/graph/remove", { ...asked.question, nodes: asked.gone }, mine.signal));
    const rows = logits.map(({ word, before, after, predicted }) => ({ name: word.trim(), before, after, predicted, said: `${after > before ? "+" : ""}${number(after - before)}` }));
    const guesses = logits.filter(({ guess }) => guess).map(({ word }) => word.trim());
    place.replaceChildren(chips, bars(rows),
      ...(guesses.length ? [el("p", { class: "guess-row" }, `${guesses.join(", ")} `, flag("no more than others do"))] : []),
      el("p", { class: "hint", text: `Logits less the mean of all. Grey: before; blue: after; dashed: what the graph's edges say. Without as many other features, drawn 5 times, the first changes by ${estimated(logits[0].null)}, mean and range. One prompt: no interval.` }));
  } catch (cause) {
    if (!wasCancelled(cause)) showError(byId("taken-error"), cause);
  } finally {
    if (removing === mine) place.classList.remove("stale");
  }
}
