/**
 * Writes the page of a result with its charts and its JSON, for the repository or for anybody.
 *
 * @module
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { rates, roofline } from "./chart.ts";
import { pageOf } from "./report.ts";
import type { Result } from "./result.ts";

/** Reads a result from JSON. */
export function readResult(path: string): Result {
  const found: unknown = JSON.parse(readFileSync(path, "utf8"));
  const result = found as Result;
  if (typeof found !== "object" || found === null || result.version !== 1) {
    throw new TypeError(`Expected a result of the benchmark (version 1) in ${path}`);
  }
  if (!Array.isArray(result.rows) || typeof result.limits !== "object") {
    throw new TypeError(`Expected rows and limits in ${path}`);
  }
  return result;
}

/** Writes `page` and its charts into a folder of the page's name beside it. Returns what was written. */
export function writePage(result: Result, page: string): string[] {
  const folder = join(dirname(page), basename(page, ".md"));
  mkdirSync(folder, { recursive: true });
  const charts = [
    { file: "roofline.svg", title: "Share of the limit, row by row", svg: roofline(result) },
    {
      file: "decode.svg",
      title: "Decode, tokens a second",
      svg: rates(result, "Decode, tokens a second", (row) => row.workload === "decode"),
    },
    {
      file: "prefill.svg",
      title: "Prefill, tokens a second",
      svg: rates(result, "Prefill, tokens a second", (row) => row.workload === "prefill"),
    },
  ];
  const written = [page];
  for (const { file, svg } of charts) {
    writeFileSync(join(folder, file), svg);
    written.push(join(folder, file));
  }
  const links = charts.map(({ file, title }) => ({
    file: relative(dirname(page), join(folder, file)),
    title,
  }));
  writeFileSync(page, pageOf(result, links));
  return written;
}
