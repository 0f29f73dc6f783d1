/**
 * What the commands print with: results on stdout, everything else on stderr.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import type { SingleBar } from "cli-progress";

export { table } from "../src/internal/text_table.ts";

/** Writes a result. */
export function print(text: string): void {
  process.stdout.write(text);
}

/** Writes one JSON object and a line end. */
export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, (_, v) => typeof v === "bigint" ? Number(v) : v)}\n`);
}

/** A row of a result: fields of the command line's JSON have underscores. */
export function snakeCase(row: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}

/** Writes what is not a result: progress, settings, errors. */
export function note(text: string): void {
  process.stderr.write(text);
}

/** A byte count for people, in decimal units. */
export function bytesText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit++;
  }
  return `${unit === 0 || bytes >= 99.95 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** A rate of something over a time; nothing when there is no time to divide by. */
export function perSecond(count: number, ms: number): number | null {
  return count > 0 && ms > 0 ? count / ms * 1000 : null;
}

/** A number for people with about three digits; a dash when there is none. */
export function figure(value: number | null): string {
  if (value === null) return "–";
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

/** The most memory that this process has had at once, in bytes. */
export function peakMemory(): number {
  try {
    const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"));
    if (line !== null) return Number(line[1]) * 1024;
  } catch {
    // Not Linux: the runtime knows it too, if less exactly.
  }
  return process.memoryUsage().rss;
}

/** The library that draws bars, once something took long enough for one. */
let bars: typeof import("cli-progress") | undefined;

/** A bar on stderr that appears with its first report, and that is silent off a terminal. */
export class ProgressBar {
  #bar: SingleBar | undefined;
  #label = "";
  readonly #unit: (value: number) => string;

  /** @param unit Writes a value; bytes by default. */
  constructor(unit: (value: number) => string = bytesText) {
    this.#unit = unit;
  }

  /** Shows how far it is. A new label begins a new bar. */
  show(label: string, done: number, total: number): void {
    if (label !== this.#label) {
      this.end();
      this.#label = label;
      if (!process.stderr.isTTY) {
        // Off a terminal one line says what is going on; a bar would be noise in a log.
        note(`${label}${total > 0 ? ` (${this.#unit(total)})` : ""}\n`);
      } else if (bars === undefined) {
        void import("cli-progress").then((library) => bars = library);
      }
    }
    if (!process.stderr.isTTY || bars === undefined) return;
    if (this.#bar === undefined) {
      this.#bar = new bars.SingleBar({
        format: `${label} {bar} {percentage}% {done} of {size}`,
        stream: process.stderr,
        hideCursor: true,
        clearOnComplete: true,
        gracefulExit: true,
        fps: 10,
      }, bars.Presets.shades_classic);
      this.#bar.start(Math.max(total, 1), done, { done: "", size: "" });
    }
    this.#bar.setTotal(Math.max(total, 1));
    this.#bar.update(done, { done: this.#unit(done), size: total > 0 ? this.#unit(total) : "?" });
  }

  /** Takes the bar away. */
  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    this.#label = "";
  }
}
