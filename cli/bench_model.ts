/**
 * `vitrine bench MODEL`: how fast one model runs here, beside llama.cpp on the same machine in the
 * same minutes. Rounds of the two engines alternate, because machines are noisy; the result is the
 * median, with the least and the most.
 *
 * @module
 */

import { cpus, totalmem } from "node:os";
import type { Driver } from "../bench/driver.ts";
import { peerName, startPeer } from "../bench/peer.ts";
import { sameInAll, type Spread, spread } from "../bench/statistics.ts";
import { greedy, type Model, type Session } from "../mod.ts";
import type { Arguments } from "./arguments.ts";
import { interruptSignal, openModel } from "./model.ts";
import { bytesText, figure, note, print, printJson, table } from "./output.ts";

/** Measures one model and prints the result. */
export async function benchModel(ref: string, given: Arguments): Promise<number> {
  const shape = {
    prompt: given.integer("prompt", 1, 1 << 16) ?? 512,
    tokens: given.integer("tokens", 1, 1 << 16) ?? 128,
    rounds: given.integer("rounds", 1, 1000) ?? 5,
  };
  const signal = interruptSignal();
  using model = await openModel(ref, given, { signal });
  using session = model.session({ context: shape.prompt + shape.tokens + 8 });
  await using peer = given.has("no-peer") ? undefined : await openPeer(model, session.context);
  const rows = { ours: [] as Round[], peer: [] as Round[] };
  for (let round = 0; round <= shape.rounds; round++) {
    signal.throwIfAborted();
    if (!given.has("json")) {
      note(round === 0 ? "warming up\n" : `round ${round} of ${shape.rounds}\n`);
    }
    const ours = await roundOfOurs(model, session, shape, signal);
    const theirs = peer && await roundOfPeer(peer, shape);
    // The first round pays for page faults and for clocks that are still low.
    if (round === 0) continue;
    rows.ours.push(ours);
    if (theirs !== undefined) rows.peer.push(theirs);
  }
  report(model, shape, rows, given);
  return 0;
}

/** What is measured. */
interface Shape {
  readonly prompt: number;
  readonly tokens: number;
  readonly rounds: number;
}

/** Rates of one round, in tokens a second, and the hash of what was generated. */
interface Round {
  readonly prefill: number;
  readonly decode: number;
  readonly hash: number;
}

async function openPeer(model: Model, context: number): Promise<Driver> {
  const { path, threads } = model.info;
  const peer = await startPeer(path, threads, "", true, (text) => note(`${text}\n`));
  await peer.ask("context", context, 1, 1, 1, 1);
  return peer;
}

/** The ids that both engines read. */
function benchTokens(count: number, vocabulary: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => (1000 + 37 * i) % vocabulary);
}

async function roundOfOurs(
  model: Model,
  session: Session,
  shape: Shape,
  signal: AbortSignal,
): Promise<Round> {
  session.truncate(0);
  const tokens = benchTokens(shape.prompt, model.info.vocabulary);
  const begun = performance.now();
  await session.prefill(tokens, { signal });
  const read = performance.now();
  const generation = session.generate([], {
    sampler: [greedy()],
    maxTokens: shape.tokens,
    ignoreEnd: true,
    signal,
  });
  // FNV-1a over ids, as the peer's driver has it.
  let hash = 2166136261;
  for await (const step of generation) hash = Math.imul(hash ^ step.token, 16777619) >>> 0;
  const ended = performance.now();
  return {
    prefill: shape.prompt / (read - begun) * 1000,
    decode: shape.tokens / (ended - read) * 1000,
    hash,
  };
}

async function roundOfPeer(peer: Driver, shape: Shape): Promise<Round> {
  const [prefillMs = NaN] = await peer.ask("prefill", shape.prompt);
  const [ms = NaN, hash = NaN] = await peer.ask("decode", shape.tokens);
  return { prefill: shape.prompt / prefillMs * 1000, decode: shape.tokens / ms * 1000, hash };
}

/** The rates of one engine; a hash that differs between rounds is a fault of that engine. */
function ratesOf(
  rounds: readonly Round[],
  engine: string,
): { prefill: Spread; decode: Spread; hash: number } {
  return {
    prefill: spread(rounds.map((round) => round.prefill)),
    decode: spread(rounds.map((round) => round.decode)),
    hash: sameInAll(rounds.map((round) => round.hash), `the same tokens of ${engine}`),
  };
}

function report(
  model: Model,
  shape: Shape,
  rows: { ours: Round[]; peer: Round[] },
  given: Arguments,
): void {
  const { info } = model;
  const ours = ratesOf(rows.ours, "Vitrine");
  const peer = rows.peer.length > 0 ? ratesOf(rows.peer, "the peer") : undefined;
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    logical_cpus: cpus().length,
    memory_bytes: totalmem(),
  };
  if (given.has("json")) {
    printJson({
      prefill_tok_s: ours.prefill.median,
      decode_tok_s: ours.decode.median,
      prefill: ours.prefill,
      decode: ours.decode,
      hash: ours.hash,
      peer: peer === undefined ? null : {
        name: peerName,
        prefill_tok_s: peer.prefill.median,
        decode_tok_s: peer.decode.median,
        prefill: peer.prefill,
        decode: peer.decode,
        hash: peer.hash,
      },
      prompt: shape.prompt,
      tokens: shape.tokens,
      rounds: shape.rounds,
      threads: info.threads,
      cpu_variant: info.cpuVariant,
      precision: info.precision,
      model: info.path,
      machine,
    });
    return;
  }
  const row = (name: string, rates: { prefill: Spread; decode: Spread }) => [
    name,
    ...[rates.prefill, rates.decode].map((s) =>
      `${figure(s.median)} (${figure(s.min)}–${figure(s.max)})`
    ),
  ];
  print(
    `${machine.cpu}, ${machine.logical_cpus} logical CPUs, ${bytesText(machine.memory_bytes)}\n`,
  );
  print(`${info.path}, ${info.threads} threads, ${info.cpuVariant}, ${shape.rounds} rounds\n\n`);
  print(table([
    ["tokens a second", `prefill ${shape.prompt}`, `decode ${shape.tokens}`],
    row("Vitrine", ours),
    ...(peer === undefined ? [] : [
      row(peerName, peer),
      [
        "ratio",
        ...(["prefill", "decode"] as const).map((part) =>
          `${figure(ours[part].median / peer[part].median)}`
        ),
      ],
    ]),
  ]));
}
