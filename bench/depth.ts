/**
 * Generating behind a long prompt, where the KV cache is read for every token, and attention alone,
 * which is what the depth adds to the time of a token.
 *
 * @module
 */

import type { Driver } from "./driver.ts";
import type { Measurement } from "./pair.ts";
import type { PeerSetting } from "./peer.ts";
import type { Row } from "./result.ts";
import { limitOf } from "./roofline.ts";
import { perSecond, rates, sameInAll, spread } from "./statistics.ts";
import {
  bytesPerToken,
  cacheFormatIds,
  circumstances,
  contextCommand,
  ourStarter,
  peerFigure,
  rowOf,
  starterOf,
  type Subject,
  withPeer,
} from "./subject.ts";
import { attentionTarget, depthTarget } from "./targets.ts";
import { command, sides } from "./workloads.ts";

/** Tokens of a round: the cache hardly grows by them. */
const tokens = 16;

/** Of which so many pass before it is the turn of another depth, where depths are compared. */
const piece = 4;

/** The cache formats that are compared. */
export const depthFormats = ["f16", "q8_0"] as const;

const times = (rounds: readonly number[][]) => rounds.map((figures) => figures[0] ?? NaN);

/** Generates so many tokens behind `depth` of a prefill of one sequence. */
async function generate(driver: Driver, depth: number, sequence = 0, count = tokens) {
  await driver.ask("truncate", depth, sequence);
  return await driver.ask("decode", count, sequence);
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
      (driver) => generate(driver, sizes.depth),
    ),
  );
  const bytes = bytesPerToken(subject, sizes.depth + tokens / 2, format);
  const ours = perSecond(times(rounds.ours), tokens);
  return {
    ...row,
    ours: spread(ours),
    ...(setting && peerFigure(subject, setting, rates(times(rounds.peer), tokens))),
    limit: limitOf("read bandwidth", bytes, "tok/s", ours, rounds.looks),
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

/** What each token's attention takes behind `sizes.depth` tokens, in both cache formats by turns. */
export async function attention(subject: Subject): Promise<Row[]> {
  const { sizes, pair, path, threads, variant, say, cacheFormats } = subject;
  const formats = depthFormats.filter((format) => cacheFormats.includes(format));
  // The other format has an engine of its own, in the peer's place.
  const other = starterOf(
    ["attention", path, threads, variant],
    ourStarter(path, threads, variant, say),
  );
  await pair.usePeer(formats.length === 2 ? other : undefined);
  const [first, second] = formats.map((format) => besideShallow(sizes.depth, format));
  const rounds = await pair.measure(first!, second);
  const bySide = [rounds.ours, rounds.peer];
  const f16 = spread(aloneOf(bySide[0]!));
  return depthFormats.map((format) => {
    const title = `attention alone at depth ${sizes.depth}, ${format} KV`;
    const row = rowOf(subject, "attention", title, "ms");
    const own = bySide[formats.indexOf(format)];
    if (own === undefined) return { ...row, skipped: `the engine has no ${format} cache` };
    const each = aloneOf(own);
    const alone = spread(each);
    const bytes = bytesPerToken(subject, sizes.depth + piece / 2, format) -
      subject.work.tokenBytes;
    sameInAll(own.map((figures) => figures[1] ?? NaN), "the same tokens");
    return {
      ...row,
      ours: alone,
      limit: limitOf("read bandwidth", bytes, "ms", each, rounds.looks),
      ...(format !== "f16" && { target: { most: attentionTarget * f16.median } }),
      bytesPerToken: bytes,
      ...circumstances(subject, { ...rounds, ours: own, peer: [] }, {
        shallow_ms: spread(own.map((figures) => figures[2] ?? NaN)).median / tokens,
        ...(format !== "f16" && { of_f16: alone.median / f16.median }),
      }),
    };
  });
}

/** Rounds behind `depth` tokens and behind one, by short turns: what the machine does then slows both. */
function besideShallow(depth: number, format: string): Measurement {
  return {
    prepare: async (driver) => {
      await command(driver, contextCommand(depth + piece + 8, 2, format, true));
      await driver.ask("prefill", depth);
    },
    round: async (driver) => {
      let deep = 0;
      let shallow = 0;
      const hashes: number[] = [];
      for (let done = 0; done < tokens; done += piece) {
        const [behindAll = NaN, hash = NaN] = await generate(driver, depth, 0, piece);
        const [behindOne = NaN] = await generate(driver, 1, 1, piece);
        deep += behindAll;
        shallow += behindOne;
        hashes.push(hash);
      }
      return [deep, sameInAll(hashes, "the same tokens"), shallow];
    },
  };
}

/** Milliseconds that the depth adds to a token, round by round. */
function aloneOf(rounds: readonly number[][]): number[] {
  return rounds.map(([deep = NaN, , shallow = NaN]) => (deep - shallow) / tokens);
}
