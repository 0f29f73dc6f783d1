/**
 * Answers the engine's questions for drafts during one generation.
 *
 * @module
 */
import type { Draft, Drafter } from "../draft.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import { checkTokens } from "./check.ts";
import type { SessionCore } from "./session_core.ts";

/** How the text goes on. */
interface DraftingSettings {
  readonly sampler: readonly SamplerStage[];
  readonly seed: bigint;
  readonly ignoreEnd: boolean;
  readonly signal: AbortSignal | undefined;
}

export class Drafting {
  readonly #core: SessionCore;
  readonly #drafter: Drafter;
  readonly #settings: DraftingSettings;
  readonly #tokens: number[];

  /** Only drafts that the engine doesn't make itself; `prompt` follows on what the session holds. */
  static begin(
    draft: Draft | undefined,
    core: SessionCore,
    prompt: Uint32Array,
    settings: DraftingSettings,
  ): Drafting | undefined {
    const drafter = draft?.open?.(core.model, core.context);
    return drafter && new Drafting(drafter, core, prompt, settings);
  }

  private constructor(
    drafter: Drafter,
    core: SessionCore,
    prompt: Uint32Array,
    settings: DraftingSettings,
  ) {
    this.#drafter = drafter;
    this.#core = core;
    this.#settings = settings;
    this.#tokens = [...core.tokens(), ...prompt];
  }

  /** A token was generated. */
  follow(token: number): void {
    this.#tokens.push(token);
  }

  /** The engine waits for up to `most` guesses. */
  async answer(most: number): Promise<void> {
    const { signal } = this.#settings;
    const asked = this.#drafter.guess({ tokens: this.#tokens, most, ...this.#settings });
    const guesses = await orAborted(Promise.resolve(asked), signal);
    // The request has been cancelled with it.
    if (guesses === undefined) return;
    this.#core.propose(checkTokens(guesses, this.#core.model.info.vocabulary, "a draft"));
  }

  dispose(): void {
    this.#drafter.dispose();
  }
}

/** What a promise gives, or nothing as soon as the signal is set off. */
async function orAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T | undefined> {
  if (signal === undefined) return await promise;
  let abort = () => {};
  const aborted = new Promise<undefined>((resolve) => abort = () => resolve(undefined));
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([
      promise.catch((error) => {
        if (signal.aborted) return undefined;
        throw error;
      }),
      aborted,
    ]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
