/**
 * How long it takes to read one layer's keys out of the KV cache from TypeScript, decoded, in each format.
 *
 * usage: bun run bench/kv_read.ts [--tokens 4096] [--heads 3] [--length 64] [--rounds 31] [--json]
 *        deno run -A bench/kv_read.ts …
 *
 * `--heads` KV heads of `--length` values: by default those of SmolLM2 135M. The model is one layer with
 * random weights. Keys in groups are read with each of their options too.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { print, printJson, ProgressBar, table } from "../cli/output.ts";
import { type KvFormat, kvFormats, kvGroupFormats, type KvStored, loadModel } from "../mod.ts";
import { groupUsual, kvLayouts } from "../src/internal/kv_layout.ts";
import { generateModel } from "./generate.ts";
import { figure } from "./report.ts";
import { type Spread, spread } from "./statistics.ts";

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    tokens: { type: "string", default: "4096" },
    heads: { type: "string", default: "3" },
    length: { type: "string", default: "64" },
    rounds: { type: "string", default: "31" },
    json: { type: "boolean", default: false },
  },
});
const numbers = [values.tokens, values.heads, values.length, values.rounds].map(Number);
if (!numbers.every((n) => Number.isInteger(n) && n > 0)) {
  throw new RangeError(`Expected whole numbers of at least 1, but found ${numbers.join(", ")}`);
}
const [tokens, heads, length, rounds] = numbers as [number, number, number, number];
if (heads * length % 32 !== 0) {
  throw new RangeError(`Expected rows of a multiple of 32 values, but found ${heads * length}`);
}

type Options = Omit<KvStored, "format">;
const optionsOf = (format: KvFormat): (readonly [string, Options])[] => {
  const other = groupUsual(format, length) === 64 ? 32 : 64;
  return [
    ["", {}],
    [", symmetric", { symmetric: true }],
    ...(length % other === 0 ? [[`, groups of ${other}`, { group: other }] as const] : []),
    [", 1 % outliers", { outliers: 0.01 }],
  ];
};
const folder = mkdtempSync(join(tmpdir(), "vitrine-kv-read-"));
const bar = new ProgressBar((value) => `${value} formats`);
const rows: { format: string; decoded: Spread; unrotated: Spread }[] = [];
try {
  const path = join(folder, "layer.gguf");
  const shape = { embedding: heads * length, heads, kvHeads: heads, layers: 1 };
  const rest = { feedForward: 256, vocabulary: 1000, context: tokens };
  generateModel(path, "layer", { ...shape, ...rest }, "Q8_0");
  using model = await loadModel(path);
  const prompt = Array.from({ length: tokens }, (_, i) => (1000 + 37 * i) % 1000);
  const plain = kvFormats.filter((format) => length % kvLayouts[format].unit === 0);
  const cases: (readonly [string, KvStored])[] = [
    ...plain.map((format) => [format, { format }] as const),
    ...kvGroupFormats.flatMap((format) =>
      length % kvLayouts[format].unit === 0
        ? optionsOf(format)
          .map(([name, options]) => [`${format}${name}`, { format, ...options }] as const)
        : []
    ),
  ];
  for (const [done, [format, key]] of cases.entries()) {
    bar.show("reading", done, cases.length);
    // Groups are rounded when they are whole: such keys need a window of exact ones.
    const grouped = kvGroupFormats.some((name) => name === key.format);
    const recent = key.group ?? groupUsual(key.format, length);
    const kv = { key, value: "f16", ...(grouped && { recent }) } as const;
    using session = model.session({ context: tokens, kv });
    await session.prefill(prompt);
    const time = (view: "decoded" | "unrotated") => {
      const times: number[] = [];
      for (let round = 0; round <= rounds; round++) {
        const begun = performance.now();
        session.kv.read({ which: "key", layer: 0, view });
        if (round > 0) times.push(performance.now() - begun);
      }
      return spread(times);
    };
    rows.push({ format, decoded: time("decoded"), unrotated: time("unrotated") });
  }
} finally {
  bar.end();
  rmSync(folder, { recursive: true, force: true });
}
if (values.json) printJson({ tokens, heads, length, rounds, rows });
else {
  const cell = ({ median, min, max }: Spread) =>
    `${figure(median)} (${figure(min)}–${figure(max)})`;
  print(table([
    ["format", "decoded, ms", "unrotated, ms"],
    ...rows.map(({ format, decoded, unrotated }) => [format, cell(decoded), cell(unrotated)]),
  ]));
  print(`keys of one layer, ${heads} heads of ${length} values, ${tokens} tokens\n`);
}
