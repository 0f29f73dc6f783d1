/**
 * `vitrine kv MODEL diff`: how far one cache is from another, by layer and head.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { diffKv, type KvDifference } from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { heatMap, type HeatPanel } from "./heat_map.ts";
import type { KvAction } from "./kv.ts";
import { cacheOf } from "./kv_compare.ts";
import {
  chosenPart,
  isSaved,
  lookAt,
  lookInto,
  openSaved,
  partOptions,
  readInto,
  textOf,
  withTokens,
} from "./kv_source.ts";
import { note, print, printJson, table } from "./output.ts";

/** The action. */
export const diffAction: KvAction = {
  options: ["formats", "reference", "ctx", ...partOptions],
  prepare: (ref, given) => {
    const other = given.positionals[2];
    if (other !== undefined || isSaved(ref)) return ofFiles(ref, other, given);
    if (given.has("sequence")) {
      throw new UsageError("Expected saved sessions with --sequence, but found a model");
    }
    const text = textOf(given, ref);
    const formats = given.text("formats");
    if (formats === undefined) {
      throw new UsageError("Expected --formats with the cache to look at, but found none");
    }
    const [expected, found] = [
      cacheOf(given.text("reference") ?? "f32", "reference"),
      cacheOf(formats, "formats"),
    ];
    return (signal) =>
      withTokens(ref, text, given, signal, async (model, tokens) => {
        const context = given.integer("ctx", 1, 1 << 20) ?? tokens.length;
        using a = model.session({ context, kv: expected.policy });
        using b = model.session({ context, kv: found.policy });
        await readInto([a, b], tokens, signal);
        const { sides, ...part } = chosenPart(lookAt(b, model), given);
        const which = sides.length === 1 ? sides[0] : undefined;
        show(diffKv(a, b, { ...part, which }), [expected.name, found.name], given);
      });
  },
};

function ofFiles(ref: string, other: string | undefined, given: Arguments) {
  if (other === undefined) {
    throw new UsageError(`Expected a second saved session, as in kv ${ref} diff OTHER.session`);
  }
  for (const path of [ref, other]) {
    if (!isSaved(path)) throw new UsageError(`Expected a saved session, but found ${path}`);
  }
  for (const name of ["file", "formats", "reference", "ctx"]) {
    if (given.has(name)) {
      throw new UsageError(`Expected saved sessions alone, but found --${name}`);
    }
  }
  return () => {
    using a = openSaved(ref);
    using b = openSaved(other);
    const sequence = given.integer("sequence", 0) ?? 0;
    const [first, second] = [lookInto(a, sequence), lookInto(b, sequence)];
    const shorter = first.positions < second.positions ? first : second;
    const { sides, ...part } = chosenPart(shorter, given);
    const which = sides.length === 1 ? sides[0] : undefined;
    show(
      diffKv(a, b, { ...part, which, sequences: [sequence, sequence] }),
      [ref, other],
      given,
    );
    return Promise.resolve();
  };
}

function show(
  diff: KvDifference,
  [expected, found]: readonly [string, string],
  given: Arguments,
): void {
  const svg = given.text("svg");
  if (svg !== undefined) writeFileSync(svg, chartOf(diff, expected, found));
  const rows = [...diff.layer.keys()].map((row) => ({
    layer: diff.layer[row] as number,
    head: diff.head[row] as number,
    which: diff.which[row] === 0 ? "key" : "value",
    max_error: diff.maxError[row] as number,
    mean_square: diff.meanSquare[row] as number,
    relative: diff.relative[row] as number,
    cosine: diff.cosine[row] as number,
    worst: diff.worst[row] as number,
    equal: diff.equal[row] === 1,
  }));
  const { sameTokens } = diff;
  const [from, to] = [diff.positions[0] as number, (diff.positions.at(-1) as number) + 1];
  if (given.has("json")) {
    printJson({ expected, found, from, to, same_tokens: sameTokens, rows });
    return;
  }
  const small = (value: number) => value === 0 ? "0" : value.toExponential(2);
  print(table([
    ["layer", "head", "", "max error", "mean square", "relative", "1 - cosine", "worst at", ""],
    ...rows.map((row) => [
      ...[row.layer, row.head].map(String),
      row.which,
      ...[row.max_error, row.mean_square, row.relative].map(small),
      Number.isNaN(row.cosine) ? "–" : small(Math.max(0, 1 - row.cosine)),
      row.max_error === 0 ? "–" : String(row.worst),
      row.equal ? "same bits" : "",
    ]),
  ]));
  const equal = rows.filter((row) => row.equal).length;
  note(
    `${found} beside ${expected}; positions ${from} to ${
      to - 1
    }, ${sameTokens} tokens in common; ` +
      `the same bits in ${equal} of ${rows.length} rows\n`,
  );
}

/** Layers by heads. */
function chartOf(diff: KvDifference, expected: string, found: string): string {
  const [layers, heads] = [diff.layer, diff.head].map((column) =>
    [...new Set(column)].sort((a, b) => a - b)
  ) as [number[], number[]];
  const panels = ([0, 1] as const).filter((side) => diff.which.includes(side)).map(
    (side): HeatPanel => {
      const values = new Float64Array(layers.length * heads.length);
      for (const [row, layer] of diff.layer.entries()) {
        if (diff.which[row] !== side) continue;
        const at = layers.indexOf(layer) * heads.length + heads.indexOf(diff.head[row] as number);
        values[at] = diff.relative[row] as number;
      }
      return {
        name: side === 0 ? "keys" : "values",
        rows: layers.length,
        columns: heads.length,
        values,
        rowNumbers: layers,
        columnNumbers: heads,
      };
    },
  );
  return heatMap({
    title: `${found} beside ${expected}`,
    x: "KV head",
    y: "layer",
    legend: "relative error; white: equal",
    scale: "logarithmic",
    panels,
  });
}
