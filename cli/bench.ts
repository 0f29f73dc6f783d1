/**
 * `vitrine bench`: how fast a model runs here, beside llama.cpp on the same machine in the same
 * minutes. Rounds of the two engines alternate, because machines are noisy; the result is the
 * median, with the least and the most.
 *
 * @module
 */

import { cpus, totalmem } from "node:os";
import { benchTokens, hashSeed, hashToken, openPeer, type Peer, peerName } from "../bench/peer.ts";
import { greedy, type Model, type Session } from "../mod.ts";
import type { Arguments } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { interruptSignal, loadOptions, openModel } from "./model.ts";
import { bytesText, figure, note, print, printJson, table } from "./output.ts";

/** The command. */
export const bench: Command = {
  name: "bench",
  summary: "measure the speed, beside llama.cpp",
  usage: "MODEL",
  description: [
    "Measures reading a prompt (prefill) and generating behind it (decode), in rounds that alternate",
    "with llama.cpp, which is installed on demand. Prints medians with the least and the most.",
  ],
  options: {
    prompt: { short: "p", value: "N", help: "tokens of the prompt; default: 512" },
    tokens: { short: "n", value: "N", help: "tokens to generate; default: 128" },
    rounds: { short: "r", value: "N", help: "rounds, after one that isn't counted; default: 5" },
    "no-peer": { help: "leave llama.cpp out" },
    ...loadOptions,
    ...commonOptions,
  },
  positionals: [1, 1],
  run: async (given) => {
    const shape = {
      prompt: given.integer("prompt", 1, 1 << 20) ?? 512,
      tokens: given.integer("tokens", 1, 1 << 20) ?? 128,
      rounds: given.integer("rounds", 1, 1000) ?? 5,
    };
    const signal = interruptSignal();
    using model = await openModel(given.positionals[0] as string, given, { signal });
    using session = model.session({ context: shape.prompt + shape.tokens + 8 });
    await using peer = given.has("no-peer") ? undefined : await startPeer(model, session);
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
  },
};

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

/** Median, least and most of a rate. */
interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

async function startPeer(model: Model, session: Session): Promise<Peer> {
  return await openPeer(
    model.info.path,
    model.info.threads,
    session.context,
    (text) => note(`${text}\n`),
  );
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
  let hash = hashSeed;
  for await (const step of generation) hash = hashToken(hash, step.token);
  const ended = performance.now();
  return {
    prefill: shape.prompt / (read - begun) * 1000,
    decode: shape.tokens / (ended - read) * 1000,
    hash,
  };
}

async function roundOfPeer(peer: Peer, shape: Shape): Promise<Round> {
  const prefillMs = await peer.prefill(shape.prompt);
  const { ms, hash } = await peer.decode(shape.tokens);
  return { prefill: shape.prompt / prefillMs * 1000, decode: shape.tokens / ms * 1000, hash };
}

function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (i: number) => sorted[i] as number;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1) };
}

/** The rates of one engine; a hash that differs between rounds is a fault of that engine. */
function ratesOf(
  rounds: readonly Round[],
  engine: string,
): { prefill: Spread; decode: Spread; hash: number } {
  const hashes = new Set(rounds.map((round) => round.hash));
  if (hashes.size !== 1) {
    throw new Error(
      `Expected ${engine} to generate the same tokens in each round, but found ${hashes.size} answers`,
    );
  }
  return {
    prefill: spread(rounds.map((round) => round.prefill)),
    decode: spread(rounds.map((round) => round.decode)),
    hash: (rounds[0] as Round).hash,
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
