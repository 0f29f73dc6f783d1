/**
 * The workloads that both engines run through their own loops: reading a prompt, generating, turns of
 * both, batches, generating behind a long prompt, memory.
 *
 * @module
 */

import type { Driver } from "./driver.ts";
import type { Measurement } from "./pair.ts";
import type { PeerSetting } from "./peer.ts";
import type { Row } from "./result.ts";
import { arithmeticOf, limitOf, rateOver } from "./roofline.ts";
import { perSecond, rates, sameInAll, spread } from "./statistics.ts";
import {
  bytesPerToken,
  circumstances,
  contextCommand,
  peerFigure,
  rowOf,
  settingText,
  type Subject,
  withPeer,
} from "./subject.ts";
import { batchTarget, decodeTarget, memoryTarget, prefillTarget } from "./targets.ts";

export const noSetting: PeerSetting = { repack: true, flash: true };

/** Tokens in front of a decode that measures weights: a few, as every generation has. */
const shortPrompt = 16;

/** Asks with a command in one list of words. */
export async function command(
  driver: Driver,
  words: readonly (string | number)[],
): Promise<number[]> {
  const [name, ...values] = words;
  return await driver.ask(String(name), ...values);
}

/** Both sides of a measurement that makes a context first. */
export function sides(
  context: number,
  sequences: number,
  cache: string,
  setting: PeerSetting,
  fill: (driver: Driver) => Promise<unknown>,
  round: (driver: Driver) => Promise<number[]>,
): [Measurement, Measurement] {
  const side = (flash: boolean): Measurement => ({
    prepare: async (driver) => {
      await command(driver, contextCommand(context, sequences, cache, flash));
      await fill(driver);
    },
    round,
  });
  return [side(true), side(setting.flash)];
}

const nothing = () => Promise.resolve();
/** Reads all weights once, so that a first round doesn't pay for their pages. */
const warm = (driver: Driver) => driver.ask("prefill", shortPrompt);
const times = (rounds: readonly number[][]) => rounds.map((figures) => figures[0] ?? NaN);
const hashes = (rounds: readonly number[][]) => rounds.map((figures) => figures[1] ?? NaN);

/** Reading a prompt. */
export async function prefill(subject: Subject): Promise<Row> {
  const { work, sizes, variant, format, pair } = subject;
  const setting = subject.peer?.prefill ?? noSetting;
  await withPeer(subject, subject.peer && setting);
  const rounds = await pair.measure(
    ...sides(sizes.prompt + 8, 1, "f16", setting, warm, (d) => d.ask("prefill", sizes.prompt)),
  );
  const ops = work.layerOps + work.outputOps / sizes.prompt;
  const target = prefillTarget(variant, format);
  const ours = perSecond(times(rounds.ours), sizes.prompt);
  return {
    ...rowOf(subject, "prefill", `prefill ${sizes.prompt}`, "tok/s"),
    ours: spread(ours),
    ...peerFigure(
      subject,
      setting,
      rounds.peer.length > 0 ? rates(times(rounds.peer), sizes.prompt) : undefined,
    ),
    limit: limitOf(arithmeticOf(format), ops, "tok/s", ours, rounds.looks),
    ...(target && { target }),
    opsPerToken: ops,
    ...circumstances(subject, rounds),
  };
}

/** Files above this size take a minute for what is generated, in which a machine may change. */
const largeBytes = 2.5e9;

/** Generating behind a short prompt; with a large model a quarter at a time, by turns with the peer. */
export async function decode(subject: Subject): Promise<Row> {
  const { sizes, pair, work } = subject;
  const setting = subject.peer?.decode ?? noSetting;
  await withPeer(subject, subject.peer && setting);
  const pieces = work.fileBytes > largeBytes ? 4 : 1;
  const tokens = Math.ceil(sizes.tokens / pieces);
  const done = new WeakMap<Driver, number>();
  const rounds = await pair.measure(
    ...sides(shortPrompt + pieces * tokens + 8, 1, "f16", setting, warm, async (driver) => {
      const piece = done.get(driver) ?? 0;
      if (piece % pieces === 0) await driver.ask("prefill", shortPrompt);
      done.set(driver, piece + 1);
      return await driver.ask("decode", tokens);
    }),
  );
  const bytes = bytesPerToken(subject, shortPrompt + sizes.tokens / 2);
  const ours = perSecond(times(rounds.ours), tokens);
  const limit = limitOf("read bandwidth", bytes, "tok/s", ours, rounds.looks);
  const peer = rounds.peer.length > 0 ? rates(times(rounds.peer), tokens) : undefined;
  const hash = pieces === 1 ? { hash: sameInAll(hashes(rounds.ours), "the same tokens") } : {};
  return {
    ...rowOf(subject, "decode", `decode ${sizes.tokens}`, "tok/s"),
    ours: spread(ours),
    ...peerFigure(subject, setting, peer),
    limit,
    target: decodeTarget(work.fileBytes, limit.value, peer?.median),
    bytesPerToken: bytes,
    ...circumstances(subject, rounds, hash),
  };
}

/** Several sequences at once. `prefillRate`: ours, which batches are to come near. */
export async function batch(
  subject: Subject,
  sequences: number,
  prefillRate: number | undefined,
): Promise<Row> {
  const { pair, sizes, work } = subject;
  const setting = subject.peer?.decode ?? noSetting;
  const tokens = Math.min(32, sizes.tokens);
  await withPeer(subject, subject.peer && setting);
  const rounds = await pair.measure(
    ...sides(
      shortPrompt + tokens + 8,
      sequences,
      "f16",
      setting,
      nothing,
      (driver) => driver.ask("batch", sequences, shortPrompt, tokens),
    ),
  );
  const total = sequences * tokens;
  const limit = prefillRate ?? await quickPrefill(subject);
  const target = batchTarget(sequences);
  return {
    ...rowOf(subject, "batch", `batch of ${sequences}, all together`, "tok/s"),
    ours: rates(times(rounds.ours), total),
    ...peerFigure(
      subject,
      setting,
      rounds.peer.length > 0 ? rates(times(rounds.peer), total) : undefined,
    ),
    limit: { value: limit, of: "our prefill" },
    ...(target && { target }),
    bytesPerToken: bytesPerToken(subject, 0) / sequences,
    opsPerToken: work.layerOps + work.outputOps,
    ...circumstances(subject, rounds, { hash: sameInAll(hashes(rounds.ours), "the same tokens") }),
  };
}

/** Our rate of reading a prompt, where the row of it wasn't asked for. */
async function quickPrefill(subject: Subject): Promise<number> {
  const driver = await subject.pair.driver("ours");
  const { prompt } = subject.sizes;
  await command(driver, contextCommand(prompt + 8, 1, "f16", true));
  await driver.ask("prefill", prompt);
  const [ms = NaN] = await driver.ask("prefill", prompt);
  return prompt / ms * 1000;
}

/** A conversation: turns of reading and generating. */
export async function chat(subject: Subject): Promise<Row> {
  const [turns, prompt, tokens] = [4, 64, Math.min(64, subject.sizes.tokens)];
  const setting = subject.peer?.decode ?? noSetting;
  await withPeer(subject, subject.peer && setting);
  const context = turns * (prompt + tokens) + 8;
  const rounds = await subject.pair.measure(
    ...sides(
      context,
      1,
      "f16",
      setting,
      nothing,
      (driver) => driver.ask("chat", turns, prompt, tokens),
    ),
  );
  const total = turns * (prompt + tokens);
  // What both limits allow for the two halves.
  const looks = rounds.looks.flat();
  const reading = subject.work.layerOps / rateOver(arithmeticOf(subject.format), looks);
  const writing = bytesPerToken(subject, context / 2) / rateOver("read bandwidth", looks);
  const seconds = turns * (prompt * reading + tokens * writing);
  return {
    ...rowOf(subject, "chat", `chat, ${turns} turns of ${prompt} + ${tokens}`, "tok/s"),
    ours: rates(times(rounds.ours), total),
    ...peerFigure(
      subject,
      setting,
      rounds.peer.length > 0 ? rates(times(rounds.peer), total) : undefined,
    ),
    limit: { value: total / seconds, of: "both limits" },
    ...circumstances(subject, rounds, { hash: sameInAll(hashes(rounds.ours), "the same tokens") }),
  };
}

/** Resident memory without the cache, in percent of the file, after a prompt and some tokens. */
export async function memory(subject: Subject): Promise<Row> {
  const { pair, work, sizes } = subject;
  const context = sizes.prompt + 24;
  const cache = context * work.cacheValues * 2;
  const beyond = async (driver: Driver, flash: boolean) => {
    await command(driver, contextCommand(context, 1, "f16", flash));
    await driver.ask("prefill", sizes.prompt);
    await driver.ask("decode", 16);
    const [now = NaN] = await driver.ask("memory");
    return { now, percent: (now - cache) / work.fileBytes * 100 };
  };
  const setting = subject.peer?.decode ?? noSetting;
  await withPeer(subject, subject.peer && setting);
  await pair.rest();
  const ours = await beyond(await pair.driver("ours"), true);
  if (!pair.together) await pair.rest();
  const peer = subject.peer && await beyond(await pair.driver("peer"), setting.flash);
  return {
    ...rowOf(subject, "memory", "memory without the cache, of the file", "%"),
    ours: spread([ours.percent]),
    ...(peer && subject.peer && {
      peer: {
        name: subject.peer.name,
        value: spread([peer.percent]),
        setting: settingText(setting),
        details: { resident_bytes: peer.now },
      },
    }),
    target: memoryTarget,
    details: { resident_bytes: ours.now, file_bytes: work.fileBytes, cache_bytes: cache },
  };
}
