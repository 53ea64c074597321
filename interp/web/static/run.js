/** The page of a run: what it is doing, its curves, stop and continue. */
import { get, post } from "./api.js";
import { clock, curveNode } from "./curves.js";
import { byId, counted, el, saying, showError } from "./dom.js";

const AGAIN_MS = 1500;
const CAN_CONTINUE = ["interrupted", "failed"];
const ACTIVE = ["running", "starting"];
const name = byId("run").dataset.run;
const place = `/api/runs/${encodeURIComponent(name)}`;
let status = byId("run").dataset.status;
let asked = "";
let drawn = "";
let timer = 0;

function task(one) {
  const left = one.seconds_left === null ? "" : `, about ${clock(one.seconds_left)} left`;
  const bar = el("progress", { max: 1, "aria-label": one.what });
  if (one.share !== null) bar.value = one.share;
  return el("div", { class: "task" }, el("span", { text: `${one.what}: ${one.amount}, ${clock(one.seconds)} so far${left}` }), bar);
}

function said(live) {
  if (live.status === "starting") return "Starting: the program and its model are being loaded.";
  if (live.status === "running") {
    const step = live.doing?.step ? `The step ${live.doing.step} is being done` : "Between two steps";
    const by = live.doing?.pid ? ` by process ${live.doing.pid}` : "";
    return `${step}${by}; ${counted(live.steps.length, "step")} finished, ${clock(live.seconds)} of work.${asked === "stop" ? " It was asked to stop, and does at the next chance." : ""}`;
  }
  if (CAN_CONTINUE.includes(live.status)) return `It ${live.status === "failed" ? "failed" : "was interrupted"}, with ${counted(live.steps.length, "step")} finished; Continue goes on from there.`;
  return "";
}

function show(live) {
  const was = status;
  status = live.status;
  byId("state").textContent = status;
  byId("state").dataset.state = status;
  byId("stop").hidden = status !== "running";
  byId("stop").disabled = asked === "stop";
  byId("continue").hidden = !CAN_CONTINUE.includes(status);
  byId("continue").disabled = asked === "continue" && status !== "failed";
  const words = said(live);
  byId("live").hidden = !words && !live.printed;
  if (byId("said").textContent !== words) byId("said").textContent = words;
  byId("tasks").replaceChildren(...(live.doing?.tasks ?? []).map(task));
  const printed = byId("printed");
  printed.hidden = !live.printed;
  if (printed.textContent !== live.printed) {
    printed.textContent = live.printed;
    printed.scrollTop = printed.scrollHeight;
  }
  const curves = JSON.stringify(live.curves);
  if (curves !== drawn && byId("curves")) {
    drawn = curves;
    byId("curves").replaceChildren(...live.curves.map(curveNode));
    byId("curve-part").hidden = !live.curves.length;
  }
  if (live.damage) showError(byId("error"), { thing: live.damage });
  if (ACTIVE.includes(was) && !ACTIVE.includes(status)) {
    asked = "";
    location.reload(); // its results are there now
  }
}

async function read() {
  clearTimeout(timer);
  try {
    const live = await get(`${place}/live`);
    showError(byId("error"));
    show(live);
  } catch (error) {
    showError(byId("error"), error);
  }
  if (ACTIVE.includes(status) || asked) timer = setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", read, { once: true }) : read()), AGAIN_MS);
}

async function ask(what, words) {
  byId("live").hidden = false;
  byId(what).disabled = true;
  try {
    await saying(byId("said"), words, () => post(`${place}/${what}`));
    asked = what;
    if (what === "continue") status = "starting";
    showError(byId("error"));
  } catch (error) {
    byId(what).disabled = false;
    showError(byId("error"), error);
    return;
  }
  await read();
}

byId("stop").addEventListener("click", () => ask("stop", "asking it to stop"));
byId("continue").addEventListener("click", () => ask("continue", "starting it"));
const report = byId("report");
report?.addEventListener("toggle", () => {
  if (report.open && !report.querySelector("iframe")) report.append(el("iframe", { src: report.dataset.address, title: `Report of ${name}`, sandbox: "allow-scripts allow-downloads" }));
});
read();
