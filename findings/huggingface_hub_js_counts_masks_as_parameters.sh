#!/usr/bin/env bash
# @huggingface/hub 2.17.5 (npm): the parameters of a safetensors file are all its numbers, causal masks included.
#
# One would guess that parseSafetensorsMetadata, which reads packed formats by their quantization_config, counts what
# a model learns. Buffers that were saved count as much: the masks of 2,048 x 2,048 booleans in GPT-Neo's files, the
# 512 position ids of BERT's. In GPT-Neo 1.3B they are 50,331,648 of the 1,365,907,456 that its page states.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund "@huggingface/hub@2.17.5" > /dev/null
cat > count.mjs <<'JAVASCRIPT'
import { parseSafetensorsMetadata } from "@huggingface/hub";
import { readFileSync } from "node:fs";

// The header of a file of one layer; none of its data is asked for.
const tensors = {
  "transformer.wte.weight": ["F32", [1000, 64], 4],
  "transformer.h.0.attn.attention.bias": ["BOOL", [1, 1, 2048, 2048], 1],
  "embeddings.position_ids": ["I64", [1, 512], 8],
};
const header = {};
let end = 0;
for (const [name, [dtype, shape, bytes]] of Object.entries(tensors)) {
  const size = shape.reduce((all, one) => all * one, bytes);
  header[name] = { dtype, shape, data_offsets: [end, (end += size)] };
}
const text = new TextEncoder().encode(JSON.stringify(header));
const file = new Uint8Array(8 + text.length);
new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
file.set(text, 8);
const fetch = async (url, asked = {}) => {
  if (!String(url.url ?? url).includes("model.safetensors")) {
    return new Response(JSON.stringify({ model_type: "gpt_neo" }), { status: 200 });
  }
  const range = /bytes=(\d+)-(\d+)/.exec(new Headers(asked.headers).get("range") ?? "");
  const [from, to] = range ? [+range[1], Math.min(+range[2] + 1, file.length)] : [0, file.length];
  const headers = { "content-range": `bytes ${from}-${to - 1}/${file.length + end}`, etag: '"e"' };
  return new Response(file.slice(from, to), { status: range ? 206 : 200, headers });
};
const asked = { repo: "some/model", path: "model.safetensors", computeParametersCount: true, fetch };
const { parameterCount } = await parseSafetensorsMetadata(asked);
const found = Object.fromEntries(Object.entries(parameterCount).map(([dtype, count]) => [dtype, Number(count)]));
const { version } = JSON.parse(readFileSync("node_modules/@huggingface/hub/package.json", "utf8"));
console.log("@huggingface/hub", version, "parameters by dtype:", found);
const expected = { F32: 64000, BOOL: 2048 * 2048, I64: 512 };
if (JSON.stringify(found) !== JSON.stringify(expected)) process.exit(1);
JAVASCRIPT
node count.mjs
