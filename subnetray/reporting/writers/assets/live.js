"use strict";
// The page of a sweep that runs loads itself again, to where its reader was, with open what she has opened.
(() => {
  const seconds = Number(document.currentScript.dataset.seconds);
  const name = `subnetray live ${location.pathname}`;
  // Sections come in and tables grow meanwhile: places are told from a heading, and numbers do not count.
  const headings = [...document.querySelectorAll("main [id]")].filter((each) => /^H\d$/.test(each.tagName));
  const folded = () => {
    const found = new Map();
    let section = "";
    for (const each of document.querySelectorAll("main h1, main h2, main h3, main details")) {
      if (each.tagName !== "DETAILS") {
        section = each.id;
        continue;
      }
      const row = each.closest("tr");
      const words = `${section} ${row ? row.textContent : each.firstElementChild.textContent}`.replace(/[\d.,±−+]/g, "");
      let key = words;
      for (let n = 2; found.has(key); n++) key = `${words} ${n}`;
      found.set(key, each);
    }
    return found;
  };
  const keep = () => {
    const top = headings.filter((each) => each.getBoundingClientRect().top <= 1).at(-1);
    const open = [...folded()].filter(([, each]) => each.open).map(([key]) => key);
    const past = top ? -top.getBoundingClientRect().top : window.scrollY;
    sessionStorage.setItem(name, JSON.stringify({ open, heading: top ? top.id : "", past }));
  };
  const restore = () => {
    const kept = JSON.parse(sessionStorage.getItem(name) || "null");
    if (!kept) return;
    sessionStorage.removeItem(name);
    history.scrollRestoration = "manual";
    const open = new Set(kept.open);
    for (const [key, each] of folded()) each.open = open.has(key);
    const heading = headings.find((each) => each.id === kept.heading);
    window.scrollTo(0, kept.past + (heading ? heading.getBoundingClientRect().top + window.scrollY : 0));
  };
  // Not while somebody filters rows or has text selected, nor where nobody looks.
  const busy = () => document.hidden || !window.getSelection().isCollapsed
    || [...document.querySelectorAll("input")].some((each) => each.value);
  const again = () => {
    if (busy()) {
      setTimeout(again, 1000);
      return;
    }
    try { keep(); } catch { /* without storage tables are folded again */ }
    // The last page, which has none of this, is left to the browser, as all would be without storage.
    history.scrollRestoration = "auto";
    location.reload();
  };
  try { restore(); } catch { /* likewise */ }
  setTimeout(again, 1000 * seconds);
})();
