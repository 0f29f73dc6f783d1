/**
 * Sampling alone: the default chain (temperature 0.8, top-k 40, top-p 0.9) on 128 thousand
 * candidates, against the same chain of llama.cpp.
 *
 * @module
 */

import { startEngine } from "./engine.ts";
import { generateModel } from "./generate.ts";
import type { Listener, Plan } from "./matrix.ts";
import { Pair } from "./pair.ts";
import { peerName } from "./peer.ts";
import type { Row } from "./result.ts";
import type { Shape } from "./shapes.ts";
import { spread } from "./statistics.ts";
import { peerStarter } from "./subject.ts";
import { samplerTarget } from "./targets.ts";

/** A model that does nothing: engines want one, sampling doesn't. */
export const smallShape: Shape = {
  embedding: 256,
  layers: 1,
  heads: 4,
  kvHeads: 4,
  feedForward: 256,
  vocabulary: 1000,
  context: 256,
};

const candidates = 128_000;
const draws = 200;

/** The row. */
export async function samplerRow(plan: Plan, listener: Listener): Promise<Row> {
  listener.say("sampler");
  const { say } = listener;
  const path = `${plan.folder}/bench-small-Q8_0.gguf`;
  generateModel(path, "small", smallShape, "Q8_0");
  const patience = { rounds: plan.rounds, seconds: plan.seconds, signal: plan.signal };
  await using pair = new Pair(() => startEngine(path, 1, "", say), true, patience);
  if (plan.peer) await pair.usePeer(peerStarter(path, 1, "", true, say));
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
