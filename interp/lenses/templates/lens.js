"use strict";
(() => {
  const texts = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("choices"), box = document.getElementById("lens");
  const detail = document.getElementById("detail"), scale = document.getElementById("scale");
  const state = { text: 0, lens: "", kind: "", heat: "probability", row: -1, column: -1 };

  const element = (name, content, css) => {
    const made = document.createElement(name);
    if (content !== undefined) made.textContent = content;
    if (css) made.className = css;
    return made;
  };
  const shown = (token) => token.replace(/ /g, "·").replace(/\n/g, "↵").replace(/\t/g, "⇥") || "∅";
  const digits = (value) => {
    if (value === null) return "–"; // an undefined number
    return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(3);
  };
  const unique = (list) => [...new Set(list)];
  const grid = () => texts[state.text].grids.find((one) => one.lens === state.lens && one.kind === state.kind);

  const fill = (name, options) => {
    const select = form.elements[name];
    select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
    if (!options.some(([value]) => value === state[name])) state[name] = options[0][0];
    select.value = state[name];
  };
  const heats = (one) => [
    ["probability", "probability of the word"], ["entropy", "entropy (nats)"], ["kl", "KL to the output (nats)"],
    ...one.targets.flatMap((target, i) => [
      [`p${i}`, `probability of ${shown(target.word)}`], [`r${i}`, `rank of ${shown(target.word)}`]]),
  ];

  // The heat of each cell from 0 to 1, and what its ends stand for.
  const heatOf = (one) => {
    if (state.heat === "probability") return [(r, c) => one.probabilities[r][c][0], "0", "1"];
    if (state.heat[0] === "p") return [(r, c) => one.targets[+state.heat.slice(1)].probability[r][c], "0", "1"];
    if (state.heat[0] === "r") { // rank 0 is full heat, 99 and more none
      const ranks = one.targets[+state.heat.slice(1)].rank;
      return [(r, c) => Math.max(0, 1 - Math.log10(1 + ranks[r][c]) / 2), "rank 99", "rank 0"];
    }
    const values = one[state.heat], top = Math.max(...values.flat(), 1e-9);
    return [(r, c) => values[r][c] / top, "0", digits(top)];
  };

  const describe = () => {
    const one = grid(), { row, column } = state;
    detail.replaceChildren();
    if (row < 0) { detail.append(element("p", "Choose a cell to see its likeliest tokens.", "empty")); return; }
    detail.append(element("h3", `${one.rows[row]}, after “${shown(texts[state.text].tokens[column])}”`));
    const table = element("table", undefined, "plain"), body = element("tbody");
    one.tokens[row][column].forEach((token, i) => {
      const line = element("tr");
      line.append(element("td", shown(token)), element("td", digits(one.probabilities[row][column][i]), "n"));
      body.append(line);
    });
    table.append(element("caption", "Likeliest next tokens, with probabilities"), body);
    detail.append(table);
    const facts = [`entropy ${digits(one.entropy[row][column])} nats`, `KL to the output ${digits(one.kl[row][column])} nats`,
      ...one.targets.map((target) =>
        `${shown(target.word)}: rank ${target.rank[row][column]}, probability ${digits(target.probability[row][column])}`)];
    const list = element("ul");
    list.append(...facts.map((fact) => element("li", fact)));
    detail.append(list);
  };

  const select = (row, column) => {
    const one = grid();
    state.row = Math.min(one.rows.length - 1, Math.max(0, row));
    state.column = Math.min(texts[state.text].tokens.length - 1, Math.max(0, column));
    box.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    const cell = box.querySelector(`[data-row="${state.row}"][data-column="${state.column}"]`);
    cell.setAttribute("aria-selected", "true");
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    describe();
    remember();
  };

  const remember = () => history.replaceState(null, "", `#${new URLSearchParams(state)}`);

  const draw = () => {
    const options = texts[state.text].grids;
    fill("lens", unique(options.map((one) => one.lens)).map((name) => [name, name]));
    fill("kind", unique(options.filter((one) => one.lens === state.lens).map((one) => one.kind)).map((name) => [name, name]));
    const one = grid();
    fill("heat", heats(one));
    const [heat, low, high] = heatOf(one);
    const head = element("tr"), body = element("tbody");
    head.append(element("th", ""), ...texts[state.text].tokens.map((token) => element("th", shown(token))));
    for (let row = one.rows.length - 1; row >= 0; row--) {
      const line = element("tr"), name = element("th", one.rows[row]);
      name.scope = "row";
      line.append(name);
      one.tokens[row].forEach((top, column) => {
        const level = Math.round(8 * Math.min(1, Math.max(0, heat(row, column))));
        const cell = element("td", shown(top[0]), level ? `p${level}` : "");
        Object.assign(cell.dataset, { row, column });
        cell.setAttribute("aria-selected", "false");
        cell.title = `${shown(top[0])} ${digits(one.probabilities[row][column][0])}`;
        line.append(cell);
      });
      body.append(line);
    }
    const table = element("table"), top = element("thead");
    top.append(head);
    table.append(top, body);
    box.replaceChildren(table);
    const legend = element("span", undefined, "legend");
    legend.append(element("span", low), ...[0, 2, 4, 6, 8].map((n) => element("i", undefined, n ? `p${n}` : "")), element("span", high));
    scale.replaceChildren(legend);
    if (state.row >= 0) select(state.row, state.column);
    else { describe(); remember(); }
  };

  form.addEventListener("change", (event) => {
    const { name, value } = event.target;
    state[name] = name === "text" ? Number(value) : value;
    if (name === "text") state.row = state.column = -1;
    draw();
  });
  box.addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    if (cell) { box.focus({ preventScroll: true }); select(Number(cell.dataset.row), Number(cell.dataset.column)); }
  });
  box.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key === "Escape") { state.row = state.column = -1; draw(); return; }
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    select(state.row < 0 ? 0 : state.row + move[0], state.column < 0 ? 0 : state.column + move[1]);
  });
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name in state) state[name] = typeof state[name] === "number" ? Number(value) || 0 : value;
  }
  if (!texts[state.text]) state.text = 0;
  form.elements.text.value = state.text;
  draw();
})();
