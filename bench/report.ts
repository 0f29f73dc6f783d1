/**
 * A result for people: the rows with their limit, what we reach, what share that is, what the peer
 * reaches and the ratio, as columns of text and as a page.
 *
 * @module
 */

import type { Machine } from "./machine.ts";
import { tableLines } from "./markdown.ts";
import { besidePublished } from "./published.ts";
import {
  holds,
  lessIsBetter,
  type PeerFigure,
  ratioOf,
  type Result,
  type Row,
  shareOf,
} from "./result.ts";
import type { Spread } from "./statistics.ts";

/** A number with about three digits. */
export function figure(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

function spreadText(spread: Spread): string {
  if (spread.rounds === 1) return figure(spread.median);
  return `${figure(spread.median)} (${figure(spread.min)}–${figure(spread.max)})`;
}

function percent(share: number | undefined): string {
  return share === undefined ? "–" : `${(share * 100).toFixed(0)} %`;
}

function times(ratio: number | undefined): string {
  return ratio === undefined ? "–" : `${ratio.toFixed(2)}×`;
}

/** What a row is asked to reach, in words. */
export function targetText(row: Row): string {
  const { share, ratio, most, least } = row.target ?? {};
  const sign = lessIsBetter(row) ? "less than" : "at least";
  return [
    ...(share === undefined ? [] : [`≥ ${percent(share)}`]),
    ...(ratio === undefined
      ? []
      : [ratio === 1 ? `${sign} the peer` : `≥ ${ratio.toFixed(2).replace(/\.?0+$/, "")}×`]),
    ...(most === undefined ? [] : [`≤ ${figure(most)} ${row.unit}`]),
    ...(least === undefined ? [] : [`≥ ${figure(least)} ${row.unit}`]),
  ].join(", ") || "–";
}

function verdict(row: Row): string {
  const found = holds(row);
  return found === undefined ? "–" : found ? "yes" : "no";
}

/** The model of a row, its format and its variant. */
export function placeOf(row: Row): string {
  return [row.model, row.format, row.variant].filter(Boolean).join(" ") || "–";
}

/** The columns of the table. */
export const columns = [
  "row",
  "of",
  "unit",
  "limit",
  "Vitrine",
  "share",
  "peer",
  "its share",
  "ratio",
  "target",
  "holds",
] as const;

/** A row in the columns. */
export function cellsOf(row: Row): string[] {
  if (row.ours === undefined) {
    return [row.title, placeOf(row), row.unit, "–", `skipped: ${row.skipped ?? "not measured"}`];
  }
  return [
    row.title,
    placeOf(row),
    row.unit,
    row.limit === undefined ? "–" : `${figure(row.limit.value)} (${row.limit.of})`,
    spreadText(row.ours),
    percent(shareOf(row, row.ours.median)),
    row.peer === undefined ? "–" : spreadText(row.peer.value),
    percent(shareOf(row, row.peer?.value.median)),
    times(ratioOf(row)),
    targetText(row),
    verdict(row),
  ];
}

/** The table as rows of cells, the head first. */
export function tableOf(result: Result): string[][] {
  return [[...columns], ...result.rows.map(cellsOf)];
}

/** The machine in one line. */
export function machineText(machine: Machine): string {
  return `${machine.cpu}${machine.virtual ? " (virtual)" : ""}, ${machine.cpus} logical CPUs, ` +
    `${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB, ${machine.caches.join(", ")}`;
}

/** The machine and its limits, one line each. */
export function machineLines(result: Result): string[] {
  const { machine } = result;
  const told = (is: boolean) => is ? "told" : "not told by the system";
  return [
    machineText(machine),
    `${machine.system}; ${result.threads} threads; power ${told(machine.power)}, temperature ${
      told(machine.temperature)
    }`,
    ...Object.values(result.limits).map((found) =>
      `${found.cpuVariant}: reads ${figure(found.readBytes / 1e9)} GB/s ` +
      `(one stream a thread ${figure(found.reads.one / 1e9)}, four ${
        figure(found.reads.four / 1e9)
      }), int8 ${figure(found.int8Ops / 1e9)} Gop/s, f32 ${figure(found.f32Ops / 1e9)} Gop/s` +
      (found.bf16Ops > 0 ? `, bf16 ${figure(found.bf16Ops / 1e9)} Gop/s` : "")
    ),
  ];
}

/** Rates of a row in the words of the roofline: bytes and operations a second. */
export function throughput(row: Row, value: number): string {
  const parts: string[] = [];
  if (row.unit !== "tok/s") return "–";
  if (row.bytesPerToken !== undefined) {
    parts.push(`${figure(value * row.bytesPerToken / 1e9)} GB/s`);
  }
  if (row.opsPerToken !== undefined) parts.push(`${figure(value * row.opsPerToken / 1e9)} Gop/s`);
  return parts.join(", ") || "–";
}

/** The page of a result. `charts`: names of the SVG files beside it, with what they show. */
export function pageOf(result: Result, charts: readonly { file: string; title: string }[]): string {
  const judged = result.rows.filter((row) => holds(row) !== undefined);
  const held = judged.filter((row) => holds(row));
  return [
    "# Results of the benchmark",
    "",
    `One run of \`./vitrine bench --matrix\` on ${result.when.slice(0, 10)}${
      continuedText(result)
    }, Vitrine ${result.engine}. ` +
    "Rounds of the engines alternate; figures are medians, with the least and the most in " +
    "parentheses. The peer is llama.cpp from its prebuilt package at its best setting, tried for each " +
    "format and CPU variant with the first model that was measured. Limits are " +
    "measured by the same run. The share of the limit is what travels between machines.",
    "",
    ...machineLines(result).map((text) => `- ${text}`),
    "",
    `${held.length} of ${judged.length} rows that have a target reach it.`,
    "",
    ...charts.flatMap(({ file, title }) => [`![${title}](${file})`, ""]),
    "## Rows",
    "",
    ...tableLines(columns, result.rows.map(cellsOf)),
    "",
    "## Further figures",
    "",
    ...tableLines(
      ["row", "of", "throughput", "figures", "the peer's setting", "the peer's figures", "note"],
      result.rows.filter((row) => row.ours !== undefined).map((row) => [
        row.title,
        placeOf(row),
        throughput(row, row.ours?.median ?? NaN),
        detailsText(row.details),
        row.peer?.setting ?? "–",
        detailsText(row.peer?.details),
        row.note ?? "",
      ]),
    ),
    "",
    ...publishedSection(result),
    ...settingsSection(result),
    ...nativeSection(result.rows),
  ].join("\n");
}

function continuedText(result: Result): string {
  const parts = result.continued?.length ?? 0;
  return parts === 0 ? "" : ` in ${parts + 1} parts`;
}

function detailsText(details: PeerFigure["details"]): string {
  const parts = Object.entries(details ?? {}).map(([name, value]) => {
    const words = name.replaceAll("_", " ");
    if (name === "hash") return `tokens ${value.toString(16).padStart(8, "0")}`;
    if (name.endsWith("_bytes")) return `${words.replace(" bytes", "")} ${figure(value / 1e6)} MB`;
    if (name.endsWith("_ms")) return `${words.replace(" ms", "")} ${figure(value)} ms`;
    return `${words} ${Number.isInteger(value) ? value : figure(value)}`;
  });
  return parts.join(", ") || "–";
}

function publishedSection(result: Result): string[] {
  const found = besidePublished(result);
  if (found.length === 0) return [];
  return [
    "## Beside the newest engines",
    "",
    "No package carries them; the better of llama.cpp b11434 and ik_llama.cpp 8337e4c, measured on another machine " +
    "with AVX-512 VNNI, as the share of that machine's limit (48 GB/s, 1364 Gop/s of 8-bit integers).",
    "",
    ...tableLines(
      ["row", "of", "engine", "its rate, tok/s", "its share", "Vitrine's share", "ahead"],
      found.map(({ row, engine, rate, share, ours }) => [
        ...[row.title, placeOf(row), engine, figure(rate), percent(share), percent(ours)],
        times(ours / share),
      ]),
    ),
    "",
  ];
}

function settingsSection({ settings = {} }: Result): string[] {
  const found = Object.entries(settings);
  if (found.length === 0) return [];
  return [
    "## Settings of the peer",
    "",
    "Tokens a second of reading and of generating, a few seconds each; the better one is measured.",
    "",
    ...tableLines(
      ["peer, format, variant", "tried with", "repacking, flash attention: reading, generating"],
      found.map(([of, { model, tried }]) => [of, model, tried.join("; ")]),
    ),
    "",
  ];
}

function nativeSection(rows: readonly Row[]): string[] {
  const measured = rows.filter((row) => row.native !== undefined);
  if (measured.length === 0) return [];
  return [
    "## Against a native build of llama.cpp",
    "",
    ...tableLines(
      ["row", "of", "Vitrine", "peer", "ratio"],
      measured.map((row) => [
        ...[row.title, placeOf(row), row.ours ? spreadText(row.ours) : "–"],
        row.native ? `${spreadText(row.native.value)} (${row.native.name})` : "–",
        times(ratioOf(row, row.native)),
      ]),
    ),
    "",
  ];
}
