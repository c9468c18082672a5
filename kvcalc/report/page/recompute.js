// The cache of a model, recomputed in the page from the terms that kvcalc compiled: the extents of
// its tensors and the bytes of a position of each. Every number is a BigInt, so every byte is exact.
"use strict";
const kvcalc = (() => {
  const big = (value) => BigInt(value);
  const smaller = (a, b) => (a < b ? a : b);

  // How many positions an extent holds; the kinds are those of kvcalc/tensors.py.
  function positions(extent, tokens, encoderTokens) {
    switch (extent.kind) {
      case "every_token": return tokens;
      case "at_most": return smaller(tokens, extent.size);
      case "per_block":
        return tokens >= extent.size ? (tokens - extent.size) / extent.stride + 1n : 0n;
      case "tail": return tokens % extent.size;
      case "last_block": return tokens >= extent.size ? extent.size : 0n;
      case "share": {
        if (!tokens || !extent.numerator) return 0n;
        const held = (tokens * extent.numerator) / extent.denominator;
        return held > 1n ? held : 1n;
      }
      case "encoder_tokens": return encoderTokens;
      case "once": return tokens || encoderTokens ? 1n : 0n;
      default: throw new Error(`unknown extent ${extent.kind}`);
    }
  }

  function at(terms, tokens, encoderTokens) {
    let total = 0n;
    for (const term of terms) total += positions(term.extent, tokens, encoderTokens) * term.bytes;
    return total;
  }

  const gcd = (a, b) => (b ? gcd(b, a % b) : a);
  const lcm = (a, b) => (a / gcd(a, b)) * b;

  // The most held at any length up to `tokens`. Known once asked for: a plot asks for the same
  // contexts after every keystroke.
  function most(terms, tokens, encoderTokens) {
    if (terms.encoderTokens !== encoderTokens)
      Object.assign(terms, { encoderTokens, known: new Map() });
    let held = terms.known.get(tokens);
    if (held === undefined) terms.known.set(tokens, held = search(terms, tokens, encoderTokens));
    return held;
  }

  // Only an unfinished block shrinks as tokens come.
  function search(terms, tokens, encoderTokens) {
    const tails = terms.filter((term) => term.extent.kind === "tail");
    let best = at(terms, tokens, encoderTokens);
    if (!tails.length) return best;
    const period = tails.reduce((whole, term) => lcm(whole, term.extent.size), 1n);
    const first = tokens > period ? tokens - period : 0n;
    for (const { extent } of tails) {
      for (let end = tokens - ((tokens + 1n) % extent.size); end >= first; end -= extent.size) {
        const held = at(terms, end, encoderTokens);
        if (held > best) best = held;
      }
    }
    return best;
  }

  function slope(extent) {
    switch (extent.kind) {
      case "every_token": return [1n, 1n];
      case "per_block": return [1n, extent.stride];
      case "share": return [extent.numerator, extent.denominator];
      default: return [0n, 1n];
    }
  }

  // What one more token adds once every window is full, rounded up where blocks make it a fraction.
  function bytesPerToken(terms) {
    const scale = terms.reduce((whole, term) => lcm(whole, slope(term.extent)[1]), 1n);
    let total = 0n;
    for (const term of terms) {
      const [numerator, denominator] = slope(term.extent);
      total += numerator * (scale / denominator) * term.bytes;
    }
    return (total + scale - 1n) / scale;
  }

  // What a token costs at this length: what is not full yet grows, too.
  function nextTokenBytes(terms, tokens) {
    const full = { at_most: 0n, last_block: 0n, tail: 1n };
    let total = bytesPerToken(terms);
    for (const { extent, bytes } of terms)
      if (extent.kind in full && tokens <= extent.size - full[extent.kind]) total += bytes;
    return total;
  }

  // A model's terms in one cache format on one of several ranks; a string says why there are none.
  function terms(model, kvDtype, rank) {
    const row = model.cache[kvDtype][rank];
    if (row < 0) return model.problems[-row - 1];
    return model.terms[row] ??=
      model.rows[row].map((bytes, index) => ({ extent: model.extents[index], bytes }));
  }

  // The page's data holds integers as strings; here they become BigInts, once.
  function read(data) {
    for (const model of data.models) {
      for (const extent of model.extents)
        for (const field of ["size", "stride", "numerator", "denominator"])
          if (field in extent) extent[field] = big(extent[field]);
      model.rows = model.rows.map((row) => row.map(big));
      model.terms = [];
      for (const weights of Object.values(model.weights)) {
        if (weights.problem) continue;
        weights.parts = weights.parts.map(big);
        weights.bytes = weights.parts.reduce((sum, bytes) => sum + bytes, 0n);
        weights.perDevice = weights.perDevice.map((bytes) => (bytes === null ? null : big(bytes)));
      }
      if (model.encoderTokens !== null) model.encoderTokens = big(model.encoderTokens);
    }
    for (const device of data.devices) device.bytes = big(device.bytes);
    data.ranks = data.ranks.map(Number);
    return data;
  }

  // 8192, 8k (= 8192), 128k, 1m; null for anything else, as kvcalc's command line reads it.
  function parseTokens(text) {
    const match = /^(0|[1-9][0-9]*)([kKmM]?)$/.exec(text.trim().replaceAll("_", ""));
    if (!match) return null;
    const unit = { "": 1n, k: 1024n, m: 1048576n }[match[2].toLowerCase()];
    const tokens = big(match[1]) * unit;
    return tokens <= 1n << 40n ? tokens : null;
  }

  // An encoder's tokens: its own, those that were asked for, or the context's; none of an encoder
  // that the spec leaves out (of images). null: none were asked for.
  function encoderTokens(model, context, asked) {
    if (!model.encoder) return 0n;
    if (model.encoderTokens !== null) return model.encoderTokens;
    return asked !== null ? asked : model.encoderFollows ? context : 0n;
  }

  // One model's answer for a workload: exact bytes, or the reason why there is none.
  function answer(model, workload) {
    const { context, encoder, batch, kvDtype, dtype, rank } = workload;
    const length = encoderTokens(model, context, encoder);
    const chosen = dtype === "published" ? model.published : dtype;
    const weights = model.weights[chosen];
    const whole = terms(model, kvDtype, 0);
    const own = terms(model, kvDtype, rank);
    const result = { name: model.name, encoderTokens: length, dtype: chosen, problem: null };
    for (const trouble of [weights.problem, whole, own])
      if (typeof trouble === "string") return { ...result, problem: trouble };
    if (weights.perDevice[rank] === null)
      return { ...result, problem: "its weights cannot be divided among these ranks" };
    const cache = batch * most(whole, context, length);
    const cachePerDevice = batch * most(own, context, length);
    return {
      ...result,
      terms: whole,
      parts: weights.parts,
      weights: weights.bytes,
      cache,
      nextToken: nextTokenBytes(whole, workload.context),
      total: weights.bytes + cache,
      perDevice: weights.perDevice[rank] + cachePerDevice,
      weightsPerDevice: weights.perDevice[rank],
      cachePerDevice,
    };
  }

  const UNITS = [["TiB", 40n], ["GiB", 30n], ["MiB", 20n], ["KiB", 10n]];

  function formatBytes(bytes) {
    for (const [name, bits] of UNITS) {
      const unit = 1n << bits;
      if (bytes >= unit) {
        const hundredths = (bytes * 100n + unit / 2n) / unit;
        return `${hundredths / 100n}.${String(hundredths % 100n).padStart(2, "0")} ${name}`;
      }
    }
    return `${bytes} B`;
  }

  function formatTokens(tokens) {
    for (const [name, unit] of [["m", 1048576n], ["k", 1024n]])
      if (tokens && tokens % unit === 0n) return `${tokens / unit}${name}`;
    return tokens >= 10000n ? digits(tokens) : String(tokens);
  }

  const digits = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

  return { answer, at, bytesPerToken, digits, encoderTokens, formatBytes, formatTokens, most, nextTokenBytes, parseTokens, read, terms };
})();
if (typeof module !== "undefined") module.exports = kvcalc;
