/** The conversation: turns with their branches, each as a line of tokens; and the composer under them. */
import { byId, counted, el, showError } from "./dom.js";
import { now, on } from "./state.js";
import { heatClass, heatLegend, isForkable, lineClass, nameOf, surenessLegend, tokenNode } from "./tokens.js";
import { watchPointer } from "./selection.js";

/**
 * Cuts the text into its turns. Tokens before a turn that has a place belong to the turns before it, so the
 * template's own stand with what they introduce or end.
 * @param {any} view
 * @returns {{turns: any[], start: number, end: number}[]}
 */
export function blocks(view) {
  const found = [];
  let waiting = [], from = 0;
  for (const turn of view.turns) {
    if (turn.span && turn.role === "assistant") {
      if (waiting.length) found.push({ turns: waiting, start: from, end: turn.span[0] });
      else if (turn.span[0] > from) found.push({ turns: [], start: from, end: turn.span[0] });
      found.push({ turns: [turn], start: turn.span[0], end: turn.span[1] });
      [waiting, from] = [[], turn.span[1]];
    } else {
      if (turn.span && waiting.some((one) => one.span)) {
        found.push({ turns: waiting, start: from, end: turn.span[0] });
        [waiting, from] = [[], turn.span[0]];
      }
      waiting.push(turn);
    }
  }
  const end = view.tokens.length;
  if (waiting.length) found.push({ turns: waiting, start: from, end });
  else if (from < end && found.length) found.at(-1).end = end;
  return found;
}

/**
 * Draws the conversation and keeps it drawn.
 * @param {Object<string, (...values: any[]) => void>} actions what its buttons do
 */
export function mountConversation(actions) {
  const root = byId("turns");
  byId("sureness").append(...surenessLegend());
  watchPointer(root, actions);
  const draw = () => {
    const active = root.contains(document.activeElement) ? document.activeElement : null;
    const open = [...root.querySelectorAll(".edit-place:has(textarea)")];
    root.replaceChildren(...drawn(actions));
    for (const place of open) keepEditor(root, place);
    mark();
    if (active?.dataset.i !== undefined) tokenAt(Number(active.dataset.i))?.focus({ preventScroll: true });
    else if (active?.isConnected) active.focus({ preventScroll: true });
  };
  on("view", draw);
  on("writing", () => (now.writing ? drawWriting(root, draw) : draw()));
  on("place range", mark);
  on("heat", () => (mark(), drawHeatLine()));
  mountComposer(actions);
  drawHeatLine();
}

/** @param {number} place @returns {HTMLElement|null} the node of a token */
export const tokenAt = (place) => byId(`token-${place}`);

function drawn(actions) {
  if (!now.view) return [el("p", { class: "empty", text: "Loading the session …" })];
  if (!now.view.turns.length && !now.writing) return [empty()];
  return blocks(now.view).map((block) => blockNode(block, actions));
}

const empty = () => el("div", { class: "empty" },
  el("p", { text: "Nothing was said yet. Write your turn below: the answer comes token by token, underlined the more the less likely each was." }),
  el("p", { text: "Then click a token to see which features made it likely, and steer them by meaning." }));

function blockNode({ turns, start, end }, actions) {
  const last = turns.at(-1);
  const line = lineNode(now.view.tokens.slice(start, end), start, turns.map(roleOf).join(", ") || "text");
  return el("section", { class: `turn ${last?.role ?? "text"}` }, ...turns.map((turn) => headNode(turn, actions)), line);
}

/** Plain text has no roles: what was given, and what the model wrote. */
const roleOf = ({ role }) => (now.view.state.conversation.chat ? role : role === "assistant" ? "written" : "given");

function headNode(turn, actions) {
  const place = el("div", { class: "edit-place", "data-turn": turn.turn });
  const isLast = turn === now.view.turns.at(-1);
  const edit = el("button", { type: "button", class: "quiet edit", text: "Edit", "aria-label": `Edit this turn of ${turn.role}`, onclick: (event) => openEditor(event.target.closest("header").nextElementSibling, turn, actions) });
  const again = isLast && turn.role === "assistant"
    ? el("button", { type: "button", class: "quiet", text: "Regenerate", onclick: actions.regenerate }) : null;
  return el("div", {}, el("header", {}, el("h3", { text: roleOf(turn) }), branchesNode(turn, actions), edit, again), place);
}

/** What is typed in an editor outlives a change elsewhere, as long as its turn is shown. */
function keepEditor(root, place) {
  root.querySelector(`.edit-place[data-turn="${place.dataset.turn}"]`)?.replaceWith(place);
  for (const button of place.querySelectorAll("button")) button.disabled = false;
}

function branchesNode({ branches, position, turn }, actions) {
  if (branches.length < 2) return null;
  const at = branches.indexOf(turn) < 0 ? position : branches.indexOf(turn);
  const step = (by, text, label) => el("button", { type: "button", class: "quiet", text, "aria-label": label, disabled: branches[at + by] === undefined, onclick: () => actions.show(branches[at + by]) });
  return el("span", { class: "branches", role: "group", "aria-label": "Branches" },
    step(-1, "‹", "Branch before"), el("span", { text: `${at + 1}/${branches.length}` }), step(1, "›", "Next branch"));
}

function openEditor(place, turn, actions) {
  if (place.firstChild) return place.querySelector("textarea").focus();
  const text = el("textarea", { rows: Math.min(8, 1 + Math.ceil(turn.text.length / 60)), "aria-label": `New text of this turn of ${turn.role}`, value: turn.text, spellcheck: "false" });
  const error = el("div", { class: "error", role: "alert", hidden: true });
  const close = () => (place.replaceChildren(), place.parentNode.querySelector(".edit").focus());
  const save = async () => {
    try {
      await actions.edit(turn, text.value);
    } catch (cause) {
      showError(error, cause);
    }
  };
  const keys = (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey) (event.preventDefault(), save());
  };
  text.addEventListener("keydown", (event) => (event.stopPropagation(), keys(event)));
  place.replaceChildren(text, el("div", { class: "rowed" },
    el("button", { type: "button", class: "main", text: turn.role === "user" ? "Say it so, and write" : "Say it so", onclick: save }),
    el("button", { type: "button", text: "Cancel", onclick: close }),
    el("span", { class: "hint", text: "The old text stays, on its own branch." })), error);
  text.focus();
}

function lineNode(tokens, start, name) {
  const line = el("div", { class: lineClass(now.view.tokens), role: "listbox", "aria-multiselectable": "true", "aria-orientation": "horizontal", "aria-label": `Tokens of ${name}` });
  tokens.forEach((token, i) => addToken(line, token, start + i));
  return line;
}

function addToken(line, token, place) {
  const node = tokenNode(token, "tok");
  const sure = token.p === null ? "" : `, probability ${token.p.toFixed(3)}`;
  for (const [name, value] of Object.entries({ id: `token-${place}`, role: "option", tabindex: "-1", "aria-label": `${nameOf(token)}${sure}`, "aria-selected": "false" })) node.setAttribute(name, value);
  node.dataset.i = place;
  if (isForkable(token)) node.classList.add("written");
  line.append(node);
}

/** While an answer is written: what stays of the text, then its tokens as they come. */
function drawWriting(root, draw) {
  const { base, tokens, drawn: before } = now.writing;
  if (!before) {
    draw();
    for (const node of root.querySelectorAll(".tok")) if (Number(node.dataset.i) >= base) node.remove();
    for (const turn of root.querySelectorAll(".turn.assistant")) if (!turn.querySelector(".tok")) turn.remove();
    const last = root.querySelector(".turn:last-child");
    const line = last?.classList.contains("assistant") ? last.querySelector(".tokens") : null;
    now.writing.line = line ?? lineNode([], base, roleOf({ role: "assistant" }));
    if (!line) root.append(el("section", { class: "turn assistant" }, el("header", {}, el("h3", { text: roleOf({ role: "assistant" }) })), now.writing.line));
    for (const button of root.querySelectorAll("button")) button.disabled = true;
    now.writing.drawn = true;
  }
  const { line } = now.writing;
  for (let i = line.dataset.n ? Number(line.dataset.n) : 0; i < tokens.length; i += 1) addToken(line, tokens[i], base + i);
  line.dataset.n = tokens.length;
}

/** Draws selection, range and heat on the tokens that stand there. */
function mark() {
  const { place, range, heat, view } = now;
  let entered = null;
  for (const node of byId("turns").querySelectorAll(".tok")) {
    const i = Number(node.dataset.i);
    const inRange = range !== null && i >= range[0] && i <= range[1];
    node.classList.toggle("chosen", i === place);
    node.classList.toggle("in-range", inRange);
    node.setAttribute("aria-selected", String(i === place || inRange));
    node.setAttribute("tabindex", "-1");
    const next = heat && view && !view.tokens[i]?.special ? heatClass(heat.values[i] ?? 0, heat.top) : "";
    if ((node.dataset.heat ?? "") !== next) {
      if (node.dataset.heat) node.classList.remove(node.dataset.heat);
      if (next) node.classList.add(next);
      node.dataset.heat = next;
    }
    if (i === place || entered === null) entered = node;
  }
  entered?.setAttribute("tabindex", "0");
}

function drawHeatLine() {
  const line = byId("heat");
  if (now.heat) line.replaceChildren(heatLegend(now.heat));
  else line.replaceChildren(el("span", { class: "hint", text: now.place === null ? "" : "Hover or focus a feature to see where in the text it counts." }));
}

function mountComposer(actions) {
  const form = byId("composer"), text = byId("say"), more = byId("more");
  const send = async () => {
    if (now.writing) return;
    const words = text.value.trim() ? text.value : "";
    const system = byId("system").hidden ? "" : byId("system-text").value.trim();
    if (!words) {
      showError(byId("talk-error"), { thing: "there is nothing to send", fix: "write your turn first" });
      return text.focus();
    }
    if (await actions.say(words, system)) {
      text.value = "";
      byId("system-text").value = "";
    }
  };
  form.addEventListener("submit", (event) => (event.preventDefault(), send()));
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), send());
  });
  more.addEventListener("click", actions.write);
  byId("stop").addEventListener("click", actions.stop);
  on("view writing", () => {
    const { view, writing } = now;
    const chat = view?.state.conversation.chat ?? true;
    byId("system").hidden = !chat || Boolean(view?.turns.length);
    byId("say-label").textContent = chat ? "Your turn" : "Text for the model to continue";
    byId("send").disabled = Boolean(writing) || !view;
    more.disabled = Boolean(writing) || !view?.turns.length;
    more.textContent = view?.turns.at(-1)?.role === "assistant" ? "Write on" : "Write the answer";
    byId("stop").hidden = !writing;
    const n = writing?.tokens.length ?? 0;
    if (writing) byId("status").textContent = n ? `Writing: ${counted(n, "token")} of at most ${view.state.settings.max_new_tokens}` : writing.note;
  });
}
