/**
 * Which settings make a peer fastest: tried for a few seconds, for reading and for generating apart.
 *
 * @module
 */

import type { Pair, Starter } from "./pair.ts";
import type { PeerSetting } from "./peer.ts";
import type { FoundSetting } from "./result.ts";

/** Tokens that are read and generated for a try. */
const read = 128;
const written = 8;

/** Tries each setting with a model. `repacks`: whether weights may be repacked, or must, or both. */
export async function choosePeer(
  pair: Pair,
  name: string,
  model: string,
  start: (repack: boolean) => Starter,
  repacks: readonly boolean[],
): Promise<FoundSetting> {
  const tried: string[] = [];
  const best: { prefill?: [number, PeerSetting]; decode?: [number, PeerSetting] } = {};
  for (const repack of repacks) {
    await pair.usePeer(start(repack));
    if (!pair.together) await pair.rest();
    const driver = await pair.driver("peer");
    for (const flash of [true, false]) {
      await driver.ask("context", read + 32, 1, 1, 1, flash ? 1 : 0);
      await driver.ask("prefill", written);
      const [readMs = NaN] = await driver.ask("prefill", read);
      const [writtenMs = NaN] = await driver.ask("decode", written);
      const setting = { repack, flash };
      const rate = { prefill: read / readMs * 1000, decode: written / writtenMs * 1000 };
      for (const kind of ["prefill", "decode"] as const) {
        if (rate[kind] > (best[kind]?.[0] ?? 0)) best[kind] = [rate[kind], setting];
      }
      tried.push(
        `repack ${repack}, flash ${flash}: ${rate.prefill.toFixed(1)}, ${rate.decode.toFixed(1)}`,
      );
    }
  }
  if (best.prefill === undefined || best.decode === undefined) {
    throw new Error(`Expected rates from ${name}, but found none`);
  }
  return { model, prefill: best.prefill[1], decode: best.decode[1], tried };
}

/** Whether what was found elsewhere can be used where only `repacks` are possible. */
export function isPossible(found: FoundSetting, repacks: readonly boolean[]): boolean {
  return [found.prefill, found.decode].every((setting) => repacks.includes(setting.repack));
}
