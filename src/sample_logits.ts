import { openLibrary } from "./ffi/library.ts";
import { checkFields, checkInteger, found } from "./internal/check.ts";
import { checkSeed } from "./internal/generation_settings.ts";
import { packRequest, packStages } from "./internal/request.ts";
import { drawing } from "./internal/stage_host.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Draws tokens from one row of logits with a sampler chain, without a model: to look at what a chain
 * does, or to draw from logits that come from elsewhere.
 *
 * @param logits One value for each token.
 * @param options The chain, by default none: the model's own distribution; the seed, 0 by default;
 *   and how many tokens are drawn, 1 by default, the n-th with the random numbers of position n.
 * @returns The ids of the tokens.
 *
 * @example
 * ```ts
 * import { sampleLogits, temperature, topK } from "./mod.ts";
 *
 * const logits = Float32Array.of(1, 3, -2, 2.5);
 * const sampler = [temperature(0.8), topK(2)];
 * console.log(await sampleLogits(logits, { sampler, seed: 7n, count: 10 }));
 * ```
 */
export async function sampleLogits(
  logits: Float32Array<ArrayBuffer>,
  options: {
    readonly sampler?: readonly SamplerStage[] | undefined;
    readonly seed?: number | bigint | undefined;
    readonly count?: number | undefined;
  } = {},
): Promise<Uint32Array<ArrayBuffer>> {
  if (!(logits instanceof Float32Array)) {
    throw new TypeError(`Expected logits to be a Float32Array, but found ${found(logits)}`);
  }
  checkFields(options, ["sampler", "seed", "count"], "sampleLogits");
  const count = options.count === undefined ? 1 : checkInteger(options.count, 1, 1 << 24, "count");
  const stages = packStages(options.sampler);
  const seed = checkSeed(options.seed ?? 0);
  const request = packRequest({ maxTokens: 0, flags: 0, seed, topLogprobs: 0, stages });
  const library = await openLibrary();
  const { vitrine_sampler_draw } = library.calls;
  const tokens = new Uint32Array(count);
  const draw = () => vitrine_sampler_draw(request, stages, logits, logits.length, tokens, count);
  drawing(library, options.sampler ?? [], seed, logits.length, draw);
  return tokens;
}
