/**
 * Whether it matters that the temperature comes before or behind a truncation.
 *
 * @module
 */

import { bootstrapInterval, parseSampler, temperature } from "../../mod.ts";
import { mean, percent, type Study, type StudyInput, type StudyResult } from "./study.ts";
import { tapesOf } from "./tapes.ts";

const temperatures = [0.7, 1, 1.5, 2];
const truncations = ["top-k=40", "top-p=0.9", "min-p=0.1", "typical=0.9", "top-n-sigma=1"];
/** Cut by the order of tokens or by logits, which a temperature only stretches. */
const invariant = ["top-k=40", "top-n-sigma=1"];

/** The study. */
export const order: Study = {
  id: "order",
  title: "The order of temperature and truncation",
  about:
    "Engines disagree: vLLM divides by the temperature first, transformers truncates first, so " +
    "that the same settings draw from other distributions (noted by the authors of min-p, " +
    "menhguin/minp_paper). Both orders of each pair are applied to the same recorded logits: how many " +
    "tokens are left, the total variation distance between the two distributions, and how often the " +
    "same random number draws another token. Means over the openings, the distance with its 95 % " +
    "bootstrap interval over them.",
  run,
};

interface Pair {
  readonly chain: string;
  readonly degree: number;
  /** Tokens left with the temperature first, and last; by opening. */
  readonly first: readonly number[];
  readonly last: readonly number[];
  readonly distance: readonly number[];
  readonly most: number;
  readonly differs: readonly number[];
}

async function run(input: StudyInput): Promise<StudyResult> {
  const tapes = await tapesOf(input);
  const pairs: Pair[] = [];
  const total = truncations.length * temperatures.length;
  for (const chain of truncations) {
    for (const degree of temperatures) {
      input.progress(pairs.length, total);
      input.signal.throwIfAborted();
      const [first, last, distance, differs]: number[][] = [[], [], [], []];
      let most = 0;
      for (const tape of tapes) {
        const stages = [temperature(degree), ...parseSampler(chain)];
        const [before, behind] = await tape.orderAblation(stages);
        first!.push(before!.candidates);
        last!.push(behind!.candidates);
        distance!.push(behind!.distance);
        differs!.push(behind!.differs / tape.steps);
        most = Math.max(most, behind!.distanceMax);
      }
      pairs.push({
        ...{ chain, degree, most },
        ...{ first: first!, last: last!, distance: distance!, differs: differs! },
      });
    }
  }
  return resultOf(pairs);
}

function resultOf(pairs: readonly Pair[]): StudyResult {
  const interval = (values: readonly number[]) => {
    if (values.length < 2) return { value: mean(values), low: NaN, high: NaN };
    return bootstrapInterval(values);
  };
  const rows = pairs.map(({ chain, degree, first, last, distance, most, differs }) => {
    const { value, low, high } = interval(distance);
    return [
      `\`${chain}\``,
      String(degree),
      ...[mean(first), mean(last)].map((count) => count.toFixed(count < 100 ? 1 : 0)),
      `${value.toFixed(4)} (${low.toFixed(4)}–${high.toFixed(4)})`,
      most.toFixed(3),
      percent(mean(differs)),
    ];
  });
  const of = (chain: string, degree: number) =>
    pairs.find((pair) => pair.chain === chain && pair.degree === degree) as Pair;
  const others = truncations.filter((chain) => !invariant.includes(chain));
  const claim = (text: string, holds: boolean) => ({ text, holds });
  return {
    tables: [{
      title: "Temperature first, and last",
      head: [
        "truncation",
        "T",
        "left, T first",
        "left, T last",
        "distance",
        "most",
        "other tokens",
      ],
      rows,
    }],
    verdicts: [
      ...invariant.map((chain) =>
        claim(
          `${chain}: the order doesn't matter`,
          temperatures.every((degree) => of(chain, degree).most < 1e-4),
        )
      ),
      ...others.flatMap((chain) => [
        claim(
          `${chain}: above 1, the temperature first leaves more tokens`,
          [1.5, 2].every((degree) => mean(of(chain, degree).first) > mean(of(chain, degree).last)),
        ),
        claim(
          `${chain}: the further the temperature is from 1, the more the order matters`,
          mean(of(chain, 2).distance) > mean(of(chain, 1.5).distance) &&
            mean(of(chain, 1.5).distance) > 0 && mean(of(chain, 0.7).distance) > 0,
        ),
      ]),
      claim(
        "at a temperature of 1 no order matters",
        truncations.every((chain) => of(chain, 1).most < 1e-6),
      ),
    ],
    charts: [{
      name: "distance",
      intervals: {
        title: "What the order changes, at a temperature of 1.5",
        x: "total variation distance between the two orders",
        rows: truncations.map((chain) => {
          const { value, low, high } = interval(of(chain, 1.5).distance);
          return { name: chain, mean: value, low, high };
        }),
      },
    }],
  };
}
