"use strict";
// The explorer: filters that drive a table and charts together, and a panel for each cell. Text never becomes HTML.
(async () => {
  const given = JSON.parse(document.getElementById("explore-data").textContent);
  const { primary, strategies, records, command } = given;
  const columns = given.columns.map((c) => (c.words ? { ...c, values: c.values.map((i) => c.words[i]) } : c));
  const title = Object.fromEntries(columns.map((c) => [c.key, c.title]));
  const UNITS = { seconds: "s", ms: "ms", flops: "FLOPs", bytes: "B", count: "" };
  const kindOf = Object.fromEntries(columns.map((c) => [c.key, c.kind]));
  const isCost = (column) => column.kind in UNITS;
  const costs = columns.filter((c) => isCost(c) && c.values.some((v) => v > 0));
  const rows = columns[0].values.map((_, i) => Object.fromEntries(columns.map((c) => [c.key, c.values[i]])));
  const byId = Object.fromEntries(rows.map((row) => [row.cell_id, row]));
  const recordOf = Object.fromEntries(records.map((record) => [record.cell_id, record]));
  const FACETS = ["strategy", "dataset", "backbone", "size", "seed", "status"];
  const root = document.getElementById("explore");

  const el = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  };
  const distinct = (values) => [...new Set(values)];
  const known = (value) => value !== null && value !== undefined && value !== "";
  const digits = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4)));
  const prefixed = (value) => {
    const [factor, prefix] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([f]) => Math.abs(value) >= f) ?? [1, ""];
    return `${+(value / factor).toPrecision(3)} ${prefix}`;
  };
  const shown = (value, kind) => {
    if (!known(value)) return "–";
    if (typeof value !== "number" || kind === "whole") return String(value);
    if (kind in UNITS) return `${["seconds", "ms"].includes(kind) ? `${digits(value)} ` : prefixed(value)}${UNITS[kind]}`.trim();
    return kind === "number" && Math.abs(value) < 1e3 ? value.toFixed(4) : digits(value);
  };

  // Filters

  const wanted = {};
  const SVG = "http://www.w3.org/2000/svg";
  const PATHS = {
    circle: "M-1,0a1,1,0,1,1,2,0a1,1,0,1,1,-2,0", square: "M-.9,-.9H.9V.9H-.9Z", diamond: "M0,-1L.8,0L0,1L-.8,0Z", cross: "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "triangle-up": "M0,-1L1,.8H-1Z", "triangle-down": "M0,1L-1,-.8H1Z", "triangle-left": "M-1,0L.8,-1V1Z", "triangle-right": "M1,0L-.8,1V-1Z",
  };
  const mark = (strategy) => {
    const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS(SVG, tag));
    for (const [key, value] of Object.entries({ viewBox: "-1.1 -1.1 2.2 2.2", class: "swatch", "aria-hidden": "true" })) svg.setAttribute(key, value);
    for (const [key, value] of Object.entries({ d: PATHS[strategy.shape] ?? strategy.shape, fill: strategy.colour })) path.setAttribute(key, value);
    svg.append(path);
    return svg;
  };
  const facet = (key) => {
    const values = key === "strategy" ? strategies.map((s) => s.name) : distinct(rows.map((row) => row[key])).sort((a, b) => (a > b) - (a < b));
    wanted[key] = new Set(values);
    if (values.length < 2) return [];
    const boxes = values.map((value) => {
      const box = el("input", { type: "checkbox", checked: true, onchange: () => set(value, box.checked) });
      const swatch = key === "strategy" ? [mark(strategies.find((s) => s.name === value))] : [];
      return [value, box, el("label", { class: "chip" }, box, ...swatch, el("bdi", {}, shown(value, kindOf[key])))];
    });
    const set = (value, on) => {
      wanted[key][on ? "add" : "delete"](value);
      update();
    };
    const all = (on) => () => {
      for (const [value, box] of boxes) {
        box.checked = on;
        wanted[key][on ? "add" : "delete"](value);
      }
      update();
    };
    const name = title[key];
    const buttons = [["all", true], ["none", false]].map(([word, on]) =>
      el("button", { type: "button", class: "link", onclick: all(on), "aria-label": `${name}: ${word}` }, word));
    return [el("fieldset", { class: "facet" }, el("legend", {}, name), ...boxes.map((b) => b[2]), ...buttons)];
  };
  root.querySelector(".facets").append(...FACETS.flatMap(facet));
  const passes = (row) => FACETS.every((key) => wanted[key].has(row[key]));
  const update = () => table.draw();

  // Charts, on white in either theme, as the figures are

  const CONFIG = {
    background: "#ffffff", font: "system-ui, sans-serif",
    axis: { gridColor: "#e4e4e4", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelColor: "#1c2128", titleColor: "#1c2128" },
    view: { stroke: null }, legend: { labelFontSize: 12, titleFontSize: 12 }, header: { labelFontSize: 12, title: null },
  };
  const MANY = 2000;
  const colour = { field: "strategy", type: "nominal", legend: null, scale: { domain: strategies.map((s) => s.name), range: strategies.map((s) => s.colour) } };
  const shape = { ...colour, scale: { ...colour.scale, range: strategies.map((s) => s.shape) } };
  const quantity = (key, log, more = {}) => ({ field: key, type: "quantitative", title: key, scale: log ? { type: "log", nice: false, padding: 12 } : { zero: false, nice: false, padding: 12 }, ...more });
  const charts = {};
  const draw = async (id, spec, count) => {
    const place = document.getElementById(id);
    charts[id]?.view.finalize();
    delete charts[id];
    if (count === 0) return place.replaceChildren(el("p", { class: "nothing" }, "Nothing to show."));
    charts[id] = await vegaEmbed(place, { width: "container", height: 300, padding: 10, autosize: { type: "fit", contains: "padding" }, config: CONFIG, ...spec },
      { mode: "vega-lite", actions: false, ast: true, renderer: count > MANY ? "canvas" : "svg", tooltip: { theme: "light" } });
    charts[id].view.addEventListener("click", (_, item) => {
      const cell = item?.datum?.cell;
      if (cell && byId[cell]) location.hash = `cell=${cell}`;
    });
  };
  // Vega reads a dot in a field's name as a path: rows for it have plain keys.
  const plain = (row, cost) => ({
    cell: row.cell_id, strategy: row.strategy, where: `${row.dataset} · ${row.backbone}`, n: row.size, seed: row.seed, score: row[primary],
    ...(cost ? { cost: row[cost], told: shown(row[cost], kindOf[cost]) } : {}),
  });
  const tooltip = (cost) => [
    { field: "strategy", type: "nominal" }, { field: "where", type: "nominal", title: "on" }, { field: "n", type: "quantitative" },
    { field: "seed", type: "nominal" }, { field: "score", type: "quantitative", title: title[primary], format: ".4f" },
    ...(cost ? [{ field: "told", type: "nominal", title: title[cost] }] : []),
    { field: "cell", type: "nominal" },
  ];
  const dots = { type: "point", filled: true, opacity: 0.8, size: 55, cursor: "pointer" };
  const score = quantity("score", false, { title: `${title[primary]} on test` });
  const dash = { field: "strategy", type: "nominal", legend: null, scale: { domain: strategies.map((s) => s.name), range: strategies.map((s) => s.dash) } };
  const means = (x) => ({ mark: { type: "line", strokeWidth: 2 }, encoding: { x, y: { ...score, aggregate: "mean" }, color: colour, strokeDash: dash, detail: [{ field: "where", type: "nominal" }] } });
  const bySize = (values) => {
    const sizes = distinct(values.map((v) => v.n)).sort((a, b) => a - b);
    const x = quantity("n", true, { title: "labelled examples n", axis: sizes.length <= 8 ? { values: sizes, format: "d" } : { format: "~s" } });
    return draw("explore-size", { description: `${title[primary]} of each cell by number of labelled examples`, data: { values }, layer: [
      means(x), { mark: dots, encoding: { x, y: score, color: colour, shape, tooltip: tooltip(null) } } ] }, values.length);
  };
  const byCost = (kept, key) => {
    const values = kept.filter((row) => row[key] > 0).map((row) => plain(row, key));
    const unit = UNITS[kindOf[key]];
    const x = quantity("cost", true, { title: unit && kindOf[key] !== "flops" && kindOf[key] !== "seconds" ? `${title[key]} (${unit})` : title[key], axis: { format: ["seconds", "ms"].includes(kindOf[key]) ? "~g" : "~s", tickCount: 5 } });
    const size = { field: "n", type: "ordinal", scale: { range: [40, 170] }, legend: distinct(values.map((v) => v.n)).length > 1 ? { orient: "bottom", symbolType: "circle" } : null };
    return draw("explore-cost", { description: `${title[primary]} of each cell by ${title[key]}`, data: { values }, mark: dots,
      encoding: { x, y: score, color: colour, shape, size, tooltip: tooltip(key) } }, values.length);
  };
  const curvePoints = (kept, along) => kept.flatMap((row) => (recordOf[row.cell_id]?.curve ?? [])
    .filter((point) => known(point.monitor_accuracy) && point[along] > 0)
    .map((point) => ({ ...plain(row), along: point[along], accuracy: point.monitor_accuracy })));
  const curves = (kept, along) => {
    const values = curvePoints(kept, along);
    document.getElementById("explore-curves-box").hidden = values.length === 0;
    return draw("explore-curves", { description: "monitor accuracy of each cell while it trains", data: { values }, mark: { type: "line", strokeWidth: 1.4, opacity: 0.8, cursor: "pointer" },
      encoding: { x: quantity("along", along === "seconds", { title: along === "seconds" ? "seconds of training" : "epoch", axis: along === "seconds" ? {} : { tickMinStep: 1 } }), y: quantity("accuracy", false, { title: "monitor accuracy" }),
        color: colour, detail: [{ field: "cell", type: "nominal" }], tooltip: [...tooltip(null).slice(0, 4), { field: "cell", type: "nominal" }] } }, values.length);
  };

  // The table

  const source = URL.createObjectURL(new Blob([document.getElementById("datatables").textContent], { type: "text/javascript" }));
  const { default: DataTable } = await import(source);
  URL.revokeObjectURL(source);
  const escaped = DataTable.render.text().display;
  const display = (column) => (value, kind) => {
    if (kind === "export") return known(value) ? value : "";
    if (kind !== "display" && kind !== "filter") return known(value) ? value : column.kind === "text" ? "" : -Infinity;
    if (column.key === "cell_id" && kind === "display") return `<a href="#cell=${encodeURIComponent(value)}">${escaped(value)}</a>`;
    return kind === "display" ? escaped(shown(value, column.kind)) : shown(value, column.kind);
  };
  const told = columns.filter((c) => c.values.some(known) && (c.key === "strategy" || c.key === "cell_id" || c.kind !== "text" || distinct(c.values).length > 1));
  const table = new DataTable(document.getElementById("explore-table"), {
    data: rows, autoWidth: false, order: [], searchDelay: 200, pageLength: 10, lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    columns: told.map((c) => ({ data: (row, kind) => display(c)(row[c.key], kind), title: escaped(c.title), className: c.kind === "text" ? "" : "number", type: c.kind === "text" ? "string" : "num" })),
    layout: { topStart: { buttons: [{ extend: "csv", text: "Download csv", filename: "cells", footer: false, exportOptions: { orthogonal: "export", stripHtml: false, decodeEntities: false } }] }, topEnd: "search", bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
    language: { search: "Search cells:", emptyTable: "No cell passes the filters.", zeroRecords: "No cell passes the filters.", info: "_START_ to _END_ of _TOTAL_ cells", infoFiltered: "(searched in _MAX_)", infoEmpty: "no cells", lengthMenu: "_MENU_ a page" },
  });

  const costChoice = document.getElementById("explore-cost-choice"), curveChoice = document.getElementById("explore-curve-choice");
  costChoice.append(...costs.map((c) => el("option", { value: c.key }, c.title)));
  const drawAll = () => {
    const kept = table.rows({ search: "applied" }).data().toArray();
    const scored = kept.filter((row) => known(row[primary]));
    document.getElementById("explore-count").textContent = `${kept.length} of ${rows.length} cells${given.left_out ? `; ${given.left_out}` : ""}`;
    const drawn = [bySize(scored.filter((row) => row.size > 0).map((row) => plain(row))), curves(kept, curveChoice.value)];
    if (costs.length) drawn.push(byCost(scored, costChoice.value));
    return Promise.all(drawn);
  };
  // One drawing at a time: what changes meanwhile is drawn once more at its end.
  let running = null, stale = false;
  const showCharts = () => {
    stale = true;
    running ??= (async () => {
      while (stale) {
        stale = false;
        await drawAll();
      }
      running = null;
    })();
    return running;
  };
  table.search.fixed("facets", (_, row) => passes(row));
  table.on("search", () => showCharts());
  costChoice.addEventListener("change", showCharts);
  curveChoice.addEventListener("change", showCharts);

  // One cell

  const panel = document.getElementById("cell"), inside = panel.querySelector(".inside");
  const name = (row) => [row.strategy, row.dataset, row.backbone].flatMap((word) => [el("bdi", {}, word), " · "]).concat(`n = ${row.size}`);
  const grid = (head, body, caption) => el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...head.map((h, i) => el("th", { scope: "col", class: i ? "number" : null }, h)))),
      el("tbody", {}, ...body.map((line) => el("tr", {}, ...line.map((x, i) => (i ? el("td", { class: "number" }, x) : el("th", { scope: "row" }, x))))))));
  const link = (row) => el("a", { href: `#cell=${row.cell_id}` }, row.cell_id);
  const perClass = (classes, confusion) => {
    const total = (k) => confusion.reduce((sum, line) => sum + line[k], 0);
    const body = classes.map((label, k) => {
      const asked = confusion[k].reduce((a, b) => a + b, 0), given = total(k), right = confusion[k][k];
      const worst = confusion[k].map((count, j) => [j === k ? -1 : count, j]).sort((a, b) => b[0] - a[0])[0];
      const mistaken = worst && worst[0] > 0 ? `${classes[worst[1]]} (${worst[0]})` : "–";
      return [el("bdi", {}, label), shown(asked), asked ? (right / asked).toFixed(3) : "–", given ? (right / given).toFixed(3) : "–", el("bdi", {}, mistaken)];
    });
    return grid(["class", "examples", "recall", "precision", "most taken for"], body, "Per class, on test");
  };
  const confusions = (classes, confusion) => grid(["true \\ predicted", ...classes],
    confusion.map((line, k) => [el("bdi", {}, classes[k]), ...line.map((count, j) => (j === k ? el("strong", {}, String(count)) : String(count || "·")))]), "What was taken for what, on test");
  const cellView = (row) => {
    const record = recordOf[row.cell_id], parts = [el("h2", { id: "cell-title" }, ...name(row), ` · seed ${row.seed}`)];
    parts.push(el("p", {}, el("strong", {}, row.status), row.reason ? el("bdi", {}, `: ${row.reason}`) : "", ` · record ${row.cell_id}`));
    const numbers = columns.filter((c) => (c.kind === "number" || isCost(c)) && known(row[c.key]));
    parts.push(el("dl", { class: "numbers" }, ...numbers.map((c) => el("div", {}, el("dt", {}, c.title), el("dd", {}, shown(row[c.key], c.kind))))));
    if (curvePoints([row], "epoch").length) parts.push(el("div", { id: "cell-curve", class: "chart" }));
    const { classes, confusion } = record?.details ?? {};
    if (classes && confusion) parts.push(perClass(classes, confusion), confusions(classes, confusion));
    const show = row.status === "skipped" ? [] : [`bench show ${row.cell_id}`];
    parts.push(el("h3", {}, "To see it and to make it again"), el("pre", { tabindex: "0" }, [...show, `${command} --only cell=${row.cell_id} --force`].join("\n")));
    if (record) parts.push(el("details", {}, el("summary", {}, "The record"), el("pre", { tabindex: "0" }, JSON.stringify(record, null, 1))));
    return parts;
  };
  const listView = (found) => {
    const ok = found.filter((row) => row.status === "ok").length;
    return [el("h2", { id: "cell-title" }, `${found.length} cells behind this number${ok < found.length ? `, ${ok} of them ok` : ""}`), el("p", {}, ...name(found[0])),
      grid(["cell", "n", "seed", "status", title[primary]], found.map((row) => [link(row), String(row.size), String(row.seed), row.status, shown(row[primary], "number")]), "Cells")];
  };
  const open = () => {
    const asked = /^#cells?=([\w,]+)$/.exec(location.hash);
    const found = asked ? asked[1].split(",").flatMap((id) => byId[id] ?? []) : [];
    if (found.length === 0) return panel.open && panel.close();
    inside.replaceChildren(...(found.length === 1 ? cellView(found[0]) : listView(found)));
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
    if (document.getElementById("cell-curve")) {
      const values = curvePoints(found, "epoch").map((v) => ({ ...v, cell: null }));
      draw("cell-curve", { height: 200, description: "monitor accuracy of this cell while it trains", data: { values }, mark: { type: "line", point: true, strokeWidth: 2 },
        encoding: { x: quantity("along", false, { title: "epoch", axis: { tickMinStep: 1 } }), y: quantity("accuracy", false, { title: "monitor accuracy" }), color: colour } }, values.length);
    }
    return true;
  };
  panel.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  panel.querySelector("button").addEventListener("click", () => panel.close());
  window.addEventListener("hashchange", open);

  root.hidden = false;
  document.documentElement.classList.add("explorable");
  await showCharts();
  open();
  document.documentElement.dataset.explore = "ready";
})();
