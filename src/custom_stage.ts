import { found } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** The candidates that a stage sees. */
export interface StageCandidates {
  /** Ids of the tokens that stages before have left, ascending. */
  readonly ids: Uint32Array<ArrayBuffer>;
  /** Their logits, divided by the temperature in force. The function may write them: -Infinity removes one. */
  readonly logits: Float32Array<ArrayBuffer>;
  /** Their probabilities, made of the logits when they are first read. */
  readonly probabilities: Float32Array<ArrayBuffer>;
  /**
   * The text before the token, oldest first: what the session held, the prompt, and what was drawn since. It
   * is what stages see that look back, `repetitionPenalty` for one: its last tokens, as many as the session's
   * context has, whatever a context shift took out of the cache. A copy, made when it is first read, which
   * must be during the call.
   */
  readonly history: Uint32Array<ArrayBuffer>;
  /** What random numbers are keyed by: `uniform` draws them. */
  readonly seed: bigint;
  /** Which draw of several from the same logits, from 0. */
  readonly sequence: number;
  /** The place in the sequence that a token is drawn for. */
  readonly position: number;
}

/** Writes the logits of the candidates, or returns others of the same number. */
export type StageFunction = (
  candidates: StageCandidates,
) => Float32Array<ArrayBuffer> | undefined | void;

/**
 * A sampler stage of your own: a function that sees the candidates and writes their logits. It stands in a
 * chain wherever a native stage does, in sessions, in `sampleLogits` and in draws from tapes. The engine
 * waits for it at every step: behind a stage that leaves few candidates it costs a session some 80 µs, over
 * a whole vocabulary milliseconds.
 *
 * A function that throws, leaves nothing, or leaves what is no number, ends the generation or the draw with
 * an `EngineError` of the code `"stage-failed"` that names the stage; the session can be used again.
 *
 * @param name For traces and errors: letters, digits, spaces, `-`, `_` and `.`.
 * @param apply Called at once for every step; may keep state of its own, and is not called again for a
 *   token that was drawn.
 * @returns A stage for `sampler` lists.
 *
 * @example
 * ```ts
 * import { customStage, loadModel, temperature } from "./mod.ts";
 *
 * // Min-p in TypeScript.
 * const minPTwin = customStage("min-p twin", ({ logits, probabilities }) => {
 *   const least = 0.1 * probabilities.reduce((most, p) => Math.max(most, p));
 *   for (const [i, p] of probabilities.entries()) if (p < least) logits[i] = -Infinity;
 * });
 * // What the last 64 tokens have is half as probable: a penalty, which sees the text.
 * const halved = customStage("halved", ({ ids, logits, history }) => {
 *   const said = new Set(history.subarray(-64));
 *   for (const [i, id] of ids.entries()) if (said.has(id)) logits[i]! -= Math.log(2);
 * });
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const options = { sampler: [halved, temperature(0.8), minPTwin], seed: 7, maxTokens: 8 };
 * console.log(await session.generate("The best thing about the sea is", options).text());
 * ```
 */
export function customStage(name: string, apply: StageFunction): SamplerStage {
  if (typeof name !== "string" || !/^[\w. -]+$/.test(name)) {
    throw new TypeError(
      `Expected the name of a stage (letters, digits, spaces, -, _ and .), but found ${
        found(name)
      }`,
    );
  }
  if (typeof apply !== "function") {
    throw new TypeError(`Expected ${name} to be a function, but found ${found(apply)}`);
  }
  return { name, params: {}, apply };
}
