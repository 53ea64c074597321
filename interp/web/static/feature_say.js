/** What is said of the feature: measured descriptions with their scores, describing again, and people. */
import { post } from "./api.js";
import { byId, count, counted, el, number, saying, showError } from "./dom.js";
import { feature, stream } from "./feature_parts.js";

const NAME = "interp:person";

/** Shows all descriptions and what people say; lets a person say something. */
export function mountPeople() {
  show();
  const form = byId("people-form");
  if (!form) return;
  form.elements.name.value = stored();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    showError(byId("people-error"));
    const { name, text } = form.elements;
    const rating = form.elements.rating?.value;
    try {
      const body = { key: feature.key, name: name.value.trim(), text: text.value.trim(), rating: rating ? Number(rating) : null };
      draw(await saying(byId("people-status"), "Keeping it", () => post("/api/feature-page/say", body)));
      byId("people-status").textContent = "Kept.";
      store(name.value.trim());
    } catch (cause) {
      showError(byId("people-error"), cause);
    }
  });
}

async function show() {
  try {
    draw(await post("/api/feature-page/said", { key: feature.key }));
  } catch (cause) {
    showError(byId("descriptions-error"), cause);
  }
}

function draw({ measured, people }) {
  byId("descriptions").classList.remove("reserved-table");
  byId("descriptions").replaceChildren(...(measured.length ? measured.map((one) => described(one, one.chosen)) : [el("p", { class: "empty", text: "No description has been measured: let it be described below." })]));
  byId("said-by").replaceChildren(...(people.length ? people.map(person) : [el("p", { class: "empty", text: "Nobody has said anything yet." })]));
}

function described({ text, explainer, sample, chosen, scores }, open) {
  const head = el("summary", {}, el("span", { class: "key", text: sample ? `${explainer} ${sample}` : explainer }), " ", chosen ? el("b", { class: "mark", text: "chosen" }) : null, " ", el("span", { class: "words", text }));
  return el("details", { class: "fold described", open }, head, scores.length ? scoresTable(scores) : el("p", { class: "hint", text: "Not scored: only the chosen description of an explainer is." }));
}

const ends = (low, high) => (low === null || high === null ? null : el("span", { class: "ends", text: ` (${number(low)} to ${number(high)})` }));

function scoresTable(scores) {
  const rows = scores.map((one) => el("tr", { class: one.guess ? "guess" : null },
    el("th", { scope: "row" }, one.kind, " ", one.guess ? el("span", { class: "flag", title: "not above its null", text: "guess" }) : null), el("td", { text: one.scorer }), el("td", { text: one.split }),
    el("td", { class: "n" }, number(one.value), ends(one.low, one.high)), el("td", { class: "n null" }, number(one.null_mean), ends(one.null_low, one.null_high)),
    el("td", { class: "n", text: count(one.n) }), el("td", { class: "n", text: count(one.failures) })));
  const head = ["score", "scorer", "split"].map((text) => el("th", { text })), numbers = ["value (95%)", "null (range)", "n", "failures"].map((text) => el("th", { class: "n", text }));
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Scores" }, el("table", {}, el("thead", {}, el("tr", {}, ...head, ...numbers)), el("tbody", {}, ...rows)));
}

function person({ name, text, rating, rates }) {
  return el("blockquote", {}, text ? el("p", { text }) : null, el("footer", { class: "hint" }, `${name}${rating === null ? "" : ` gives ${rating} of 5 to “${rates}”`}`));
}

/** Lets the feature be described again, beside what is known, and be kept. */
export function mountAgain() {
  const form = byId("again-form"), button = form.querySelector("[type=submit]"), place = byId("again-result");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const found = await stream("again", { explainer: form.elements.explainer.value }, "again", button);
    if (found) place.replaceChildren(...again(found));
  });
}

function again({ made, measured }) {
  const keep = el("button", { type: "button", text: "Keep it" });
  const said = el("p", { class: "status", "aria-live": "polite" }), error = el("div", { class: "error", role: "alert", hidden: true });
  keep.addEventListener("click", async () => {
    showError(error);
    try {
      draw(await saying(said, "Keeping it", () => post("/api/feature-page/keep", { key: feature.key, made })));
      said.textContent = "Kept: it stands among the descriptions now.";
      keep.disabled = true;
    } catch (cause) {
      showError(error, cause);
    }
  });
  const before = byId("answer-h").textContent.trim();
  const note = byId("feature").dataset.score ? `The present one, “${before}”, scores ${byId("feature").dataset.score}. It is known by its text only, so the two are not compared window by window.` : "There is no scored one to compare it with.";
  return [el("p", { class: "hint", text: `${counted(measured.length, "new description")}. ${note}` }), ...measured.map((one) => described(one, true)), el("div", { class: "rowed" }, keep), said, error];
}

function stored() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

function store(name) {
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // a private window may refuse: then the name is typed again
  }
}
