/**
 * The sessions that stages of a chain are guided by. A stage is plain data; who guides is kept beside it.
 *
 * @module
 */
import type { SamplerStage } from "../sampler_stage.ts";
import type { SessionCore } from "./session_core.ts";

const guides = new WeakMap<SamplerStage, SessionCore>();

export function setGuide(stage: SamplerStage, core: SessionCore): void {
  guides.set(stage, core);
}

/** The session that guides a chain, if one does. */
export function guideOf(stages: readonly SamplerStage[]): SessionCore | undefined {
  const found = stages.filter((stage) => guides.has(stage));
  if (found.length > 1) {
    throw new RangeError(
      `Expected at most one guidance in a sampler, but found ${found.length}`,
    );
  }
  return found[0] && guides.get(found[0]);
}
