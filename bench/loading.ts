/**
 * Loading: from the start of the program until the model can be used, with the file in the page
 * cache; once with weights that are packed at each load, once with those that were kept on disk.
 *
 * @module
 */

import { rmSync } from "node:fs";
import { startEngine } from "./engine.ts";
import type { Row } from "./result.ts";
import { spread } from "./statistics.ts";
import { peerFigure, rowOf, type Subject, withPeer } from "./subject.ts";
import { loadTarget } from "./targets.ts";
import { noSetting } from "./workloads.ts";

/** Files above it take seconds: one round of them is enough, and packed weights would fill disks. */
const largeBytes = 2.5e9;

/** Both rows, measured in turns; a large model has the first one only. */
export async function loading(subject: Subject): Promise<Row[]> {
  const { pair, model, format, path, threads, variant, say, work, patience } = subject;
  const setting = subject.peer?.decode ?? noSetting;
  await withPeer(subject, subject.peer && setting);
  const isLarge = work.fileBytes > largeBytes;
  const packed = `${path}.packed`;
  const figures = { ours: [] as number[], packed: [] as number[], peer: [] as number[] };
  const sides = (["ours", "packed", "peer"] as const)
    .filter((side) =>
      side === "peer" ? subject.peer !== undefined : !(side === "packed" && isLarge)
    );
  try {
    // The first round reads the files into the page cache, and writes the packed weights.
    for (let i = 0; i <= Math.min(isLarge ? 1 : 3, patience.rounds); i++) {
      for (const side of sides) {
        await pair.rest();
        let loadMs: number;
        if (side === "packed") {
          await using driver = await startEngine(path, threads, variant, say, packed);
          loadMs = driver.loadMs;
        } else {
          loadMs = (await pair.driver(side)).loadMs;
        }
        if (i > 0) figures[side].push(loadMs);
      }
    }
  } finally {
    rmSync(packed, { force: true });
  }
  const target = loadTarget(model, format);
  const row = (title: string, ours: readonly number[]): Row => ({
    ...rowOf(subject, "load", title, "ms"),
    ours: spread(ours),
    ...peerFigure(subject, setting, figures.peer.length > 0 ? spread(figures.peer) : undefined),
    ...(target && { target }),
    details: { file_bytes: work.fileBytes },
  });
  return [
    row("load, file in the page cache", figures.ours),
    ...(isLarge ? [] : [row("load, packed weights in the page cache", figures.packed)]),
  ];
}
