import { checkInteger, found } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Adds a number to the logits of some tokens (`logit_bias` of OpenAI's API); `-Infinity` or `false` removes a
 * token.
 *
 * @param biases Pairs of a token's id and its number, a `Map` of them, or an object with ids as keys.
 * @returns A stage for the `sampler` list of `Session.generate`. Its data has `false` for `-Infinity`, so that
 *   it is plain JSON.
 *
 * @example
 * ```ts
 * import { loadModel, logitBias } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 64 });
 * const [newline] = model.tokenize("\n", { addSpecial: false });
 * const sampler = [logitBias([[newline!, -Infinity]])];
 * console.log(await session.generate("A poem:", { sampler, seed: 7, maxTokens: 8 }).text());
 * ```
 */
export function logitBias(
  biases:
    | Iterable<readonly [token: number, bias: number | false]>
    | Readonly<Record<number, number | false>>,
): SamplerStage {
  if (typeof biases !== "object" || biases === null) {
    throw new TypeError(
      `Expected the biases of logitBias to be pairs of a token and a number, but found ${
        found(biases)
      }`,
    );
  }
  const pairs: [unknown, unknown][] = Symbol.iterator in biases
    ? Array.from(biases as Iterable<[unknown, unknown]>)
    : Object.entries(biases).map(([token, bias]) => [Number(token), bias]);
  const seen = new Set<number>();
  const data = pairs.map((pair) => {
    const [token, bias] = pairOf(pair);
    if (seen.has(token)) {
      throw new RangeError(
        `Expected one bias of each token in logitBias, but found two of token ${token}`,
      );
    }
    seen.add(token);
    return [token, bias] as const;
  });
  return { name: "logit_bias", params: {}, data };
}

function pairOf(pair: unknown): readonly [number, number | false] {
  if (!Array.isArray(pair) || pair.length !== 2) {
    throw new TypeError(
      `Expected a bias of logitBias to be a pair of a token and a number, but found ${found(pair)}`,
    );
  }
  const token = checkInteger(pair[0], 0, 0xffff_ffff, "the token of a bias of logitBias");
  const bias: unknown = pair[1];
  if (bias === false || bias === -Infinity) return [token, false];
  if (typeof bias !== "number") {
    throw new TypeError(
      `Expected the bias of token ${token} in logitBias to be a number, but found ${found(bias)}`,
    );
  }
  if (!Number.isFinite(bias)) {
    throw new RangeError(
      `Expected the bias of token ${token} in logitBias to be finite or -Infinity, but found ${bias}`,
    );
  }
  return [token, bias];
}
