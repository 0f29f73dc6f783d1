/**
 * Which truncations keep the same tokens whatever the temperature.
 *
 * @module
 */

import { type LogitTape, parseSampler, temperature } from "../../mod.ts";
import { mean, percent, type Study, type StudyInput, type StudyResult } from "./study.ts";
import { tapesOf } from "./tapes.ts";

const temperatures = [0.5, 0.7, 1.5, 2, 3];
const truncations = [
  ...["top-n-sigma=1", "top-n-sigma=1.5", "top-k=40", "min-k=3", "top-p=0.9", "min-p=0.1"],
  ...["typical=0.9", "epsilon-cutoff=0.0003", "eta-cutoff=0.0003"],
];
/** Sets that are decided by logits or by their order. */
const invariant = ["top-n-sigma=1", "top-n-sigma=1.5", "top-k=40"];

/** The study. */
export const keptSet: Study = {
  id: "top-n-sigma",
  title: "Top-nσ's set at every temperature",
  about:
    "Top-nσ (Tang et al. 2024, arXiv 2411.07641) keeps the tokens within n standard deviations of the " +
    "highest logit. A temperature divides the distance and the deviation alike, so that what it keeps is the " +
    "same at every temperature, where a set that is cut by probability grows with it: the paper's reason for " +
    "high temperatures without nonsense. Here each truncation stands behind the temperature, on the same " +
    "recorded logits: the share of steps at which exactly the tokens of temperature 1 are left, and how many " +
    "there are.",
  run,
};

async function run(input: StudyInput): Promise<StudyResult> {
  const tapes = await tapesOf(input);
  const rows: string[][] = [];
  const same = new Map<string, number>();
  const sizes = new Map<string, number[]>();
  for (const [i, chain] of truncations.entries()) {
    input.progress(i, truncations.length);
    const counts = new Map<number, number[]>();
    const equal = new Map<number, number>(temperatures.map((degree) => [degree, 0]));
    const note = (degree: number, count: number) =>
      counts.set(degree, [...counts.get(degree) ?? [], count]);
    let steps = 0;
    for (const tape of tapes) {
      for (let step = 0; step < tape.steps; step++) {
        input.signal.throwIfAborted();
        steps++;
        const plain = await keptBy(tape, step, chain, 1);
        note(1, plain.length);
        for (const degree of temperatures) {
          const kept = await keptBy(tape, step, chain, degree);
          note(degree, kept.length);
          const isSame = kept.length === plain.length && kept.every((id, k) => id === plain[k]);
          if (isSame) equal.set(degree, (equal.get(degree) as number) + 1);
        }
      }
    }
    const shares = temperatures.map((degree) => (equal.get(degree) as number) / steps);
    const means = [1, ...temperatures].sort((a, b) => a - b)
      .map((degree) => mean(counts.get(degree) as number[]));
    same.set(chain, Math.min(...shares));
    sizes.set(chain, means);
    rows.push([
      `\`${chain}\``,
      ...shares.map(percent),
      means.map((count) => count.toFixed(count < 100 ? 1 : 0)).join(", "),
    ]);
  }
  return {
    tables: [{
      title: "Steps at which the set is that of temperature 1",
      head: [
        "truncation",
        ...temperatures.map((degree) => `T = ${degree}`),
        `tokens left at ${[1, ...temperatures].sort((a, b) => a - b).join(", ")}`,
      ],
      rows,
    }],
    verdicts: [
      ...invariant.map((chain) => ({
        text: `${chain}: the same set at every temperature, in every step`,
        holds: same.get(chain) === 1,
      })),
      ...["top-p=0.9", "min-p=0.1", "typical=0.9"].map((chain) => ({
        text: `${chain}: the set grows with the temperature`,
        holds: (sizes.get(chain) as number[]).every((count, i, all) =>
          i === 0 || count > all[i - 1]!
        ),
      })),
    ],
    charts: [],
  };
}

/** Ids of the tokens that are left, in ascending order. */
async function keptBy(
  tape: LogitTape,
  step: number,
  chain: string,
  degree: number,
): Promise<number[]> {
  const shares = await tape.distribution([temperature(degree), ...parseSampler(chain)], step);
  const kept: number[] = [];
  for (let id = 0; id < shares.length; id++) if ((shares[id] as number) > 0) kept.push(id);
  return kept;
}
