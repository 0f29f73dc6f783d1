import { openLibrary } from "./ffi/library.ts";
import { checkFields, checkInteger, checkTokens, found } from "./internal/check.ts";
import { checkSeed } from "./internal/generation_settings.ts";
import { handleOf } from "./internal/model_handles.ts";
import { packRequest, packStages } from "./internal/request.ts";
import { drawing } from "./internal/stage_host.ts";
import type { Model } from "./model.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Draws tokens from one row of logits with a sampler chain, without a model: to look at what a chain
 * does, or to draw from logits that come from elsewhere.
 *
 * @param logits One value for each token.
 * @param options The chain, by default none: the model's own distribution; the seed, 0 by default;
 *   how many tokens are drawn, 1 by default, the n-th with the random numbers of position n; the text
 *   before, which penalties look at, none by default; and a model, for stages that must know the texts
 *   of tokens. What is drawn becomes part of the text.
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
    readonly history?: readonly number[] | Uint32Array | undefined;
    readonly model?: Model | undefined;
  } = {},
): Promise<Uint32Array<ArrayBuffer>> {
  if (!(logits instanceof Float32Array)) {
    throw new TypeError(`Expected logits to be a Float32Array, but found ${found(logits)}`);
  }
  checkFields(options, ["sampler", "seed", "count", "history", "model"], "sampleLogits");
  const count = options.count === undefined ? 1 : checkInteger(options.count, 1, 1 << 24, "count");
  const stages = packStages(options.sampler);
  const seed = checkSeed(options.seed ?? 0);
  const history = checkTokens(options.history ?? [], logits.length, "the history");
  const model = handleOf(options.model);
  const request = packRequest({
    ...{ maxTokens: 0, flags: 0, topLogprobs: 0 },
    ...{ seed, stages, history, model },
  });
  const library = await openLibrary();
  const { vitrine_sampler_draw } = library.calls;
  const tokens = new Uint32Array(count);
  const draw = () => vitrine_sampler_draw(request, stages, logits, logits.length, tokens, count);
  drawing(library, options.sampler ?? [], seed, logits.length, draw);
  return tokens;
}
