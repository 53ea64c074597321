/** Steering as a diff: steered beside unsteered, beside a random set of the same size. */
import { post } from "./api.js";
import { byId, counted, el, number, probability, saying, showError } from "./dom.js";
import { now, on } from "./state.js";
import { leftOut } from "./steering.js";
import { lineClass, tokenNode, visible } from "./tokens.js";

const parts = {};
let shown = null, shownFor = "";

const signature = () => JSON.stringify([now.view.state.cards, now.view.state.settings, now.view.state.conversation.shown]);

/** Draws the button that compares, and what it found. */
export function mountCompare() {
  parts.run = el("button", { type: "button", class: "main", text: "Compare", onclick: run });
  parts.hint = el("span", { class: "hint" });
  parts.status = el("p", { class: "status", "aria-live": "polite" });
  parts.error = el("div", { class: "error", role: "alert", hidden: true });
  parts.result = el("div");
  byId("compare-body").append(el("div", { class: "rowed" }, parts.run, parts.hint), parts.status, parts.error, parts.result);
  on("view writing", () => {
    const why = !now.view?.turns.length ? "Say something first." : now.view.state.cards.some((card) => card.on) ? "" : "Add a card first, or switch one on.";
    parts.run.disabled = Boolean(why) || Boolean(now.writing);
    parts.hint.textContent = why || "Writes the last answer again without the cards, with them, and with as many random features.";
    parts.result.classList.toggle("stale", Boolean(shown) && Boolean(now.view) && shownFor !== signature());
    parts.old && (parts.old.hidden = !parts.result.classList.contains("stale"));
  });
}

async function run() {
  parts.run.disabled = true;
  showError(parts.error);
  const asked = signature(), session = now.session;
  try {
    const found = await saying(parts.status, "Writing three answers and measuring them", () => post(`/api/sessions/${session}/compare`));
    if (session !== now.session) return;
    [shown, shownFor] = [found, asked];
    draw(found);
  } catch (cause) {
    showError(parts.error, cause);
  } finally {
    parts.run.disabled = false;
  }
}

function draw(found) {
  const { unsteered, steered, changed, random } = found;
  const differ = changed.filter(Boolean).length;
  parts.old = el("p", { class: "hint", hidden: true, text: "The cards, the settings or the conversation have changed since: compare again." });
  parts.result.classList.remove("stale");
  parts.result.replaceChildren(parts.old,
    el("p", { class: "said", text: differ ? `${differ} of ${counted(steered.length, "token")} are not in the unsteered answer.` : "The steered answer is the same, token by token." }),
    el("div", { class: "two" }, column("Unsteered", unsteered), column("Steered", steered, changed)),
    random ? el("details", { class: "fold" }, el("summary", { text: "With as many random features in their place" }), column("", random), found.without_random ? el("p", { class: "hint", text: `For ${counted(found.without_random, "feature")} there was no other to draw.` }) : "") : el("p", { class: "hint", text: "No random set: the cards are vectors only." }),
    sideEffect(found), movedTable(found.moved), leftOut(found.left_out));
}

/**
 * @param {string} title
 * @param {any[]} tokens that were written
 * @param {boolean[]} [changed] which of them differ
 * @param {any[]} [around] the tokens before them, which say whether tokens bring their own spaces
 * @returns {HTMLElement} a line of tokens under its title
 */
export function column(title, tokens, changed = [], around = now.view?.tokens ?? []) {
  const nodes = tokens.map((token, i) => tokenNode(token, changed[i] ? "changed" : ""));
  const line = el("div", { class: lineClass([...tokens, ...around]) }, ...nodes);
  if (!tokens.length) line.append(el("span", { class: "hint", text: "nothing was written" }));
  return el("div", {}, title ? el("h3", { text: title }) : null, line);
}

/** @param {any} found @param {string} [others] what the random set is of @returns {HTMLElement} what the cards change on other text, beside it */
export function sideEffect({ side_effect: effect, random_side_effect: random }, others = "random features") {
  if (!effect) return el("p", { class: "hint", text: "The side effect on other text is not measured: start the server with neutral texts." });
  const said = ({ value, low, high }) => `${number(value)} nats (${number(low)} to ${number(high)})`;
  const beside = random ? `; ${others} ${said(random)}` : "";
  return el("p", { text: `On neutral text predictions move by ${said(effect)} on average${beside}.` });
}

/** @param {any[]} moved @returns {Node|string} the probabilities that moved most, beside random features */
export function movedTable(moved) {
  if (!moved.length) return "";
  const top = Math.max(...moved.flatMap((one) => [one.unsteered, one.steered, one.random ?? 0]), 1e-12);
  const cell = (value, role) => {
    const bar = el("i", { class: `bar ${role}`, "aria-hidden": "true" });
    bar.style.setProperty("--share", `${((value ?? 0) / top) * 100}%`);
    return el("td", { class: "n" }, el("span", { text: value === null ? "–" : probability(value) }), bar);
  };
  const rows = moved.map((one) => el("tr", {}, el("th", { scope: "row" }, el("span", { class: "tokens key" }, ...visible(one.text))), cell(one.unsteered, "plain"), cell(one.steered, "steered"), cell(one.random, "random")));
  return el("table", { class: "moved" }, el("caption", { text: "Probability of the answer's first token: those that moved most" }),
    el("thead", {}, el("tr", {}, el("th", { text: "token" }), ...["unsteered", "steered", "random"].map((text) => el("th", { class: "n", text })))), el("tbody", {}, ...rows));
}

/** Forgets what was compared, as another session is opened. */
export function forgetComparison() {
  [shown, shownFor] = [null, ""];
  parts.result?.replaceChildren();
  if (parts.error) showError(parts.error);
}
