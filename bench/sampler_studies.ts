/**
 * Studies of samplers: published findings in small.
 *
 * usage: bun run bench/sampler_studies.ts [MODEL] [--only ID,…] [--json FILE] [--page PAGE.md] [--small]
 *        deno run -A bench/sampler_studies.ts …
 *
 * Without a model it takes smollm2, and prints the tables. `--json` keeps what was found: studies that are
 * there already and not in `--only` stay. `--page` writes all of it with charts. `--small` runs each study
 * with as little as shows that it works.
 *
 * @module
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { interruptSignal } from "../cli/model.ts";
import { note, print, ProgressBar } from "../cli/output.ts";
import { loadModel } from "../mod.ts";
import { keptSet } from "./sampler_studies/kept_set.ts";
import { minP } from "./sampler_studies/min_p.ts";
import { mirostat } from "./sampler_studies/mirostat.ts";
import { order } from "./sampler_studies/order.ts";
import { type Finished, type SamplerStudies, tablesOf, writePage } from "./sampler_studies/page.ts";
import { full, type Scale, type Study } from "./sampler_studies/study.ts";

const all: readonly Study[] = [order, minP, keptSet, mirostat];
const small: Scale = {
  ...{ prompts: 2, tapeTokens: 4, trials: 2, tokens: 8, texts: 2, longTokens: 24, window: 8 },
};

const { values: options, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    only: { type: "string" },
    json: { type: "string" },
    page: { type: "string" },
    small: { type: "boolean", default: false },
  },
});
const ids = options.only?.split(",") ?? all.map(({ id }) => id);
const unknown = ids.find((id) => all.every((study) => study.id !== id));
if (unknown !== undefined) {
  throw new RangeError(
    `Expected studies of ${all.map(({ id }) => id).join(", ")}, but found "${unknown}"`,
  );
}
const text = (name: string) =>
  readFileSync(fileURLToPath(new URL(`./texts/${name}.txt`, import.meta.url)), "utf8");
const name = positionals[0] ?? "smollm2";
const signal = interruptSignal();
using model = await loadModel(name);

const found = new Map<string, Finished>();
const { json, page } = options;
if (json !== undefined && existsSync(json)) {
  const before = JSON.parse(readFileSync(json, "utf8")) as SamplerStudies;
  if (before.model !== name) {
    throw new RangeError(
      `Expected studies of ${name} in ${json}, but found some of ${before.model}`,
    );
  }
  for (const study of before.studies) found.set(study.id, study);
}
for (const study of all.filter(({ id }) => ids.includes(id))) {
  const missing = study.missing?.();
  if (missing !== undefined) {
    note(`left out: ${study.id}, because ${missing}\n`);
    continue;
  }
  const bar = new ProgressBar((value) => `${(100 * value).toFixed(0)} %`);
  const begun = performance.now();
  try {
    const result = await study.run({
      ...{ model, signal, scale: options.small ? small : full },
      openings: text("openings").split("\n").filter((line) => line !== ""),
      text: text("lighthouse"),
      progress: (done, total) => bar.show(study.id, done / total, 1),
    });
    const { id, title, about } = study;
    found.set(id, { id, title, about, ...result, seconds: (performance.now() - begun) / 1000 });
  } finally {
    bar.end();
  }
  // After each study, so that nothing is lost when a long run is ended.
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(studies(), null, 1)}\n`);
}
print(tablesOf(studies()));
if (json !== undefined) note(`wrote ${json}\n`);
if (page !== undefined) note(`wrote ${writePage(studies(), page).join(", ")}\n`);

/** What was found, in the order of the studies. */
function studies(): SamplerStudies {
  return {
    model: name,
    studies: all.map(({ id }) => found.get(id)).filter((study) => study !== undefined),
  };
}
