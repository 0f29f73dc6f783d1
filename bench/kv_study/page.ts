/**
 * The study as tables for a terminal, and as a page with charts.
 *
 * @module
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { scatter } from "../../src/internal/chart.ts";
import { figure, table } from "../../cli/output.ts";
import type { Found } from "./experiments.ts";
import type { ModelStudy, StudiedExperiment, Study, Verdict } from "./result.ts";
import type { StreamingRow } from "./streaming.ts";

/** A chart beside the page. */
export interface Chart {
  readonly model: string;
  readonly title: string;
  readonly file: string;
}

const head = ["cache", "bits", "mean KL", "99 %", "same top", "perplexity"];

const streamingTitle = "StreamingLLM: windows with and without sink tokens";
const streamingHead = ["tokens in the cache", "perplexity", "last quarter"];

function streamingCells({ name, perplexity, late }: StreamingRow): string[] {
  return [name, perplexity.toFixed(2), late.toFixed(2)];
}

function cells({ name, bits, kl, sameTop, perplexity }: Found): string[] {
  return [
    name,
    figure(bits),
    kl.mean.toExponential(2),
    kl.p99.toExponential(2),
    `${(100 * sameTop).toFixed(1)} %`,
    perplexity.toFixed(2),
  ];
}

/** Everything as columns of text. */
export function tablesOf(study: Study): string {
  return study.models.map((model) =>
    [
      `\n${titleOf(model)}\n`,
      ...model.experiments.map(({ title, rows, verdicts }) =>
        [
          `\n${title}\n`,
          table([head, ...rows.map(cells)]),
          ...verdicts.map(said),
        ].join("")
      ),
      ...(model.streaming === undefined ? [] : [
        `\n${streamingTitle}\n`,
        table([streamingHead, ...model.streaming.rows.map(streamingCells)]),
        ...model.streaming.verdicts.map(said),
      ]),
    ].join("")
  ).join("");
}

function said({ text, holds }: Verdict): string {
  return `${holds ? "as published" : "differs"}: ${text}\n`;
}

function titleOf({ name, shape, tokens, context, perplexity }: ModelStudy): string {
  return `${name}: ${shape.layers} layers, ${shape.heads} KV heads of ${shape.length}; ${tokens} tokens in ` +
    `pieces of ${context}; perplexity ${perplexity.toFixed(2)} with keys and values in f32`;
}

/** Writes the charts into a folder of the page's name. */
export function writeCharts(study: Study, page: string): Chart[] {
  const folder = join(dirname(page), basename(page, ".md"));
  mkdirSync(folder, { recursive: true });
  const charts: Chart[] = [];
  const write = (model: ModelStudy, id: string, title: string, svg: string) => {
    const file = `${model.name}_${id}.svg`;
    writeFileSync(join(folder, file), svg);
    charts.push({ model: model.name, title, file: `${basename(folder)}/${file}` });
  };
  for (const model of study.models) {
    if (model.experiments.length > 0) {
      const sets = model.experiments.map(({ id, rows }) => ({
        name: id,
        points: rows.map((row) => ({ x: row.bits, y: row.kl.mean })),
      }));
      const title = `${model.name}: what bits buy`;
      write(
        model,
        "bits",
        title,
        scatter({ title, x: "bits per value, scales included", y: "mean KL, nats", sets }),
      );
    }
    if (model.layers.length > 0) {
      const title = `${model.name}: one layer alone at two bits`;
      const sets = (["key", "value"] as const).map((which) => ({
        name: which === "key" ? "keys" : "values",
        points: model.layers.filter((cost) => cost.which === which)
          .map((cost) => ({ x: cost.layer, y: cost.kl })),
      }));
      write(model, "layers", title, scatter({ title, x: "layer", y: "mean KL, nats", sets }));
    }
  }
  return charts;
}

/** The page in Markdown. */
export function pageOf(study: Study, charts: readonly Chart[]): string {
  const verdicts = study.models.flatMap(({ experiments, streaming }) => [
    ...experiments.flatMap((experiment) => experiment.verdicts),
    ...streaming?.verdicts ?? [],
  ]);
  const kept = verdicts.filter(({ holds }) => holds).length;
  const titles = study.models[0]?.experiments ?? [];
  return [
    "# What a narrower KV cache costs",
    "",
    "Published findings about the precision of KV caches, in small: one text, read with all caches",
    "side by side by `compareKv`, against keys and values in `f32`. The weights' arithmetic is in",
    "floats, so that what differs is the cache alone. First come the Kullback-Leibler divergence of the",
    "next-token distributions in nats a token (mean and 99th percentile) and the share of tokens at",
    "which both find the same one most probable; perplexity comes last, because errors cancel in it.",
    "Bits per value are those of keys and values together, scales, minima and outliers included. In",
    "each table one thing changes.",
    "",
    "It is repeated by `bun run bench/kv_study.ts --page docs/kv_study.md --json",
    "bench/results/kv_study.json`, or with `deno run -A`, in an hour, and gives the same figures on the",
    "same level of processor. The text is `bench/texts/lighthouse.txt`, its first quarter apart.",
    "",
    ...study.models.map((model) => `- ${titleOf(model)}`),
    "",
    `Of ${verdicts.length} published relations ${kept} hold here. Both models are small: what is a ` +
    "nuisance to a model of 7 or 13 billion parameters can ruin one of a hundredth of that.",
    "",
    ...charts.flatMap(({ title, file }) => [`![${title}](${file})`, ""]),
    ...titles.flatMap(({ id }) => sectionOf(study, id)),
    ...streamingOf(study),
    ...layersOf(study),
  ].join("\n");
}

function sectionOf(study: Study, id: string): string[] {
  const both = study.models.flatMap((model) => {
    const experiment = model.experiments.find((one) => one.id === id);
    return experiment === undefined ? [] : [{ model, experiment }];
  });
  const { title, about } = both[0]?.experiment as StudiedExperiment;
  return [
    `## ${title}`,
    "",
    about,
    "",
    ...both.flatMap(({ model, experiment }) => [
      `| ${model.name} | ${head.slice(1).join(" | ")} |`,
      `| --- |${" ---: |".repeat(head.length - 1)}`,
      ...experiment.rows.map((row) => `| ${cells(row).join(" | ")} |`),
      "",
    ]),
    ...verdictsOf(
      both.map(({ model, experiment }) => ({ name: model.name, verdicts: experiment.verdicts })),
    ),
  ];
}

/** A row for each relation, a column for each model. */
function verdictsOf(
  models: readonly { readonly name: string; readonly verdicts: readonly Verdict[] }[],
): string[] {
  const texts = new Set(models.flatMap(({ verdicts }) => verdicts.map(({ text }) => text)));
  return [
    `| published | ${models.map(({ name }) => name).join(" | ")} |`,
    `| --- |${" --- |".repeat(models.length)}`,
    ...[...texts].map((text) => {
      const found = models.map(({ verdicts }) => {
        const verdict = verdicts.find((one) => one.text === text);
        return verdict === undefined ? "–" : verdict.holds ? "holds" : "differs";
      });
      return `| ${text} | ${found.join(" | ")} |`;
    }),
    "",
  ];
}

/** Perplexity through windows. */
function streamingOf(study: Study): string[] {
  const models = study.models.flatMap(({ name, streaming }) =>
    streaming === undefined ? [] : [{ name, ...streaming }]
  );
  if (models.length === 0) return [];
  return [
    `## ${streamingTitle}`,
    "",
    "Here tokens leave the cache. StreamingLLM (Xiao et al. 2024, arXiv 2309.17453) reads 65,000 tokens of PG19",
    "with Llama-2-13B: perplexity is 5158 with the last 1024 tokens, 5.40 with the first four and the last 1020; with",
    "Llama-2-7B and 0, 1, 2, 4 and 8 first tokens it is 3360, 11.88, 10.51, 9.59 and 9.54. Here the text is",
    "read whole, token by token, and a cache of 256 tokens evicts one for each; perplexity is of the tokens behind",
    "those. Positions are those in the cache, as there; the last row has those of the text. Longer texts are read by",
    "`bun run bench/kv_study/streaming.ts --file TEXT`.",
    "",
    ...models.flatMap(({ name, tokens, rows }) => [
      `| ${name}, ${tokens} tokens | ${streamingHead.slice(1).join(" | ")} |`,
      "| --- | ---: | ---: |",
      ...rows.map((row) => `| ${streamingCells(row).join(" | ")} |`),
      "",
    ]),
    ...verdictsOf(models),
  ];
}

/** The layers that matter most and least. */
function layersOf(study: Study): string[] {
  const studied = study.models.filter(({ layers }) => layers.length > 0);
  if (studied.length === 0) return [];
  return [
    "## Layers differ",
    "",
    "One layer's keys (along the channel) or values (along the token) alone at two bits in groups of",
    "32, everything else in f32: mean KL divergence.",
    "",
    "| model | of | most | median | least | most over median |",
    "| --- | --- | --- | ---: | --- | ---: |",
    ...studied.flatMap(({ name, layers }) =>
      (["key", "value"] as const).map((which) => {
        const own = layers.filter((cost) => cost.which === which).sort((a, b) => b.kl - a.kl);
        const at = (i: number) => own[i] as typeof own[number];
        const [most, median, least] = [at(0), at(own.length >> 1), at(own.length - 1)];
        const place = (cost: typeof most) => `${cost.kl.toExponential(2)} in layer ${cost.layer}`;
        return `| ${name} | ${which}s | ${place(most)} | ${median.kl.toExponential(2)} | ` +
          `${place(least)} | ${(most.kl / median.kl).toFixed(1)} |`;
      })
    ),
    "",
  ];
}
