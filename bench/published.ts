/**
 * What the newest engines reach that no package carries: measured once, with two threads, on a machine with
 * AVX-512 VNNI whose limits were measured in the same hour. A rate travels between machines as its share of the limit.
 *
 * @module
 */

import { type Result, type Row, shareOf, type Workload } from "./result.ts";

/** The limits of that machine: bytes a second, and operations of 8-bit integers. */
const machine = { readBytes: 48e9, int8Ops: 1364e9 };

const llamaCpp = "llama.cpp b11434";
const ikLlamaCpp = "ik_llama.cpp 8337e4c";

interface Published {
  readonly engine: string;
  readonly workload: Workload;
  readonly model: string;
  readonly format: string;
  /** Tokens a second. */
  readonly rate: number;
}

/** The better of both engines in each row, at its best setting. */
const published: readonly Published[] = [
  ...([
    [ikLlamaCpp, "prefill", "Q4_0", 331],
    [llamaCpp, "prefill", "Q4_K_M", 329],
    [llamaCpp, "prefill", "Q5_K_M", 316],
    [ikLlamaCpp, "prefill", "Q6_K", 311],
    [ikLlamaCpp, "prefill", "Q8_0", 305],
    [ikLlamaCpp, "decode", "Q4_0", 72.6],
    [ikLlamaCpp, "decode", "Q4_K_M", 58],
    [ikLlamaCpp, "decode", "Q5_K_M", 52],
    [ikLlamaCpp, "decode", "Q6_K", 41],
    [ikLlamaCpp, "decode", "Q8_0", 36],
    [ikLlamaCpp, "depth", "Q4_0", 55.8],
  ] as const).map(([engine, workload, format, rate]) => (
    { engine, workload, model: "tinyllama-1.1b", format, rate }
  )),
  {
    ...{ engine: ikLlamaCpp, workload: "prefill", model: "llama-2-7b", format: "Q4_0" },
    rate: 55,
  },
  {
    ...{ engine: ikLlamaCpp, workload: "decode", model: "llama-2-7b", format: "Q4_0" },
    rate: 8.9,
  },
  {
    ...{ engine: llamaCpp, workload: "prefill", model: "mistral-7b", format: "Q4_K_M" },
    rate: 50,
  },
  {
    ...{ engine: ikLlamaCpp, workload: "decode", model: "mistral-7b", format: "Q4_K_M" },
    rate: 10.6,
  },
];

/** A row of ours beside a published one. */
export interface Beside {
  readonly row: Row;
  readonly engine: string;
  readonly rate: number;
  /** Of the limit of its machine, as ours is of the limit of this one. */
  readonly share: number;
  readonly ours: number;
}

/** Rows of AVX-512 VNNI for which a rate was published, in the order of the result. */
export function besidePublished(result: Result): Beside[] {
  return result.rows.flatMap((row) => {
    const found = row.variant !== "avx512_vnni"
      ? undefined
      : published.find((one) =>
        one.workload === row.workload && one.model === row.model && one.format === row.format &&
        // Of the two caches that are measured at depth, the one that the figure is of.
        (row.workload !== "depth" || row.title.includes("q8_0"))
      );
    const ours = shareOf(row, row.ours?.median);
    const share = found && shareOnItsMachine(row, found.rate);
    if (found === undefined || ours === undefined || share === undefined) return [];
    return [{ row, engine: found.engine, rate: found.rate, share, ours }];
  });
}

function shareOnItsMachine(row: Row, rate: number): number | undefined {
  if (row.limit?.of === "int8 peak" && row.opsPerToken !== undefined) {
    return rate * row.opsPerToken / machine.int8Ops;
  }
  if (row.limit?.of === "read bandwidth" && row.bytesPerToken !== undefined) {
    return rate * row.bytesPerToken / machine.readBytes;
  }
  return undefined;
}
