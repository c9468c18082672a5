// The form: reads a workload, recomputes every number of the table and both plots.
(() => {
  const data = kvcalc.read(JSON.parse(document.getElementById("data").textContent));
  const byId = (id) => document.getElementById(id);
  const fields = { context: byId("context"), batch: byId("batch"), encoder: byId("encoder") };
  const choices = { kvDtype: byId("kv-dtype"), dtype: byId("dtype"), rank: byId("rank") };
  const status = byId("status");
  const rows = [...byId("answers").tBodies[0].rows];
  // A row as the page came, to put back after a workload that does not apply to its model.
  const cells = rows.map((row) => [...row.cells].slice(1));

  // Where the plots stand and how wide; measured only when that can have changed, because measuring
  // makes the browser lay out the page.
  const places = {};
  function measure() {
    for (const name of ["lines", "bars"]) {
      const figure = byId(name);
      places[name] = { figure, legend: byId(`${name}-legend`), room: figure.clientWidth };
    }
  }

  // Tokens as they are typed: without the commas that they are read with.
  const typed = (tokens) => kvcalc.formatTokens(tokens).replaceAll(",", "");

  function fillChoices() {
    const option = (select, value, text, chosen) => select.add(new Option(text, value, chosen, chosen));
    for (const name of data.kv_dtypes) option(choices.kvDtype, name, name, name === data.question.kv_dtype);
    for (const name of data.dtypes)
      option(choices.dtype, name, name === "published" ? "as published" : name, name === data.question.dtype);
    data.ranks.forEach((rank, index) => option(choices.rank, index, rank, index === data.question.rank));
    fields.context.value = typed(BigInt(data.question.context));
    fields.batch.value = data.question.batch;
    if (data.models.some((model) => model.encoder && model.encoderTokens === null)) {
      byId("encoder-label").hidden = false;
      const given = data.question.encoder;
      fields.encoder.value = given === null ? "" : typed(BigInt(given));
    }
  }

  // The workload that the form holds, or null and a message where it is none.
  function readForm() {
    const context = kvcalc.parseTokens(fields.context.value);
    const batch = /^[1-9][0-9]{0,8}$/.test(fields.batch.value.trim()) ? BigInt(fields.batch.value.trim()) : null;
    const blank = !fields.encoder.value.trim();
    const encoder = blank ? null : kvcalc.parseTokens(fields.encoder.value);
    fields.context.setAttribute("aria-invalid", context === null);
    fields.batch.setAttribute("aria-invalid", batch === null);
    fields.encoder.setAttribute("aria-invalid", !blank && encoder === null);
    const wrong = context === null || (!blank && encoder === null) ? "Write tokens as 8192, 8k or 1m (k = 1024)."
      : batch === null ? "A batch is a whole number of at least 1." : "";
    status.className = wrong ? "bad" : "";
    if (wrong) {
      status.textContent = wrong;
      return null;
    }
    return { context, batch, encoder, kvDtype: choices.kvDtype.value, dtype: choices.dtype.value,
      rank: Number(choices.rank.value) };
  }

  function write(cell, bytes) {
    cell.dataset.bytes = bytes;
    const exact = document.createElement("small");
    exact.textContent = kvcalc.digits(bytes);
    cell.replaceChildren(kvcalc.formatBytes(bytes), exact);
  }

  function ratio(part, whole) {
    if (!whole) return "-";
    if (part % whole === 0n) return `${part / whole}x`;
    const hundredths = (part * 100n + whole / 2n) / whole;
    return `${hundredths / 100n}.${String(hundredths % 100n).padStart(2, "0")}x`;
  }

  function fillTable(answers) {
    answers.forEach((answer, index) => {
      const row = rows[index];
      while (row.cells.length > 1) row.deleteCell(1);
      if (answer.problem) {
        const cell = row.insertCell();
        cell.colSpan = cells[index].length;
        cell.className = "problem";
        cell.textContent = answer.problem;
        return;
      }
      row.append(...cells[index]);
      for (const cell of cells[index]) {
        const name = cell.dataset.field;
        if (name === "ratio") cell.textContent = answers[0].problem ? "-" : ratio(answer.cache, answers[0].cache);
        else if (name) write(cell, answer[name]);
      }
    });
  }

  // One device of one holds what stands beside it: the column is there for several.
  function sayDevices(ranks) {
    const heading = byId("device-heading");
    heading.textContent = ranks === 1 ? "one device" : `one of ${ranks} devices`;
    for (const cell of [heading, ...cells.flat().filter((each) => each.dataset.field === "perDevice")]) {
      cell.hidden = ranks === 1;
      cell.dataset.title = heading.textContent;
    }
  }

  function sayLongest(context) {
    for (const note of document.querySelectorAll("#answers .beyond"))
      note.hidden = context <= BigInt(note.dataset.longest);
  }

  function draw(workload, answers) {
    sayDevices(data.ranks[workload.rank]);
    sayLongest(workload.context);
    const curves = data.models.map((model, index) => {
      const terms = answers[index].problem ? [] : kvcalc.terms(model, workload.kvDtype, workload.rank);
      const encoder = (context) => kvcalc.encoderTokens(model, context, workload.encoder);
      return { name: model.name, bends: model.bends, problem: answers[index].problem,
        held: (context) => workload.batch * kvcalc.most(terms, context, encoder(context)) };
    });
    charts.lines(places.lines, data, curves, workload, (context) => {
      fields.context.value = typed(context);
      recompute();
    });
    charts.bars(places.bars, data, answers);
  }

  function recompute() {
    const started = performance.now();
    const workload = readForm();
    if (!workload) return;
    const answers = data.models.map((model) => kvcalc.answer(model, workload));
    fillTable(answers);
    draw(workload, answers);
    const milliseconds = performance.now() - started;
    document.documentElement.dataset.milliseconds = milliseconds.toFixed(1);
    const ranks = data.ranks[workload.rank];
    status.textContent = `${kvcalc.digits(workload.context)} tokens, ${kvcalc.digits(workload.batch)} `
      + `sequence${workload.batch === 1n ? "" : "s"}`
      + (ranks > 1 ? `; plotted: the cache of one of ${ranks} devices` : "");
  }

  fillChoices();
  for (const field of Object.values(fields)) field.addEventListener("input", recompute);
  for (const choice of Object.values(choices)) choice.addEventListener("change", recompute);
  byId("form").addEventListener("submit", (event) => event.preventDefault());
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) {
      width = window.innerWidth;
      measure();
      recompute();
    }
  });
  measure();
  recompute();
})();
