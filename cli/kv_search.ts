/**
 * `vitrine kv MODEL search`: which layers can do with a narrower cache.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { type KvFormat, kvFormats, type KvPoint, type Model, searchKv } from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { scatter } from "../src/internal/chart.ts";
import type { KvAction } from "./kv.ts";
import { cacheOf } from "./kv_compare.ts";
import { textOf, withTokens } from "./kv_source.ts";
import {
  bytesText,
  figure,
  note,
  print,
  printJson,
  ProgressBar,
  snakeCase,
  table,
} from "./output.ts";

/** What to look for, and where to put it. */
interface SearchRequest {
  readonly budget: { readonly kl: number } | { readonly bytes: number };
  readonly formats: readonly KvFormat[] | undefined;
  readonly out: string | undefined;
  readonly svg: string | undefined;
}

/** The action. */
export const searchAction: KvAction = {
  options: ["formats", "reference", "ctx", "kl", "bytes", "out"],
  prepare: (ref, given) => {
    const request = searchRequest(given);
    const text = textOf(given);
    return (signal) =>
      withTokens(
        ref,
        text,
        given,
        signal,
        (model, tokens) => search(model, tokens, request, given, signal),
      );
  },
};

/** Checks the options before a model is loaded. */
function searchRequest(given: Arguments): SearchRequest {
  const kl = given.number("kl");
  const bytes = given.number("bytes");
  if ((kl === undefined) === (bytes === undefined)) {
    throw new UsageError(
      `Expected --kl or --bytes, but found ${kl === undefined ? "neither" : "both"}`,
    );
  }
  const formats = given.text("formats")?.split(",").map((word) => {
    const format = kvFormats.find((name) => name === word);
    if (format !== undefined) return format;
    throw new UsageError(
      `Expected formats of ${kvFormats.join(", ")} after --formats, but found "${word}"`,
    );
  });
  return {
    budget: kl === undefined ? { bytes: bytes as number } : { kl },
    formats,
    out: given.text("out"),
    svg: given.text("svg"),
  };
}

/** Searches, prints the frontier and writes the policy. */
async function search(
  model: Model,
  tokens: Uint32Array,
  request: SearchRequest,
  given: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const bar = new ProgressBar((value) => `${value} caches`);
  let found;
  try {
    found = await searchKv(model, tokens, {
      budget: request.budget,
      formats: request.formats,
      reference: cacheOf(given.text("reference") ?? "f32", "reference").policy,
      context: given.integer("ctx", 2, 1 << 20),
      signal,
      onProgress: ({ done, total }) => bar.show("measuring", done, total),
    });
  } finally {
    bar.end();
  }
  const { best, frontier, points, sensitivity } = found;
  if (request.out !== undefined) {
    writeFileSync(request.out, `${JSON.stringify(best.policy, null, 2)}\n`);
  }
  if (request.svg !== undefined) {
    const at = ({ bitsPerValue: x, kl: y }: KvPoint) => ({ x, y });
    const set = (name: string, own: readonly KvPoint[]) => ({ name, points: own.map(at) });
    writeFileSync(
      request.svg,
      scatter({
        title: `KV cache of ${model.info.architecture}: KL divergence by bits`,
        x: "bits per value, scales included",
        y: "mean KL divergence, nats a token",
        sets: [
          set("measured", points),
          set("frontier", frontier),
          set("within the budget", [best]),
        ],
      }),
    );
  }
  if (given.has("json")) {
    const rows = (own: readonly KvPoint[]) => own.map(snakeCase);
    printJson({
      best: snakeCase(best),
      frontier: rows(frontier),
      points: rows(points),
      sensitivity: sensitivity.map(snakeCase),
    });
    return;
  }
  print(table([
    ["bits", "bytes", "mean KL", "same top", ""],
    ...frontier.map((point) => [
      figure(point.bitsPerValue),
      bytesText(point.bytes),
      point.kl.toExponential(2),
      `${(100 * point.sameTop).toFixed(2)} %`,
      point.bytes === best.bytes && point.kl === best.kl ? "<- within the budget" : "",
    ]),
  ]));
  if (request.out === undefined) print(`${JSON.stringify(best.policy)}\n`);
  else note(`wrote ${request.out}\n`);
}
