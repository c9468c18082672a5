// The two plots, drawn as SVG from the page's data. Sizes are in pixels of the place they stand in,
// so that their text is as large on a narrow screen as on a wide one.
const charts = (() => {
  const SPACE = "http://www.w3.org/2000/svg";
  const COLOURS = 7, DASHES = 5, MARKS = 6;

  function add(parent, name, attributes, text) {
    const element = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.appendChild(element);
    return element;
  }

  const log2 = (bytes) => Math.log2(Number(bytes));

  // A path of one marker around (0, 0).
  const MARK_PATHS = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", "M-3.6 -3.6h7.2v7.2h-7.2Z", "M0 -4.6L4.4 3.4H-4.4Z",
    "M0 -4.8L4.8 0L0 4.8L-4.8 0Z", "M0 4.6L4.4 -3.4H-4.4Z",
    "M-1.5 -4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z",
  ];

  function style(number) {
    return { line: `line c${number % COLOURS} d${number % DASHES}`, mark: `mark c${number % COLOURS}`,
      path: MARK_PATHS[number % MARKS] };
  }

  function legendEntry(place, text, draw) {
    const entry = document.createElement("span");
    const svg = add(null, "svg", { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" });
    draw(svg);
    entry.append(svg, text);
    place.appendChild(entry);
  }

  // Contexts between first and last: four in an octave, and every place where a curve bends.
  function contexts(data, first, last) {
    const points = new Set([first, last]);
    for (let octave = 1n; octave <= last; octave *= 2n)
      for (let step = 0n; step < 4n; step += 1n) points.add(octave + (octave * step) / 4n);
    for (const model of data.models) for (const bend of model.bends) points.add(BigInt(bend));
    return [...points].filter((point) => point >= first && point <= last).sort((a, b) => (a < b ? -1 : 1));
  }

  // Every n-th octave gets a label, so that labels keep their distance.
  function octaves(low, high, room, size) {
    const step = Math.max(1, Math.ceil((high - low) / Math.max(1, Math.floor(room / size))));
    const found = [];
    for (let level = Math.ceil(low); level <= high + 1e-9; level += 1) if (level % step === 0) found.push(level);
    return found;
  }

  function lines({ figure, legend, room }, data, curves, workload, onContext) {
    figure.replaceChildren();
    legend.replaceChildren();
    const width = Math.max(260, room), height = Math.min(420, Math.max(280, width * 0.62));
    const left = 62, right = 12, top = 10, bottom = 38;
    const first = BigInt(data.first_context);
    const last = workload.context > BigInt(data.last_context) ? workload.context : BigInt(data.last_context);
    const points = contexts(data, first, last);
    const drawn = curves.map((curve) => ({
      ...curve,
      held: curve.problem ? [] : points.map((context) => [context, curve.held(context)]).filter(([, bytes]) => bytes),
    }));
    drawn.forEach((curve, number) => {
      const looks = style(number);
      const why = curve.problem ? " (does not apply)" : curve.held.length ? "" : " (keeps nothing)";
      legendEntry(legend, curve.name + why, (svg) => {
        add(svg, "path", { d: "M1 6H33", class: looks.line });
        add(svg, "path", { d: looks.path, class: looks.mark, transform: "translate(17 6)" });
      });
    });
    const values = drawn.flatMap((curve) => curve.held.map(([, bytes]) => log2(bytes)));
    if (!values.length) {
      figure.textContent = "None of these models keeps anything for this workload.";
      return;
    }
    const most = Math.max(...values);
    const devices = data.devices.filter((device, number) =>
      !number || log2(data.devices[number - 1].bytes) < most || log2(device.bytes) < most + 3);
    const low = Math.floor(Math.min(...values));
    const high = Math.max(most, ...devices.map((device) => log2(device.bytes))) + 0.3;
    const from = log2(first), to = log2(last);
    const x = (context) => left + ((log2(context) - from) / (to - from)) * (width - left - right);
    const across = new Map(points.map((context) => [context, x(context).toFixed(1)]));
    const y = (level) => top + ((high - level) / (high - low)) * (height - top - bottom);
    const svg = add(figure, "svg", {
      viewBox: `0 0 ${width} ${height}`, height, role: "img",
      "aria-label": `Cache against context for ${curves.map((curve) => curve.name).join(", ")}`,
    });
    for (const level of octaves(low, high, height - top - bottom, 30)) {
      add(svg, "path", { d: `M${left} ${y(level)}H${width - right}`, class: "rule" });
      add(svg, "text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" },
        kvcalc.formatBytes(1n << BigInt(level)).replace(".00 ", " "));
    }
    for (const level of octaves(from, to, width - left - right, 44)) {
      const place = x(1n << BigInt(level));
      add(svg, "path", { d: `M${place} ${height - bottom}v5`, class: "axis" });
      add(svg, "text", { x: place, y: height - bottom + 18, "text-anchor": "middle" },
        kvcalc.formatTokens(1n << BigInt(level)));
    }
    add(svg, "path", { d: `M${left} ${top}V${height - bottom}H${width - right}`, class: "axis", fill: "none" });
    add(svg, "text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle", class: "quiet" },
      "context, tokens of one sequence");
    const names = [];
    let free = Infinity;
    for (const device of devices) {
      const place = y(log2(device.bytes));
      add(svg, "path", { d: `M${left} ${place}H${width - right}`, class: "device" });
      // From the bottom up; a name that would touch the one below it is left to its line.
      if (place > free) continue;
      free = place - 13;
      names.push([place - 3, `${device.name}, ${kvcalc.formatBytes(device.bytes)}`]);
    }
    drawn.forEach((curve, number) => {
      if (!curve.held.length) return;
      const looks = style(number);
      const path = curve.held.map(([context, bytes]) => `${across.get(context)} ${y(log2(bytes)).toFixed(1)}`);
      add(svg, "path", { d: `M${path.join("L")}`, class: looks.line });
      const marked = new Set([...curve.bends, String(last)]);
      for (const [context, bytes] of curve.held)
        if (marked.has(String(context)))
          add(svg, "path", { d: looks.path, class: looks.mark, transform: `translate(${x(context)} ${y(log2(bytes))})` });
    });
    // Over all lines, so that none strikes a name through.
    for (const [place, name] of names)
      add(svg, "text", { x: left + 5, y: place, class: "quiet device-name", "font-size": 11 }, name);
    if (workload.context >= first)
      add(svg, "path", { d: `M${x(workload.context)} ${top}V${height - bottom}`, class: "cursor" });
    // A pointer picks the sampled context that is nearest.
    const pick = (event) => {
      const box = svg.getBoundingClientRect();
      const place = ((event.clientX - box.left) / box.width) * width;
      onContext(points.reduce((best, point) => (Math.abs(x(point) - place) < Math.abs(x(best) - place) ? point : best)));
    };
    svg.addEventListener("click", pick);
  }

  const HATCHES = {
    1: (pattern) => add(pattern, "path", { d: "M-1 7L7 -1M3 9L9 3M-1 1L1 -1", class: "hatch" }),
    2: (pattern) => add(pattern, "path", { d: "M-1 -1L9 9M-1 7L1 9M7 -1L9 1", class: "hatch" }),
    4: (pattern) => add(pattern, "circle", { cx: 4, cy: 4, r: 1.2, class: "hatch-dot" }),
    6: (pattern) => add(pattern, "path", { d: "M2 0V8M6 0V8", class: "hatch" }),
    7: (pattern) => add(pattern, "path", { d: "M0 0L8 8M8 0L0 8", class: "hatch" }),
  };

  // One pattern per part: a colour, and for most a hatch, so that a print in grey reads the same.
  function patterns(svg) {
    const kinds = add(svg, "defs");
    for (const [part, hatch] of Object.entries(HATCHES)) {
      const pattern = add(kinds, "pattern", { id: `part${part}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" });
      add(pattern, "rect", { width: 8, height: 8, class: `f${part}` });
      hatch(pattern);
    }
  }

  const fill = (part) => (HATCHES[part] ? { fill: `url(#part${part})` } : { class: `part f${part}` });

  function bars({ figure, legend, room }, data, answers) {
    figure.replaceChildren();
    legend.replaceChildren();
    const names = [...data.parts, "cache"];
    const stacks = answers.map((answer) => (answer.problem ? [] : [...answer.parts, answer.cache]));
    const most = stacks.reduce((best, stack) => {
      const sum = stack.reduce((total, bytes) => total + bytes, 0n);
      return sum > best ? sum : best;
    }, 0n);
    const width = Math.max(260, room), row = 46, top = 4, beside = 82;
    const height = top + row * answers.length;
    const svg = add(figure, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
      "aria-label": `Weights and cache of ${answers.map((answer) => answer.name).join(", ")}` });
    patterns(svg);
    names.forEach((name, part) => {
      if (!stacks.some((stack) => stack[part])) return;
      legendEntry(legend, name, (small) => add(small, "rect", { x: 3, y: 0, width: 28, height: 12, ...fill(part) }));
    });
    // Lengths are hundredths of a pixel in whole numbers, so that the parts add up to the bar.
    const scale = BigInt(Math.round((width - beside) * 100));
    answers.forEach((answer, number) => {
      const place = top + row * number;
      add(svg, "text", { x: 0, y: place + 12, "font-weight": 600 }, answer.name);
      if (answer.problem) {
        add(svg, "text", { x: 0, y: place + 31, class: "quiet" }, "does not apply");
        return;
      }
      let before = 0n;
      stacks[number].forEach((bytes, part) => {
        if (!bytes) return;
        const start = Number((before * scale) / most) / 100;
        before += bytes;
        const end = Number((before * scale) / most) / 100;
        const bar = add(svg, "rect", { x: start, y: place + 17, width: Math.max(0.5, end - start), height: 19, ...fill(part) });
        add(bar, "title", {}, `${names[part]}: ${kvcalc.formatBytes(bytes)}, ${kvcalc.digits(bytes)} bytes`);
      });
      add(svg, "text", { x: Number((before * scale) / most) / 100 + 6, y: place + 31 }, kvcalc.formatBytes(before));
    });
  }

  return { bars, lines };
})();
