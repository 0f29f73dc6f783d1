/**
 * Sampling alone: the default chain (temperature 0.8, top-k 40, top-p 0.9) on 128 thousand
 * candidates, against the same chain of llama.cpp.
 *
 * @module
 */

import { join } from "node:path";
import { startEngine } from "./engine.ts";
import { generateModel } from "./generate.ts";
import type { Listener, Plan } from "./matrix.ts";
import { Pair } from "./pair.ts";
import { peerName } from "./peer.ts";
import type { Row } from "./result.ts";
import { type Shape, shapes } from "./shapes.ts";
import { spread } from "./statistics.ts";
import { peerStarter } from "./subject.ts";
import { samplerTarget } from "./targets.ts";

const candidates = 128_000;
const draws = 200;

/** The row. */
export async function samplerRow(plan: Plan, listener: Listener): Promise<Row> {
  listener.say("sampler");
  const { say } = listener;
  // Engines want a model; sampling doesn't.
  const path = join(plan.folder, "bench-tiny-Q8_0.gguf");
  generateModel(path, "tiny", shapes["tiny"] as Shape, "Q8_0");
  const patience = { rounds: plan.rounds, seconds: plan.seconds, signal: plan.signal };
  await using pair = new Pair(() => startEngine(path, 1, "", say), true, patience);
  if (plan.peers.length > 0) await pair.usePeer(peerStarter(path, 1, "", true, say));
  const rounds = await pair.measure({
    prepare: () => Promise.resolve(),
    round: (driver) => driver.ask("sample", candidates, draws),
  });
  const micros = (figures: readonly number[][]) =>
    spread(figures.map(([ms = NaN]) => ms / draws * 1000));
  return {
    workload: "sampler",
    title: "temperature, top-k 40, top-p 0.9 on 128k candidates",
    unit: "µs",
    ours: micros(rounds.ours),
    ...(rounds.peer.length > 0 && { peer: { name: peerName, value: micros(rounds.peer) } }),
    target: samplerTarget,
  };
}
