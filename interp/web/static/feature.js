/** The page of one feature: its evidence, what it does, and what is said of it. */
import { post, wasCancelled } from "./api.js";
import { byId, count, counted, el, number, percent, saying, showError, svg } from "./dom.js";
import { mountAgain, mountPeople } from "./feature_say.js";
import { mountTry } from "./feature_try.js";
import { feature, stream, tokenLine } from "./feature_parts.js";
import { heatLegend, visible } from "./tokens.js";

const AT_FIRST = 5;
const BANDS = [["top", "Strongest"], ["high", "Upper half of its active range"], ["low", "Lower half of its active range"], ["silent", "Silent here"]];

/** Fills a place with what the server answers, saying what it does meanwhile. */
async function fill(name, what, draw) {
  const error = byId(`${name}-error`), status = byId(`${name}-status`), control = new AbortController();
  const stop = el("button", { type: "button", class: "quiet", text: "Stop", onclick: () => control.abort() });
  const late = setTimeout(() => status.after(stop), 2000);
  showError(error);
  try {
    const found = await saying(status, what, () => post(`/api/feature-page/${name}`, { key: feature.key }, control.signal));
    byId(name).replaceChildren(...draw(found).filter(Boolean));
  } catch (cause) {
    if (!wasCancelled(cause)) showError(error, cause);
    else byId(name).replaceChildren(el("button", { type: "button", text: "Go on", onclick: () => fill(name, what, draw) }));
  } finally {
    clearTimeout(late);
    stop.remove();
    byId(name).classList.remove("reserved", "reserved-figure", "reserved-table");
  }
}

function exemplars(found) {
  const { windows, top } = found;
  byId("heat").replaceChildren(windows.length ? heatLegend({ values: [], top, caption: `activation; full colour at ${found.top_is}` }) : "");
  const of = (name) => windows.filter(({ band, quantile }) => name === (band === "quantile" ? (quantile >= 0.5 ? "high" : "low") : band));
  const missing = Object.entries(found.missing).map(([name, n]) => el("p", { class: "hint" }, `${counted(n, "window")} of the text “${name}” cannot be shown, as that text is not here: start the server with the run's folder, whose config.yaml names it.`));
  return [
    ...missing,
    found.outside ? el("p", { class: "hint", text: `${counted(found.outside, "window")} point beyond their text: it is not the text that was mined.` }) : null,
    found.moved ? el("p", { class: "hint", text: `In ${counted(found.moved, "window")} the largest activation is not the stored one: the model or the text has changed since.` }) : null,
    ...BANDS.map(([name, title]) => bandNode(title, of(name), top)),
  ];
}

function bandNode(title, windows, top) {
  if (!windows.length) return null;
  const rows = windows.map((one) => windowNode(one, top));
  const list = el("ol", { class: "windows" }, ...rows.slice(0, AT_FIRST));
  const more = rows.length > AT_FIRST ? el("button", { type: "button", class: "quiet", text: `Show all ${rows.length}` }) : null;
  more?.addEventListener("click", () => (list.replaceChildren(...rows), rows[AT_FIRST].setAttribute("tabindex", "-1"), rows[AT_FIRST].focus(), more.remove()));
  return el("div", { class: "band" }, el("h4", {}, title, el("span", { class: "hint", text: ` ${counted(windows.length, "window")}` })), list, more);
}

function windowNode({ split, document, start, value, quantile, peak, tokens, values }, top) {
  const where = `${split}, document ${count(document)}`;
  const share = quantile === null ? "" : `, stronger than ${percent(quantile)} of those where it is active`;
  return el("li", {}, tokenLine({ tokens, values, peak, top, start }), el("p", { class: "key", title: `token ${start} of its document${share}` }, peak === null ? "" : `peak ${number(value, 3)} · `, where));
}

function activity(found) {
  const { counts, edges, active, tokens, documents, corpus } = found;
  const said = `${percent(active.value)} of tokens (${percent(active.low)} to ${percent(active.high)}), on ${counted(tokens, "token")} of ${counted(documents, "document")} of ${corpus}.`;
  return [histogram(counts, edges), el("p", { class: "hint", text: `Read again here: above zero on ${said}` })];
}

/** Tokens by activation; heights grow with the logarithm of the number, as most tokens are near zero. */
function histogram(counts, edges) {
  const W = 420, H = 120, LEFT = 44, BASE = 96, TOP = 8;
  const low = edges[0], high = edges[edges.length - 1], most = Math.max(...counts, 1);
  const across = (x) => LEFT + ((x - low) / (high - low || 1)) * (W - LEFT - 8);
  const up = (n) => (n ? BASE - 4 - (Math.log10(n) / Math.max(Math.log10(most), 0.1)) * (BASE - TOP - 4) : BASE);
  const bars = counts.map((n, i) => (n ? svg("rect", { class: edges[i + 1] > 0 ? "bar-active" : "bar-below", x: across(edges[i]), y: up(n), width: Math.max(1, across(edges[i + 1]) - across(edges[i]) - 0.6), height: BASE - up(n) }, titled(`${number(edges[i])} to ${number(edges[i + 1])}: ${counted(n, "token")}`)) : null)).filter(Boolean);
  const text = (x, y, anchor, words) => Object.assign(svg("text", { x, y, "text-anchor": anchor }), { textContent: words });
  const extreme = Number(byId("feature").dataset.level || NaN);
  const marks = [];
  if (extreme > low && extreme < high) marks.push(svg("line", { class: "quantile-line", x1: across(extreme), x2: across(extreme), y1: TOP, y2: BASE }, titled(`its 0.99999 quantile, ${number(extreme)}`)));
  const powers = Array.from({ length: Math.floor(Math.log10(most)) + 1 }, (_, i) => 10 ** i);
  return svg("svg", { class: "histogram", viewBox: `0 0 ${W} ${H + 12}`, role: "img", "aria-label": `Tokens by activation, from ${number(low)} to ${number(high)}; most often ${count(most)} tokens a bar` },
    ...powers.map((n) => svg("line", { class: "axis-grid", x1: LEFT, x2: W - 8, y1: up(n), y2: up(n) })), ...powers.map((n) => text(LEFT - 4, up(n) + 3, "end", count(n))),
    ...bars, ...marks, svg("line", { class: "axis", x1: LEFT, x2: W - 8, y1: BASE, y2: BASE }),
    text(across(low), BASE + 13, "start", number(low)), ...(low < 0 && high > 0 && across(0) - LEFT > 40 && W - across(0) > 60 ? [text(across(0), BASE + 13, "middle", "0")] : []), text(W - 8, BASE + 13, "end", number(high)),
    text((LEFT + W) / 2, H + 4, "middle", "activation; tokens a bar on a log scale"));
}

const titled = (words) => Object.assign(svg("title"), { textContent: words });

function logits({ top, bottom, highest, lowest, draws }) {
  const range = ({ value, low, high }) => `${number(value)} (${number(low)} to ${number(high)})`;
  const rows = (list) => list.map((one) => el("tr", { class: one.beyond ? null : "guess" }, el("td", {}, el("span", { class: "tokens key", title: `id ${one.id}` }, ...visible(one.text))), el("td", { class: "n", text: number(one.effect) })));
  const table = (title, list) => el("table", {}, el("caption", { text: title }), el("tbody", {}, ...rows(list)));
  const any = [...top, ...bottom].some((one) => one.beyond);
  return [
    el("div", { class: "two" }, table("raises most", top), table("lowers most", bottom)),
    el("p", { class: "hint", text: `In logits for one unit of activation, times the scale of the final norm, straight to the output. Of ${draws} random directions of this length the highest is ${range(highest)}, the lowest ${range(lowest)}. ${any ? "Grey: no further than those." : "It moves no token further than those."}` }),
  ];
}

/** A table of features, each with a link and what is known of it. */
function featureRows(caption, head, list, value) {
  const rows = list.map((one) => el("tr", { class: one.beyond === false ? "guess" : null },
    el("td", {}, el("a", { href: `/feature/${encodeURI(one.key).replaceAll("+", "%2B")}`, class: one.guess ? "guess" : null, text: one.short || one.key }), one.short ? el("span", { class: "key", text: ` ${one.key}` }) : el("span", { class: "hint", text: " undescribed" }), one.short && one.guess ? el("span", { class: "flag", text: "guess" }) : null),
    el("td", { class: "n" }, value(one))));
  return el("table", {}, el("caption", { text: caption }), el("thead", {}, el("tr", {}, el("th", { text: "feature" }), el("th", { class: "n", text: head }))), el("tbody", {}, ...rows));
}

function similar(found) {
  const { by_meaning: meaning, by_direction: direction, null: chance } = found;
  return [
    direction.length ? featureRows("By direction: they write nearly the same", "cosine", direction, (one) => number(one.cosine)) : null,
    el("p", { class: "hint", text: `A random direction's nearest among the same ${counted(found.features, "feature")} has cosine ${number(chance.value)} (${number(chance.low)} to ${number(chance.high)}, ${found.draws} directions); grey: not above.` }),
    found.left_out.length ? el("p", { class: "hint", text: `Without direction: ${found.left_out.join(", ")}.` }) : null,
    meaning.length ? featureRows("By meaning: their descriptions say nearly the same", "similarity", meaning, (one) => number(one.similarity)) : el("p", { class: "hint", text: "By meaning none can be found before it is described." }),
  ];
}

function mountTogether() {
  const place = byId("together"), run = byId("together-run");
  run.addEventListener("click", async () => {
    const found = await stream("together", {}, "together", run);
    if (!found) return;
    const { null: chance } = found;
    const ends = ({ value, low, high }) => el("span", {}, number(value), el("span", { class: "ends", text: ` (${number(low)} to ${number(high)})` }));
    place.replaceChildren(
      featureRows("Correlation of activations above zero", "r (95%)", found.found, (one) => ends(one.correlation)),
      el("p", { class: "hint", text: `On ${counted(found.tokens, "token")} of ${counted(found.documents, "document")} of ${found.corpus}; ${counted(found.features, "side")} of features. With its documents shuffled the highest of all is ${number(chance.value)} (${number(chance.low)} to ${number(chance.high)}); grey: not above.` }));
  });
}

mountTry();
mountPeople();
mountAgain();
mountTogether();
if (!byId("exemplars").children.length) fill("exemplars", "Reading the windows", exemplars);
else byId("exemplars").classList.remove("reserved");
fill("logits", "Computing what it adds", logits);
fill("similar", "Comparing it with all features", similar);
fill("activity", "Reading documents", activity);
