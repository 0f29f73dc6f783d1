/**
 * Generating behind a long prompt, where the KV cache is read for every token, and attention alone,
 * which is what the depth adds to the time of a token.
 *
 * @module
 */

import type { Driver } from "./driver.ts";
import type { PeerSetting } from "./peer.ts";
import type { Row } from "./result.ts";
import { rates, sameInAll, type Spread, spread } from "./statistics.ts";
import {
  bandwidthLimit,
  bytesPerToken,
  cacheFormatIds,
  circumstances,
  peerFigure,
  rowOf,
  type Subject,
  withPeer,
} from "./subject.ts";
import { attentionTarget, depthTarget } from "./targets.ts";
import { sides } from "./workloads.ts";

/** Tokens of a round: the cache hardly grows by them. */
const tokens = 16;

/** The cache formats that are compared. */
export const depthFormats = ["f16", "q8_0"] as const;

const times = (rounds: readonly number[][]) => rounds.map((figures) => figures[0] ?? NaN);

/** One round behind what was prepared. */
function atDepth(depth: number): (driver: Driver) => Promise<number[]> {
  return async (driver) => {
    await driver.ask("truncate", depth);
    return await driver.ask("decode", tokens);
  };
}

/** Generating behind `sizes.depth` tokens with a cache in `format`. */
export async function depth(subject: Subject, format: string): Promise<Row> {
  const { sizes, pair } = subject;
  const row = rowOf(subject, "depth", `decode at depth ${sizes.depth}, ${format} KV`, "tok/s");
  if (!subject.cacheFormats.includes(format)) {
    return { ...row, skipped: `the engine has no ${format} cache` };
  }
  const setting = await bestAtDepth(subject, format);
  await withPeer(subject, setting);
  const rounds = await pair.measure(
    ...sides(
      sizes.depth + tokens + 8,
      1,
      format,
      setting ?? { repack: true, flash: true },
      (driver) => driver.ask("prefill", sizes.depth),
      atDepth(sizes.depth),
    ),
  );
  const bytes = bytesPerToken(subject, sizes.depth + tokens / 2, format);
  return {
    ...row,
    ours: rates(times(rounds.ours), tokens),
    ...(setting && peerFigure(subject, setting, rates(times(rounds.peer), tokens))),
    limit: bandwidthLimit(subject, bytes),
    target: depthTarget(format),
    bytesPerToken: bytes,
    ...circumstances(subject, rounds, {
      hash: sameInAll(rounds.ours.map((figures) => figures[1] ?? NaN), "the same tokens"),
    }),
  };
}

/** The peer's better choice of flash attention at a quarter of the depth, which takes less time. */
async function bestAtDepth(subject: Subject, format: string): Promise<PeerSetting | undefined> {
  const chosen = subject.peer?.decode;
  if (chosen === undefined) return undefined;
  // Its quantised values need flash attention.
  if (format === "q8_0") return { ...chosen, flash: true };
  const quarter = Math.ceil(subject.sizes.depth / 4);
  await withPeer(subject, chosen);
  let best: { ms: number; setting: PeerSetting } | undefined;
  for (const flash of [true, false]) {
    const setting = { ...chosen, flash };
    const id = cacheFormatIds[format]?.id ?? 1;
    const driver = await subject.pair.driver("peer");
    await driver.ask("context", quarter + tokens + 8, 1, id, id, flash ? 1 : 0);
    await driver.ask("prefill", quarter);
    const [ms = NaN] = await driver.ask("decode", tokens);
    if (best === undefined || ms < best.ms) best = { ms, setting };
  }
  return best?.setting;
}

/** What each token's attention takes behind `sizes.depth` tokens, in both cache formats. */
export async function attention(subject: Subject): Promise<Row[]> {
  const { sizes, pair } = subject;
  await withPeer(subject, undefined);
  const rows: Row[] = [];
  let f16: Spread | undefined;
  for (const format of depthFormats) {
    const row = rowOf(
      subject,
      "attention",
      `attention alone at depth ${sizes.depth}, ${format} KV`,
      "ms",
    );
    if (!subject.cacheFormats.includes(format)) {
      rows.push({ ...row, skipped: `the engine has no ${format} cache` });
      continue;
    }
    const measured = async (depth: number) =>
      await pair.measure(
        ...sides(
          depth + tokens + 8,
          1,
          format,
          { repack: true, flash: true },
          (driver) => driver.ask("prefill", depth),
          atDepth(depth),
        ),
      );
    const shallow = spread(times((await measured(1)).ours));
    const rounds = await measured(sizes.depth);
    const alone = spread(times(rounds.ours).map((ms) => (ms - shallow.median) / tokens));
    f16 ??= alone;
    const bytes = bytesPerToken(subject, sizes.depth + tokens / 2, format) -
      subject.work.tokenBytes;
    rows.push({
      ...row,
      ours: alone,
      limit: { value: bytes / subject.limits.readBytes * 1000, of: "read bandwidth" },
      ...(format !== "f16" && { target: { most: attentionTarget * f16.median } }),
      bytesPerToken: bytes,
      ...circumstances(subject, rounds, {
        shallow_ms: shallow.median / tokens,
        ...(format !== "f16" && { of_f16: alone.median / f16.median }),
      }),
    });
  }
  return rows;
}
