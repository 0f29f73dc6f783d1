/**
 * A sampler of one's own against those of the engine, on one recording: a text is generated once with its
 * logits on a tape, and everything after that needs no model. The sampler keeps the tokens that carry at
 * least a share of the distribution's entropy.
 *
 * bun run examples/sampler_lab.ts     deno run --allow-all examples/sampler_lab.ts
 */
import process from "node:process";
import {
  customStage,
  formatSampler,
  loadModel,
  type LogitTape,
  minP,
  type SamplerStage,
  temperature,
  topK,
  topP,
} from "../mod.ts";

/** Keeps the tokens whose -p ln p is at least `share` of the entropy, and the most probable one. */
function surpriseShare(share: number): SamplerStage {
  return customStage(`surprise-share ${share}`, ({ logits, probabilities }) => {
    const parts = probabilities.map((p) => p > 0 ? -p * Math.log(p) : 0);
    const entropy = parts.reduce((sum, part) => sum + part, 0);
    const best = probabilities.indexOf(probabilities.reduce((most, p) => Math.max(most, p)));
    return logits.map((x, i) => i === best || parts[i]! >= share * entropy ? x : -Infinity);
  });
}

const print = (text: string) => process.stdout.write(`${text}\n`);

async function record(): Promise<LogitTape> {
  using model = await loadModel("smollm2");
  using session = model.session({ context: 128 });
  const generation = session.generate("The lighthouse keeper opened the door and", {
    sampler: [temperature(1), topK(50)],
    seed: 4,
    maxTokens: 32,
    tape: { top: 2000 },
  });
  print(await generation.text());
  return generation.tape as LogitTape;
}

const tape = await record();
print("\nwhat other chains leave, and where their texts would part from this one:");
for (
  const chain of [
    [minP(0.1)],
    [topP(0.9)],
    [temperature(1.5), topP(0.9)],
    [surpriseShare(0.02)],
    [temperature(1.5), surpriseShare(0.02)],
  ]
) {
  const { tokens, differences } = await tape.counterfactual(chain);
  let left = 0;
  for (let step = 0; step < tape.steps; step++) {
    const shares = await tape.distribution(chain, step);
    left += shares.filter((p) => p > 0).length / tape.steps;
  }
  const part = differences[0] === undefined ? "nowhere" : `step ${differences[0].step}`;
  print(
    `${formatSampler(chain).padEnd(48)} ${left.toFixed(1).padStart(6)} tokens  ` +
      `${differences.length} of ${tokens.length} differ, first: ${part}`,
  );
}
print("\nthe orders of three stages:");
for (const order of await tape.orderAblation([temperature(1.5), topP(0.9), minP(0.05)])) {
  print(
    `${order.notation.padEnd(42)} ${order.candidates.toFixed(1).padStart(6)} tokens  ` +
      `${order.entropy.toFixed(2)} nats, distance ${order.distance.toFixed(3)}`,
  );
}
