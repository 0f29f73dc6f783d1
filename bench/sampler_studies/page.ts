/**
 * Studies as tables for a terminal, and as a page with charts.
 *
 * @module
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { intervals, lines } from "../../src/internal/chart.ts";
import { table } from "../../cli/output.ts";
import { tableLines } from "../markdown.ts";
import type { Study, StudyResult } from "./study.ts";

/** A study that was run. */
export interface Finished extends StudyResult, Pick<Study, "id" | "title" | "about"> {
  readonly seconds: number;
}

/** All that was run, with one model. */
export interface SamplerStudies {
  readonly model: string;
  readonly studies: readonly Finished[];
}

const verdict = ({ holds }: { holds: boolean }) => holds ? "as published" : "differs";

/** Everything as columns of text. */
export function tablesOf({ studies }: SamplerStudies): string {
  return studies.map(({ title, tables, verdicts, seconds }) =>
    [
      `\n${title} (${seconds.toFixed(0)} s)\n`,
      ...tables.map((one) => `\n${one.title}\n${table([one.head, ...one.rows])}`),
      "\n",
      ...verdicts.map((one) => `${verdict(one)}: ${one.text}\n`),
    ].join("")
  ).join("");
}

/** Writes the page, and its charts into a folder of its name; returns their paths. */
export function writePage(found: SamplerStudies, page: string): string[] {
  const folder = join(dirname(page), basename(page, ".md"));
  mkdirSync(folder, { recursive: true });
  const files: string[] = [];
  const body = found.studies.flatMap((study) => {
    const pictures = study.charts.flatMap((chart) => {
      const drawn = chart.lines ?? chart.intervals;
      if (drawn === undefined) return [];
      const file = join(folder, `${study.id}_${chart.name}.svg`);
      writeFileSync(
        file,
        chart.lines === undefined ? intervals(chart.intervals!) : lines(chart.lines),
      );
      files.push(file);
      return [`![${drawn.title}](${basename(folder)}/${basename(file)})`, ""];
    });
    return [
      `## ${study.title}`,
      "",
      study.about,
      "",
      ...study.tables.flatMap(({ title, head, rows }) => [
        `**${title}**`,
        "",
        ...tableLines(head, rows),
        "",
      ]),
      ...pictures,
      ...study.verdicts.map((one) => `- ${verdict(one)}: ${one.text}`),
      "",
      `It took ${study.seconds.toFixed(0)} s.`,
      "",
    ];
  });
  writeFileSync(page, [...headOf(found, page), ...body].join("\n"));
  return [page, ...files];
}

function headOf({ model }: SamplerStudies, page: string): string[] {
  const name = basename(page, ".md");
  return [
    "# Samplers under study",
    "",
    `Published findings about samplers, in small, on ${model}. Each verdict says whether a small model in four`,
    "bits shows the same; where it doesn't, that says as much about the size as about the finding. All texts",
    "and figures come again with",
    "",
    "```sh",
    `bun run bench/sampler_studies.ts --page docs/${name}.md --json bench/results/${name}.json`,
    "```",
    "",
    "and a single study with `--only ID`, which leaves the others in both files as they are.",
    "",
  ];
}
