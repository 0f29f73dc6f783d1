/**
 * Streaming through TypeScript, token by token with top-p: what a script sees, on each runtime,
 * against our own loop in C and against the TypeScript interface of the peer.
 *
 * @module
 */

import type { Driver } from "./driver.ts";
import { runtimes, startEngine, startStream } from "./engine.ts";
import { availableMemory } from "./machine.ts";
import { nodePeerName, startNodePeer } from "./peer.ts";
import type { PeerFigure, Row } from "./result.ts";
import { spread } from "./statistics.ts";
import { rowOf, type Subject } from "./subject.ts";
import { streamTarget } from "./targets.ts";

const prompt = 32;

/** Rounds of one engine: time to the first token, rate behind it, percentiles between tokens. */
interface Streamed {
  readonly rate: number[];
  readonly first: number[];
  readonly p50: number[];
  readonly p99: number[];
}

/** All rows; the engines alternate, and only one is in memory where not all fit. */
export async function streaming(subject: Subject): Promise<Row[]> {
  const { path, threads, variant, sizes, say, pair } = subject;
  await pair.rest();
  const engines: { name: string; start: () => Promise<Driver> }[] = [
    { name: "native", start: () => startEngine(path, threads, variant, say) },
    ...runtimes().map((runtime) => ({
      name: runtime.name,
      start: () => startStream(runtime, path, threads, variant),
    })),
  ];
  // The peer's interface chooses its back end by itself, so that it is only comparable where ours does.
  const peer = subject.peer !== undefined && subject.best;
  if (peer) {
    engines.push({ name: nodePeerName, start: () => startNodePeer(path, threads, say) });
  }
  const streamed = new Map<string, Streamed>(
    engines.map(({ name }) => [name, { rate: [], first: [], p50: [], p99: [] }]),
  );
  // Each has a copy of the weights, or the file.
  const together = availableMemory() > (engines.length + 1) * subject.work.fileBytes;
  const groups = together ? [engines] : engines.map((engine) => [engine]);
  for (const group of groups) {
    const open: { name: string; driver: Driver }[] = [];
    try {
      for (const { name, start } of group) open.push({ name, driver: await start() });
      await measure(subject, open, streamed, sizes.tokens);
    } finally {
      for (const { driver } of open) await driver[Symbol.asyncDispose]();
    }
  }
  return rowsOf(subject, streamed);
}

async function measure(
  subject: Subject,
  open: readonly { name: string; driver: Driver }[],
  streamed: ReadonlyMap<string, Streamed>,
  tokens: number,
): Promise<void> {
  for (const { driver, name } of open) {
    if (name === "native") await driver.ask("context", 4096, 1, 1, 1, 1);
  }
  for (let round = 0; round <= subject.patience.rounds; round++) {
    for (const { name, driver } of open) {
      subject.patience.signal.throwIfAborted();
      const [first = NaN, all = NaN, p50 = NaN, p99 = NaN] = await driver.ask(
        "stream",
        prompt,
        tokens,
      );
      const to = streamed.get(name);
      if (round === 0 || to === undefined) continue;
      to.first.push(first);
      to.rate.push((tokens - 1) / (all - first) * 1000);
      to.p50.push(p50);
      to.p99.push(p99);
    }
  }
}

function details(streamed: Streamed): Record<string, number> {
  return {
    first_token_ms: spread(streamed.first).median,
    between_p50_ms: spread(streamed.p50).median,
    between_p99_ms: spread(streamed.p99).median,
  };
}

function rowsOf(subject: Subject, streamed: ReadonlyMap<string, Streamed>): Row[] {
  const native = streamed.get("native");
  const peer = streamed.get(nodePeerName);
  const figure: PeerFigure | undefined = peer &&
    { name: nodePeerName, value: spread(peer.rate), details: details(peer) };
  const rows: Row[] = [];
  for (const [name, found] of streamed) {
    if (name === "native" || name === nodePeerName) continue;
    rows.push({
      ...rowOf(subject, "stream", `streaming with top-p, ${name}`, "tok/s"),
      ours: spread(found.rate),
      ...(figure && { peer: figure }),
      ...(native && { limit: { value: spread(native.rate).median, of: "our native rate" } }),
      target: streamTarget,
      details: {
        ...details(found),
        ...(native && { native_first_ms: details(native)["first_token_ms"] ?? NaN }),
      },
    });
  }
  return rows;
}
