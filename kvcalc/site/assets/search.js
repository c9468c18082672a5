// The search over models, mechanisms, engines and fields, and the field that narrows a list.
// The index is a script, so that it loads from a file as from a server, and only once it is asked for.
"use strict";
(() => {
  const MOST_BELOW = 8, MOST_ON_PAGE = 200;
  const form = document.querySelector("form.search"), input = form.elements.q;
  const found = form.querySelector(".found"), { top } = form.dataset;

  let loading = null;
  function index() {
    return loading ??= new Promise((done) => {
      const script = document.createElement("script");
      script.src = form.dataset.index;
      script.onload = () => done(window.kvcalcIndex.map((entry) => ({
        kind: entry[0], name: entry[1], said: entry[2], page: entry[3],
        low: entry[1].toLowerCase(), all: entry.join(" ").toLowerCase(),
      })));
      document.head.append(script);
    });
  }

  // How well an entry answers: all words must stand in it; a name that begins so is better.
  function score(entry, words) {
    let sum = 0;
    for (const word of words) {
      if (!entry.all.includes(word)) return 0;
      sum += entry.low === word ? 60 : entry.low.startsWith(word) ? 30 : entry.low.includes(word) ? 15 : 1;
    }
    return sum + (entry.kind === "field" ? 0 : 2) - entry.low.length / 1000;
  }

  async function search(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    return (await index()).map((entry) => [score(entry, words), entry]).filter(([points]) => points > 0)
      .sort((a, b) => b[0] - a[0] || (a[1].name < b[1].name ? -1 : 1)).map(([, entry]) => entry);
  }

  function item(entry) {
    const line = document.createElement("li"), link = document.createElement("a");
    const kind = document.createElement("span"), said = document.createElement("small");
    link.href = top + entry.page;
    kind.className = "kind";
    kind.textContent = entry.kind;
    said.textContent = entry.said;
    link.append(entry.name, kind, said);
    line.append(link);
    return line;
  }

  const counted = (number) => (number === 0 ? "Nothing found." : `${number} found.`);

  async function below() {
    const query = input.value.trim();
    const answers = await search(query);
    if (query !== input.value.trim()) return;
    found.hidden = !query;
    const said = document.createElement("p"), list = document.createElement("ul");
    said.setAttribute("role", "status");
    said.textContent = answers.length > MOST_BELOW ? `${answers.length} found; Enter shows all.` : counted(answers.length);
    list.append(...answers.slice(0, MOST_BELOW).map(item));
    found.replaceChildren(said, list);
  }

  // The arrows walk through what was found; Escape closes it.
  form.addEventListener("keydown", (event) => {
    const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
    if (event.key === "Escape") { found.hidden = true; input.focus(); }
    if (found.hidden || !links.length || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const next = event.key === "ArrowDown" ? at + 1 : at - 1;
    (next < 0 ? input : links[Math.min(next, links.length - 1)]).focus();
  });
  form.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !form.contains(event.relatedTarget)) found.hidden = true;
  });
  document.addEventListener("click", (event) => { if (!form.contains(event.target)) found.hidden = true; });
  input.addEventListener("focus", index);
  input.addEventListener("input", below);

  const list = document.getElementById("answers-found");
  if (list) {
    const query = new URLSearchParams(location.search).get("q") ?? "";
    input.value = query;
    if (query.trim()) search(query).then((answers) => {
      document.getElementById("answer-count").textContent = `“${query}”: ${counted(answers.length)}`;
      list.replaceChildren(...answers.slice(0, MOST_ON_PAGE).map(item));
    });
  }

  for (const narrow of document.querySelectorAll("input[data-narrows]")) {
    const place = narrow.closest(".narrow"), said = place.querySelector("output");
    const rows = [...document.querySelectorAll(`#${narrow.dataset.narrows} tbody tr`)];
    place.hidden = false;
    narrow.addEventListener("input", () => {
      const words = narrow.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      said.textContent = words.length ? counted(rows.filter((row) => !row.hidden).length) : "";
    });
  }
})();
