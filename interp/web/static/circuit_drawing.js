/** The drawing of a graph: it is moved and zoomed, its nodes are buttons, and a node's edges stand out. */
import { byId } from "./dom.js";

const STEP = 1.25, MOST = 12, DRAGGED = 4;
let drawing = null, whole = null, view = null, actions = null, drag = null;

/**
 * Shows a drawing that the server made.
 * @param {string} text its SVG
 * @param {{look: (name: string|null) => void, toggle: (name: string) => void, fixed: (name: string) => boolean}} acts
 *   what a node does when it is looked at and when it is chosen, and which nodes cannot be chosen
 * @param {boolean} keep whether the part that is seen stays, as far as it can
 */
export function show(text, acts, keep = false) {
  const place = byId("drawing"), old = keep ? view : null;
  const focused = keep ? document.activeElement?.dataset?.node : null;
  drawing = document.importNode(new DOMParser().parseFromString(text, "text/html").querySelector("svg"), true);
  drawing.removeAttribute("width");
  drawing.removeAttribute("height");
  drawing.setAttribute("role", "group");
  drawing.setAttribute("tabindex", "-1"); // what hears focusin would be a stop of its own
  const [, , w, h] = drawing.getAttribute("viewBox").split(" ").map(Number);
  whole = { x: 0, y: 0, w, h };
  actions = acts;
  for (const box of drawing.querySelectorAll(".box")) {
    box.setAttribute("tabindex", "0");
    box.setAttribute("aria-label", box.querySelector("title").textContent);
    box.setAttribute("role", acts.fixed(box.dataset.node) ? "img" : "button");
  }
  listen(drawing);
  place.replaceChildren(drawing);
  set(old && old.w < old.full ? { ...old } : whole);
  if (focused) boxOf(focused)?.focus();
}

const boxOf = (name) => [...drawing.querySelectorAll(".box")].find((box) => box.dataset.node === name);

/** @param {string[]} names the nodes that are taken out */
export function markTaken(names) {
  for (const box of drawing?.querySelectorAll(".box") ?? []) {
    const taken = names.includes(box.dataset.node);
    box.classList.toggle("taken", taken);
    if (box.getAttribute("role") === "button") box.setAttribute("aria-pressed", String(taken));
  }
}

function light(name) {
  for (const arrow of drawing.querySelectorAll(".arrow")) arrow.classList.toggle("lit", name !== null && (arrow.dataset.source === name || arrow.dataset.target === name));
}

function set(next) {
  const w = Math.min(whole.w, Math.max(whole.w / MOST, next.w)), h = (w * whole.h) / whole.w;
  const inside = (at, size, all) => Math.min(Math.max(at, 0), all - size);
  view = { x: inside(next.x, w, whole.w), y: inside(next.y, h, whole.h), w, h, full: whole.w };
  drawing.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
  drawing.classList.toggle("zoomed", view.w < whole.w);
}

/** Zooms about a point of the drawing; by default its middle. */
function zoom(by, x = view.x + view.w / 2, y = view.y + view.h / 2) {
  const w = Math.min(whole.w, view.w / by), share = w / view.w;
  set({ x: x - (x - view.x) * share, y: y - (y - view.y) * share, w });
}

/** Where a pointer is, in the drawing's own units. */
function at(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
  return [point.x, point.y];
}

function listen(node) {
  const name = (event) => event.target.closest?.(".box")?.dataset.node ?? null;
  const look = (found) => (light(found), found !== null && actions.look(found));
  node.addEventListener("pointerover", (event) => !drag?.moved && look(name(event)));
  node.addEventListener("pointerleave", () => light(document.activeElement?.dataset?.node ?? null));
  node.addEventListener("focusin", (event) => look(name(event)));
  node.addEventListener("focusout", () => light(null));
  node.addEventListener("click", (event) => {
    const found = name(event);
    if (found !== null && !drag?.moved && !actions.fixed(found)) actions.toggle(found);
  });
  node.addEventListener("keydown", (event) => {
    const found = name(event);
    if (found === null || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    if (!actions.fixed(found)) actions.toggle(found);
  });
  node.addEventListener("wheel", (event) => {
    if (event.deltaY > 0 && view.w >= whole.w) return; // nothing to zoom out of: the page scrolls
    event.preventDefault();
    zoom(STEP ** (-event.deltaY / 100), ...at(event));
  }, { passive: false });
  node.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { from: [event.clientX, event.clientY], view, moved: false };
  });
}

/** Makes the buttons and keys of the drawing work. */
export function mountDrawing() {
  addEventListener("pointermove", (event) => {
    if (!drag || event.buttons !== 1) return;
    const [dx, dy] = [event.clientX - drag.from[0], event.clientY - drag.from[1]];
    if (Math.hypot(dx, dy) < DRAGGED && !drag.moved) return;
    drag.moved = true;
    drawing.classList.add("dragged");
    const scale = drawing.getScreenCTM().a;
    set({ ...drag.view, x: drag.view.x - dx / scale, y: drag.view.y - dy / scale });
  });
  addEventListener("pointerup", () => {
    drawing?.classList.remove("dragged");
    setTimeout(() => (drag = null)); // after the click that follows
  });
  addEventListener("pointercancel", () => (drag = null));
  const keys = {
    "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), 0: () => set(whole),
    ArrowLeft: () => set({ ...view, x: view.x - view.w / 8 }), ArrowRight: () => set({ ...view, x: view.x + view.w / 8 }),
    ArrowUp: () => set({ ...view, y: view.y - view.h / 8 }), ArrowDown: () => set({ ...view, y: view.y + view.h / 8 }),
  };
  byId("drawing").addEventListener("keydown", (event) => {
    if (!drawing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    if (event.key.startsWith("Arrow") && view.w >= whole.w) return; // all is seen: the page scrolls
    event.preventDefault();
    keys[event.key]();
  });
  byId("in").addEventListener("click", () => zoom(STEP));
  byId("out").addEventListener("click", () => zoom(1 / STEP));
  byId("fit").addEventListener("click", () => set(whole));
}
