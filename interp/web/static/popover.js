/** The small window at a token: how likely it was, what else was, and forks to that. */
import { el, number, percent, probability } from "./dom.js";
import { now, set } from "./state.js";
import { heatClass, isForkable, nameOf, visible } from "./tokens.js";

const box = el("div", { class: "popover", id: "popover", role: "group", "aria-label": "Likeliest tokens here", hidden: true });
const NARROW = matchMedia("(max-width: 759px)");
let owner = null, timer = 0;
document.body.append(box);
box.addEventListener("pointerenter", () => clearTimeout(timer));
box.addEventListener("pointerleave", () => hidePopover(250));
box.addEventListener("focusout", () => hidePopover(250));
box.addEventListener("focusin", () => clearTimeout(timer));
box.addEventListener("keydown", (event) => {
  const buttons = [...box.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  if (event.key === "ArrowDown") buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
  else if (event.key === "ArrowUp" && at > 0) buttons[at - 1].focus();
  else if (event.key === "Escape" || event.key === "ArrowUp") (owner?.focus(), hidePopover());
  else return;
  event.preventDefault();
  event.stopPropagation();
});
addEventListener("scroll", () => hidePopover(), { passive: true });

/** @param {number} [after] milliseconds, so that the pointer can reach it */
export function hidePopover(after = 0) {
  clearTimeout(timer);
  const hide = () => (box.hidden = true);
  if (after) timer = setTimeout(hide, after);
  else hide();
}

/**
 * Moves the focus from a token to its first alternative.
 * @param {HTMLElement} node
 * @returns {boolean} whether there is one
 */
export function enterAlternatives(node) {
  if (box.hidden || owner !== node) return false;
  const first = box.querySelector("button");
  first?.focus();
  return Boolean(first);
}

/**
 * Shows what is known of a token beside it.
 * @param {HTMLElement} node
 * @param {Object<string, (...values: any[]) => void>} actions
 * @param {number} [after] milliseconds: a pointer that only passes shows nothing
 */
export function showPopover(node, actions, after = 0) {
  clearTimeout(timer);
  if (after) timer = setTimeout(() => node.isConnected && fill(node, actions), after);
  else fill(node, actions);
}

function fill(node, actions) {
  const place = Number(node.dataset.i);
  const token = now.writing ? now.writing.tokens[place - now.writing.base] ?? now.view?.tokens[place] : now.view?.tokens[place];
  if (!token) return;
  clearTimeout(timer);
  if (owner === node && !box.hidden && box.contains(document.activeElement)) return;
  owner = node;
  const value = now.heat?.values[place];
  const said = [`position ${place}`, `id ${token.id}`];
  box.replaceChildren(
    el("p", { class: "popover-head" }, el("b", { class: "tokens key" }, ...visible(token.text)), ` ${token.p === null ? "nothing before predicts it" : `probability ${probability(token.p)}`}`),
    el("p", { class: "hint", text: said.join(" · ") }));
  if (value !== undefined && value !== 0) box.append(el("p", { class: "hint" }, el("i", { class: `swatch ${heatClass(value, now.heat.top)}` }), ` ${number(value)} ${now.heat.caption}`));
  if (NARROW.matches && !now.writing) box.append(el("button", { type: "button", text: "Why this one? ↓", onclick: () => toWhy(place) }));
  if (token.alternatives?.length) box.append(listNode(token, actions));
  box.hidden = false;
  lay(node);
}

/** On a narrow page the reasons stand further down. */
function toWhy(place) {
  hidePopover();
  set({ place });
  document.getElementById("why").scrollIntoView();
}

function listNode(token, actions) {
  const forks = isForkable(token) && !now.writing;
  const rows = token.alternatives.map((other) => {
    const own = other.id === token.id;
    const bar = el("i", { class: "bar" });
    bar.style.setProperty("--share", `${Math.max(1, other.p * 100)}%`);
    const inside = [el("span", { class: "tokens key" }, ...visible(other.text)), bar, el("span", { class: "n", text: other.p >= 0.001 ? probability(other.p) : number(other.p, 1) })];
    if (!forks || own) return el("li", { class: own ? "own" : null }, el("span", { class: "alternative" }, ...inside));
    const button = el("button", { type: "button", class: "alternative", "aria-label": `Fork here with ${nameOf(other)}, ${percent(other.p)}`, onclick: () => (hidePopover(), actions.fork(token, other)) }, ...inside);
    return el("li", {}, button);
  });
  const hint = forks ? "Click one: the answer forks here." : "The model did not write this token: edit the turn to change it.";
  return el("div", {}, el("ol", {}, ...rows), now.writing ? "" : el("p", { class: "hint", text: hint }));
}

function lay(node) {
  const at = node.getClientRects()[0] ?? node.getBoundingClientRect();
  const width = box.offsetWidth, height = box.offsetHeight;
  const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - width - 8));
  const below = at.bottom + 6;
  const top = below + height > innerHeight - 8 && at.top - height - 6 > 0 ? at.top - height - 6 : below;
  box.style.setProperty("left", `${left}px`);
  box.style.setProperty("top", `${top}px`);
}
