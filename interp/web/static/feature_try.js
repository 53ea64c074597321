/** The feature on a text of one's own: its activation on each token, and what holding it changes. */
import { post, wasCancelled } from "./api.js";
import { column, movedTable, sideEffect } from "./compare.js";
import { byId, counted, el, number, percent, saying, showError } from "./dom.js";
import { feature, tokenLine } from "./feature_parts.js";
import { leftOut } from "./steering.js";
import { heatLegend, surenessLegend } from "./tokens.js";

/** Lets the text be read and the feature be held, and restores what the address says. */
export function mountTry() {
  const form = byId("try-form"), { text, strength, new_tokens: length } = form.elements;
  const asked = new URLSearchParams(location.search);
  form.addEventListener("submit", (event) => (event.preventDefault(), read(text.value)));
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("clamp").addEventListener("click", () => form.reportValidity() && clamp(text.value, strength.value, length.valueAsNumber));
  if (asked.has("n")) length.value = asked.get("n");
  if ([...strength.options].some((one) => one.value === asked.get("strength"))) strength.value = asked.get("strength");
  if (!asked.get("text")) return;
  text.value = asked.get("text");
  read(text.value, false);
  if (asked.has("strength") && form.checkValidity()) clamp(text.value, strength.value, length.valueAsNumber);
}

function keep(values) {
  history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(values)}${location.hash}`);
}

/** Asks the server; the answer can be stopped. */
async function ask(path, what, body) {
  const control = new AbortController(), stop = byId("try-stop"), error = byId("try-error");
  const late = setTimeout(() => (stop.hidden = false), 300);
  stop.onclick = () => control.abort();
  showError(error);
  try {
    return await saying(byId("try-status"), what, () => post(`/api/feature-page/${path}`, { key: feature.key, ...body }, control.signal));
  } catch (cause) {
    if (!wasCancelled(cause)) showError(error, cause);
    return null;
  } finally {
    clearTimeout(late);
    stop.hidden = true;
  }
}

async function read(text, changed = true) {
  if (!text) return;
  if (changed) keep({ text });
  const found = await ask("read", "Reading the text", { text });
  if (!found) return;
  const { tokens, values, peak, value, level, top } = found;
  const beyond = level === null ? "" : `, above its value on ${percentile(level)} of tokens`;
  byId("try-result").replaceChildren(
    tokenLine({ tokens, values, peak, top, whole: true }),
    el("p", {}, value > 0 ? `Its peak is ${number(value, 3)}${beyond}.` : `It is silent here: its largest value is ${number(value, 3)}.`),
    el("div", { class: "heat-line" }, heatLegend({ values: [], top, caption: "activation" })));
}

/** @param {string} level such as "0.99999" @returns {string} with all its digits */
const percentile = (level) => (level.startsWith("0.999") ? `${Number((Number(level) * 100).toPrecision(7))}%` : percent(Number(level)));

async function clamp(text, strength, length) {
  keep({ text, strength, n: length });
  const found = await ask("clamp", "Writing without it, with it held, and with a random feature", { text, strength: Number(strength), new_tokens: length });
  if (!found) return;
  const { unsteered, steered, changed, random } = found;
  const none = found.left_out.length > 0;
  const differ = changed.filter(Boolean).length;
  const said = none ? "It could not be held: " : differ ? `${differ} of ${counted(steered.length, "token")} are not in the text without it.` : "The text is the same, token by token.";
  const columns = [column("As it is", unsteered, [], unsteered), column(strength === "0" ? "Silenced" : `Held at ${strength} × its quantile`, steered, changed, unsteered)];
  byId("clamp-result").replaceChildren(...(none
    ? [el("p", { class: "error" }, said, found.left_out.map((one) => one.why).join("; "), byId("people-form") ? ". Describe it again and keep that, which tells its quantile; or silence it." : ". It can only be silenced: to keep its quantile, start the server with --notes and describe it.")]
    : [el("p", { text: said }), el("div", { class: "two" }, ...columns),
      random ? el("div", {}, column("With a random feature of its space held likewise", random, [], unsteered)) : el("p", { class: "hint", text: "There is no other feature of its space to compare with." }),
      el("p", { class: "legend" }, ...surenessLegend()), movedTable(found.moved), sideEffect(found), leftOut(found.left_out)].filter(Boolean)));
}
