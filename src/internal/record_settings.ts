/**
 * What a generation is asked to record, checked.
 *
 * @module
 */
import { TapeKind } from "../ffi/symbols.gen.ts";
import type { TapeOptions, TraceOptions } from "../generate_options.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import { checkChoice, checkFields, checkInteger } from "./check.ts";
import type { Request, WantedRecords } from "./request.ts";
import type { SessionCore } from "./session_core.ts";

/** What is recorded, of which chain. */
export interface RecordSettings {
  readonly trace: Required<TraceOptions> | undefined;
  readonly tape:
    | { kind: keyof typeof TapeKind; top: number; steps: number | undefined }
    | undefined;
  readonly sampler: readonly SamplerStage[];
}

const stepsMax = 1 << 24;

/** Checks the options `trace` and `tape`. */
export function recordSettings(
  trace: unknown,
  tape: unknown,
  sampler: readonly SamplerStage[],
): RecordSettings {
  return { trace: checkTrace(trace), tape: checkTape(tape), sampler };
}

function checkTrace(given: unknown): RecordSettings["trace"] {
  if (given === undefined || given === false) return undefined;
  const options: TraceOptions = given === true ? {} : given as TraceOptions;
  checkFields(options, ["candidates", "steps"], "trace");
  const { candidates = 0 } = options;
  return {
    candidates: checkInteger(candidates, 0, 4096, "trace.candidates"),
    steps: checkSteps(options.steps, "trace.steps"),
  };
}

function checkTape(given: unknown): RecordSettings["tape"] {
  if (given === undefined || given === false) return undefined;
  const options: TapeOptions = given === true ? {} : given as TapeOptions;
  checkFields(options, ["kind", "top", "steps"], "tape");
  const { top } = options;
  const kinds = Object.keys(TapeKind) as (keyof typeof TapeKind)[];
  const kind = checkChoice(options.kind, kinds, "tape.kind") ??
    (top === undefined ? "f32" : "top");
  if (kind !== "top" && top !== undefined) {
    throw new RangeError(`Expected tape.top with the kind top, but found the kind ${kind}`);
  }
  return {
    kind,
    top: checkInteger(top ?? 256, 1, 1 << 24, "tape.top"),
    steps: checkSteps(options.steps, "tape.steps"),
  };
}

function checkSteps(steps: unknown, what: string): number | undefined {
  return steps === undefined ? undefined : checkInteger(steps, 1, stepsMax, what);
}

/** What the engine is asked to make room for, in a session that holds so many tokens. */
export function wantedRecords(
  { trace, tape }: RecordSettings,
  { maxTokens }: Request,
  core: SessionCore,
): WantedRecords {
  const most = Math.min(maxTokens, core.context);
  return {
    traceSteps: trace === undefined ? 0 : Math.min(trace.steps ?? most, maxTokens),
    traceCandidates: trace?.candidates ?? 0,
    tapeSteps: tape === undefined ? 0 : Math.min(tape.steps ?? most, maxTokens),
    tapeKind: TapeKind[tape?.kind ?? "f32"],
    tapeTop: Math.min(tape?.top ?? 0, core.model.info.logits),
  };
}
