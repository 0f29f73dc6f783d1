/**
 * Tapes of the openings, in the model's own distribution: what chains do to the very same logits.
 *
 * @module
 */

import type { LogitTape } from "../../mod.ts";
import type { StudyInput } from "./study.ts";

const known = new WeakMap<object, { key: string; tapes: Promise<LogitTape[]> }>();

/** One tape for each opening; recorded once for all studies of a model. */
export function tapesOf(input: StudyInput): Promise<LogitTape[]> {
  const { prompts, tapeTokens } = input.scale;
  const key = `${prompts} ${tapeTokens}`;
  const before = known.get(input.model);
  if (before?.key === key) return before.tapes;
  const tapes = record(input);
  known.set(input.model, { key, tapes });
  return tapes;
}

async function record({ model, scale, openings, signal }: StudyInput): Promise<LogitTape[]> {
  const tapes: LogitTape[] = [];
  for (const [seed, opening] of openings.slice(0, scale.prompts).entries()) {
    using session = model.session({ context: 64 + scale.tapeTokens });
    const generation = session.generate(opening, {
      ...{ seed, maxTokens: scale.tapeTokens, ignoreEnd: true, tape: true, signal },
    });
    await generation.text();
    tapes.push(generation.tape as LogitTape);
  }
  return tapes;
}
