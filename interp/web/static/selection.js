/** Choosing tokens by mouse, finger and keys: one token to ask about, and a range that limits. */
import { byId } from "./dom.js";
import { now, set } from "./state.js";
import { enterAlternatives, hidePopover, showPopover } from "./popover.js";

const tokenOf = (event) => event.target.closest?.(".tok") ?? null;
const placeOf = (node) => Number(node.dataset.i);
const ordered = (a, b) => (a < b ? [a, b] : [b, a]);

/** Forgets what is selected. */
export function clear() {
  hidePopover();
  set({ range: null, place: null, heat: null });
}

/**
 * Listens on the conversation.
 * @param {HTMLElement} root
 * @param {Object<string, (...values: any[]) => void>} actions
 */
export function watchPointer(root, actions) {
  let from = null, dragged = false;
  const extend = (place) => {
    const start = now.range ? (now.range[0] === now.anchor ? now.range[0] : now.range[1]) : now.anchor ?? now.place ?? place;
    now.anchor = start;
    set({ range: ordered(start, place) });
  };
  root.addEventListener("pointerdown", (event) => {
    const node = tokenOf(event);
    if (!node || event.button !== 0 || event.pointerType === "touch" || now.writing) return;
    [from, dragged] = [placeOf(node), false];
  });
  root.addEventListener("pointerover", (event) => {
    const node = tokenOf(event);
    if (!node) return;
    if (from !== null && placeOf(node) !== from) dragged = true;
    if (from !== null && dragged) {
      hidePopover();
      now.anchor = from;
      set({ range: ordered(from, placeOf(node)) });
    } else if (event.pointerType !== "touch") {
      set({ hover: placeOf(node) });
      showPopover(node, actions, 120);
    }
  });
  root.addEventListener("pointerout", (event) => {
    if (tokenOf(event) && event.pointerType !== "touch") (set({ hover: null }), hidePopover(250));
  });
  addEventListener("pointerup", () => setTimeout(() => (from = null)));
  root.addEventListener("click", (event) => {
    const node = tokenOf(event);
    if (!node || dragged) return void (dragged = false);
    const place = placeOf(node);
    focusOn(node);
    if (event.shiftKey) extend(place);
    else choose(place);
  });
  root.addEventListener("focusin", (event) => {
    const node = tokenOf(event);
    if (node && from === null) (set({ hover: placeOf(node) }), showPopover(node, actions));
  });
  root.addEventListener("focusout", (event) => {
    if (tokenOf(event)) hidePopover(250);
  });
  root.addEventListener("keydown", (event) => {
    const node = tokenOf(event);
    if (node) keyed(event, node, extend, actions);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.target.closest?.("textarea, input, select")) clear();
  });
}

function keyed(event, node, extend, actions) {
  const nodes = [...byId("turns").querySelectorAll(".tok")];
  const at = nodes.indexOf(node);
  const target = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: nodes.length - 1 }[event.key];
  if (event.key === "Enter" || event.key === " ") choose(placeOf(node));
  else if (event.key === "ArrowDown") {
    showPopover(node, actions);
    if (!enterAlternatives(node)) return;
  } else if (target !== undefined) {
    const next = nodes[Math.max(0, Math.min(nodes.length - 1, target))];
    if (event.shiftKey && !now.range) now.anchor = placeOf(node);
    focusOn(next);
    if (event.shiftKey) extend(placeOf(next));
  } else return;
  event.preventDefault();
}

function focusOn(node) {
  for (const other of byId("turns").querySelectorAll('.tok[tabindex="0"]')) other.setAttribute("tabindex", "-1");
  node.setAttribute("tabindex", "0");
  node.focus();
}

function choose(place) {
  if (now.writing) return;
  if (now.range && (place < now.range[0] || place > now.range[1])) now.anchor = null;
  set({ place, heat: null });
}
