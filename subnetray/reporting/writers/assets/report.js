"use strict";
// Tables that sort and filter, words that explain themselves. Without this script the page reads the same.
(() => {
  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };

  // A cell as a number: the first in it, whose minus is a true one; what has none comes last.
  const number = (text) => {
    const found = text.replace(/−/g, "-").replace(/,/g, "").match(/[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : NaN;
  };

  const sort = (table, header, column) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const numbers = header.classList.contains("r");
    const keys = new Map([...table.tBodies[0].rows].map((row) => {
      const text = row.cells[column].textContent.trim();
      return [row, numbers ? number(text) : text];
    }));
    const compare = (a, b) => {
      if (!numbers) return sign * a.localeCompare(b, "en", { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    };
    table.tBodies[0].append(...[...keys.keys()].sort((a, b) => compare(keys.get(a), keys.get(b))));
  };

  const sortable = (table) => {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const name = header.textContent.trim();
      const button = make("button", { type: "button", "aria-label": `Sort by ${name}` }, "↕");
      button.addEventListener("click", () => {
        sort(table, header, column);
        for (const each of table.tHead.querySelectorAll("button")) each.textContent = "↕";
        button.textContent = header.getAttribute("aria-sort") === "ascending" ? "↑" : "↓";
      });
      header.append(" ", button);
    });
  };

  const filterable = (table, scroll) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 8) return;
    const box = make("div", { class: "filter" });
    const label = make("label", {}, "Rows with ");
    const input = make("input", { type: "search" });
    const count = make("span", { role: "status" });
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    label.append(input);
    box.append(label, count);
    scroll.before(box);
  };

  for (const scroll of document.querySelectorAll(".scroll")) {
    const table = scroll.querySelector("table");
    if (!table || !table.tHead) continue;
    filterable(table, scroll);
    sortable(table);
  }

  // The meaning of a word stands once, in the glossary; a tip shows it where the word is pointed at or has the focus.
  const tip = make("div", { id: "tip", role: "tooltip" });
  tip.hidden = true;
  document.body.append(tip);
  const show = (event) => {
    const term = event.target.closest && event.target.closest("a.term");
    const meaning = term && document.getElementById(term.hash.slice(1));
    if (!meaning) return;
    tip.textContent = meaning.nextElementSibling.textContent;
    tip.hidden = false;
    term.setAttribute("aria-describedby", "tip");
    const place = term.getBoundingClientRect();
    const left = Math.min(place.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left) + window.scrollX}px`;
    tip.style.top = `${place.bottom + window.scrollY + 4}px`;
  };
  const hide = () => { tip.hidden = true; };
  document.addEventListener("mouseover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("mouseout", hide);
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // Runs: their data stand once in the page, and a run is written when a link leads to it.
  const store = document.querySelector("script.runs");
  const pages = store ? JSON.parse(store.textContent) : {};
  const list = (ids) => {
    const items = make("ul");
    for (const id of ids) {
      const page = pages[id];
      const item = make("li");
      item.append(page ? make("a", { href: `#run-${id}` }, `${page.cell}, seed ${page.seed}`) : make("code", {}, id));
      items.append(item);
    }
    const box = make("details", { class: "runs" });
    box.append(make("summary", {}, ids.length === 1 ? "its run" : `${ids.length} runs`), items);
    return box;
  };
  for (const place of document.querySelectorAll("[data-runs]")) {
    const ids = place.dataset.runs.split(" ").filter(Boolean);
    if (ids.length) (place.tagName === "TR" ? place.cells[0] : place).append(list(ids));
  }

  const curve = (name, [steps, values]) => {
    const [left, right] = [Math.min(...steps), Math.max(...steps)];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const place = (value, from, to, size) => (to > from ? (size * (value - from)) / (to - from) : size / 2);
    const points = steps.map((step, i) => `${place(step, left, right, 196) + 2},${62 - place(values[i], low, high, 60)}`);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS(svg.namespaceURI, "polyline");
    svg.setAttribute("viewBox", "0 0 200 64");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${name} from ${values[0]} at step ${left} to ${values.at(-1)} at step ${right}`);
    line.setAttribute("points", points.join(" "));
    svg.append(line);
    const figure = make("figure");
    figure.append(svg, make("figcaption", {}, `${name}: ${values[0]} → ${values.at(-1)}, between ${low} and ${high}`));
    return figure;
  };
  const pairs = (title, content) => {
    const box = make("details");
    const lines = make("dl", { class: "pairs" });
    for (const [name, value] of Object.entries(content)) lines.append(make("dt", {}, name), make("dd", {}, value));
    box.append(make("summary", {}, title), lines);
    return Object.keys(content).length ? [box] : [];
  };
  const showRun = () => {
    const place = document.getElementById("runs");
    const id = location.hash.startsWith("#run-") ? location.hash.slice(5) : "";
    const page = Object.hasOwn(pages, id) ? pages[id] : null;
    if (!place || !page) return;
    const title = make("h3", { tabindex: "-1" }, `Run ${id}: ${page.cell}, seed ${page.seed}`);
    const curves = make("div", { class: "curves" });
    for (const [name, points] of Object.entries(page.curves)) curves.append(curve(name, points));
    place.replaceChildren(title, make("p", {}, page.error ? `${page.status}: ${page.error}` : page.status));
    if (page.command) place.append(make("p", {}, "To run it again:"), make("pre", {}, page.command));
    place.append(curves, ...pairs("Levels", page.levels), ...pairs("Numbers (runs.parquet)", page.numbers));
    place.append(...pairs("Config (config.yaml)", { "": page.config }));
    place.hidden = false;
    title.scrollIntoView();
    title.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", showRun);

  // Charts are drawn when they come into view. Expressions are interpreted, never compiled, so that no text is run.
  const draw = async (figure) => {
    const spec = JSON.parse(figure.querySelector("script.chart").textContent);
    const { names, values } = spec.datasets.rows;
    spec.datasets.rows = values.map((row) => Object.fromEntries(names.map((name, place) => [name, row[place]])));
    const place = make("div", { class: "scroll" });
    const image = figure.querySelector("img");
    figure.prepend(place);
    try {
      const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : undefined;
      const { view } = await vegaEmbed(place, spec, { mode: "vega-lite", actions: false, renderer: "svg", ast: true, theme });
      view.addEventListener("click", (event, item) => {
        if (item && item.datum && item.datum.run) location.hash = `run-${item.datum.run}`;
      });
      if (image) image.hidden = true;
    } catch (error) {
      place.remove();
      console.error(error);
    }
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  if (window.vegaEmbed) for (const figure of document.querySelectorAll("figure.chart")) seen.observe(figure);

  // What is folded opens where a link leads into it, and on paper.
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", unfold);
  unfold();
  showRun();
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open])")];
    for (const each of closed) each.open = true;
  });
  window.addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
})();
