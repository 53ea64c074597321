/** The page Compare: two populations, the sentence of what is seen, figures and tables. Its state is in the address. */
import { get, wasCancelled } from "./api.js";
import { byId, count, el, number, percent, saying, showError } from "./dom.js";

const DEFAULT_SCORE = "simulation";
const WIDE_FROM = 760;
const state = { a: "", b: "", score: DEFAULT_SCORE };
let populations = new Map();
let running = null;

const words = (text) => text.replaceAll("_", " ");
let linked = false;
const feature = (key) => (linked ? el("a", { href: `/feature/${key.split("/").map(encodeURIComponent).join("/")}`, class: "key", text: key }) : el("span", { class: "key", text: key }));
const said = (text) => ({ text, class: "words" });

function keep() {
  history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(state)}`);
}

function fill(select, chosen) {
  const groups = Map.groupBy([...populations.values()], (one) => one.group);
  const options = [...groups].map(([group, own]) =>
    el("optgroup", { label: group }, ...own.map((one) => el("option", { value: one.key, text: `${one.name} (${count(one.n)})` }))),
  );
  select.replaceChildren(...options);
  select.value = chosen;
}

/** The scores that both sides have; the chosen one stays where it can. */
function fillScores() {
  const [first, second] = [state.a, state.b].map((key) => populations.get(key)?.measures ?? []);
  const shared = first.filter((one) => second.includes(one));
  if (!shared.includes(state.score)) state.score = shared.includes(DEFAULT_SCORE) ? DEFAULT_SCORE : (shared[0] ?? DEFAULT_SCORE);
  byId("score").replaceChildren(...(shared.length ? shared : [state.score]).map((one) => el("option", { value: one, text: one })));
  byId("score").value = state.score;
}

function table(head, rows) {
  const cell = (tag, one) => (one instanceof Node ? el(tag, {}, one) : typeof one === "number" || one === null ? el(tag, { class: "n", text: number(one) }) : el(tag, { class: one.right ? "n" : one.class, text: one.text ?? one }));
  return el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head.map((one) => cell("th", one)))), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((one) => cell("td", one)))))),
  );
}

const right = (text) => ({ text, right: true });

function sideRow(side) {
  const scored = side.undefined ? `${count(side.scored)}, ${count(side.undefined)} not defined` : count(side.scored);
  const share = side.scored ? `${count(side.above)} (${percent(side.above / side.scored)})` : "–";
  return el("tr", {}, el("td", {}, el("span", { class: `mark ${side.kind}` }), side.name, el("div", { class: "hint", text: side.source })),
    ...[count(side.described), scored, side.mean, side.null, share].map((text) => el("td", { class: "n", text })));
}

/** A drawing of the server's own, which holds texts as text; read as HTML, so that nothing in it runs. */
function drawn({ title, caption, svg }) {
  const node = document.importNode(new DOMParser().parseFromString(svg, "text/html").querySelector("svg"), true);
  return el("figure", {}, el("h3", { text: title }), node, el("figcaption", { text: caption }));
}

function best(side) {
  if (!side.best.length) return null;
  const rows = side.best.map((one) => [feature(one.key), { text: one.text, class: one.guess ? "words guess" : "words" }, one.value]);
  return el("section", {}, el("h3", { text: `Best described: ${side.name}` }), table(["Feature", "Description", right("Score")], rows),
    side.best.some((one) => one.guess) ? el("p", { class: "hint", text: "In italics: a guess, whose score is not above its null." }) : null);
}

function pairs(found) {
  if (!found.pairs.length) return null;
  const rows = found.pairs.map((one) => [feature(one.key), said(one.text_a), one.value_a, said(one.text_b), one.value_b, one.gap]);
  const [first, second] = found.sides;
  return el("section", { class: "whole" }, el("h3", { text: "Features whose two scores differ most" }),
    table(["Feature", first.name, right("Score"), second.name, right("Score"), right("Difference")], rows));
}

function matches(found) {
  if (!found) return null;
  const rows = found.rows.map((one) => [feature(one.latent), feature(one.neuron), one.correlation, one.random_correlation, one.latent_score, one.neuron_score, said(one.text)]);
  return el("section", { class: "whole" }, el("h3", { text: "Matched pairs: each latent and its most similar neuron" }),
    el("dl", { class: "facts" }, ...found.facts.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value })))),
    table(["Latent", "Nearest neuron", right("r"), right("r, nearest random"), right("Score, latent"), right("Score, neuron"), "Description of the latent"], rows));
}

function concepts(found, [first, second]) {
  if (!found) return null;
  const shown = (one) => (one ? { text: `${number(one.auroc)} (${number(one.low)} to ${number(one.high)})`, right: true } : right("–"));
  const link = (one) => (one ? feature(one.key) : "–");
  const rows = found.rows.map((one) => [words(one.concept), shown(one.a), link(one.a), shown(one.b), link(one.b)]);
  return el("section", { class: "whole" }, el("h3", { text: "Labelled concepts" }),
    el("p", { text: `Mean difference of AUROC, ${second.name} minus ${first.name}: ${found.difference}. Found: ${found.found[0] ?? "–"} and ${found.found[1] ?? "–"} of ${found.rows.length}.` }),
    el("details", { class: "fold" }, el("summary", { text: `All ${found.rows.length} concepts` }),
      table(["Concept", right(`AUROC, ${first.name}`), "Best feature", right(`AUROC, ${second.name}`), "Best feature"], rows)));
}

function show(found) {
  linked = found.linked;
  byId("sentence").textContent = found.sentence;
  const [first, second] = found.sides;
  const gap = el("tr", { class: "difference" }, el("td", { text: `${second.name} minus ${first.name}` }), el("td"),
    el("td", { class: "n", text: found.paired ? `${count(found.n_pairs)} features on both sides` : "" }), el("td", { class: "n", text: found.difference }), el("td"), el("td"));
  byId("both").tBodies[0].replaceChildren(...found.sides.map(sideRow), gap);
  byId("how").textContent = `Split: report. The interval of the difference is ${found.how}. Rest on a dot to read its description.`;
  byId("figures").replaceChildren(...found.figures.map(drawn));
  byId("evidence").replaceChildren(...[pairs(found), matches(found.matches), concepts(found.concepts, found.sides), ...found.sides.map(best)].filter(Boolean));
  byId("found").hidden = false;
  byId("found").classList.remove("stale");
}

async function compare() {
  running?.abort();
  const mine = (running = new AbortController());
  fillScores();
  keep();
  const asked = new URLSearchParams(state);
  byId("csv").href = `/compare.csv?${asked}`;
  byId("csv").hidden = false;
  byId("found").classList.add("stale");
  try {
    const width = innerWidth < WIDE_FROM ? "phone" : "wide";
    const found = await saying(byId("said"), "comparing the scores and drawing", () => get(`/api/compare?${asked}&width=${width}`, mine.signal));
    showError(byId("error"));
    show(found);
  } catch (error) {
    if (!wasCancelled(error)) showError(byId("error"), error);
  }
}

async function begin() {
  const address = new URLSearchParams(location.search);
  const run = address.get("run") ?? "";
  let told;
  try {
    told = await saying(byId("said"), "reading what there is to compare", () => get(`/api/compare/populations?${new URLSearchParams({ run })}`));
  } catch (error) {
    showError(byId("error"), error);
    return;
  }
  populations = new Map(told.populations.map((one) => [one.key, one]));
  const known = (name) => (populations.has(address.get(name)) ? address.get(name) : null);
  const lost = ["a", "b"].map((name) => address.get(name)).filter((key) => key && !populations.has(key));
  if (!told.pair && !(known("a") && known("b"))) {
    byId("sides").hidden = true;
    byId("empty").hidden = false;
    byId("empty").textContent = populations.size
      ? `Only one population is known here (${[...populations.values()][0].name}): open a second store, or make a run with \`interp run compare\`.`
      : "Nothing is described yet: start with a store (`interp serve STORE`), or make a run with `interp run compare`.";
    return;
  }
  Object.assign(state, { a: known("a") ?? told.pair[0], b: known("b") ?? told.pair[1], score: address.get("score") ?? DEFAULT_SCORE });
  fill(byId("a"), state.a);
  fill(byId("b"), state.b);
  await compare();
  if (lost.length) showError(byId("error"), { thing: `there is no population ${lost.join(" and ")}; another is shown`, fix: "choose one of the lists" });
}

for (const name of ["a", "b", "score"]) {
  byId(name).addEventListener("change", (event) => {
    state[name] = event.target.value;
    compare();
  });
}
byId("swap").addEventListener("click", () => {
  [state.a, state.b] = [state.b, state.a];
  byId("a").value = state.a;
  byId("b").value = state.b;
  compare();
});
byId("sides").addEventListener("submit", (event) => event.preventDefault());
begin();
