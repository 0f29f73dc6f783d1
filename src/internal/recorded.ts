/**
 * Reads what a request recorded of its sampling, when it has ended.
 *
 * @module
 */
import { RecordedLayout, TraceColumn } from "../ffi/symbols.gen.ts";
import { formatSampler } from "../format_sampler.ts";
import { LogitTape } from "../logit_tape.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import { Trace, type TracePlace } from "../trace.ts";
import type { RecordSettings } from "./record_settings.ts";
import type { SessionCore } from "./session_core.ts";

/**
 * What the last request recorded of its first `shown` steps. `history` is the text before the first one.
 */
export function readRecorded(
  core: SessionCore,
  settings: RecordSettings,
  { seed, history }: { readonly seed: bigint; readonly history: readonly number[] },
  shown: number,
): { readonly trace: Trace | undefined; readonly tape: LogitTape | undefined } {
  const { trace, tape } = settings;
  if (trace === undefined && tape === undefined) return { trace: undefined, tape: undefined };
  const view = new DataView(new ArrayBuffer(RecordedLayout.bytes));
  const { vitrine_session_recorded } = core.model.library.calls;
  core.check(vitrine_session_recorded(core.handle, new Uint8Array(view.buffer), view.byteLength));
  return {
    trace: trace && readTrace(core, view, settings.sampler, shown),
    tape: tape && readTape(core, view, settings, { seed, history }, shown),
  };
}

type Column = Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;

/** Reads columns of the last request's trace, of which it has `all` steps, as far as they were `shown`. */
class Columns {
  readonly steps: number;
  readonly #core: SessionCore;
  readonly #all: number;

  constructor(core: SessionCore, all: number, shown: number) {
    this.steps = Math.min(all, shown);
    this.#core = core;
    this.#all = all;
  }

  /** Of each place, [steps][width]. */
  words(name: keyof typeof TraceColumn, places = 1, width = 1): Uint32Array<ArrayBuffer>[] {
    const all = this.#read(name, new Uint32Array(this.#all * places * width));
    return Array.from({ length: places }, (_, i) => all.subarray(...this.#range(i, width)));
  }

  /** Of each place, [steps][width]. */
  floats(name: keyof typeof TraceColumn, places = 1, width = 1): Float32Array<ArrayBuffer>[] {
    const all = this.#read(name, new Float32Array(this.#all * places * width));
    return Array.from({ length: places }, (_, i) => all.subarray(...this.#range(i, width)));
  }

  #range(place: number, width: number): [from: number, to: number] {
    const from = place * this.#all * width;
    return [from, from + this.steps * width];
  }

  #read<T extends Column>(name: keyof typeof TraceColumn, values: T): T {
    const { vitrine_session_column } = this.#core.model.library.calls;
    const { handle } = this.#core;
    this.#core.check(vitrine_session_column(handle, TraceColumn[name], values, values.length));
    return values;
  }
}

function readTrace(
  core: SessionCore,
  recorded: DataView<ArrayBuffer>,
  sampler: readonly SamplerStage[],
  shown: number,
): Trace {
  const all = recorded.getUint32(RecordedLayout.trace_steps, true);
  const dropped = recorded.getUint32(RecordedLayout.trace_dropped, true);
  const depth = recorded.getUint32(RecordedLayout.candidates, true);
  const columns = new Columns(core, all, shown);
  const { steps } = columns;
  const places = sampler.length + 1;
  const words = (name: keyof typeof TraceColumn, width = 1) => columns.words(name, places, width);
  const floats = (name: keyof typeof TraceColumn, width = 1) => columns.floats(name, places, width);
  const candidates = words("candidates");
  const mass = floats("mass");
  const entropy = floats("entropy");
  const threshold = floats("threshold");
  const temperature = floats("temperature");
  const topTokens = words("top_id", depth);
  const topLogits = floats("top_logit", depth);
  const topProbabilities = floats("top_probability", depth);
  const seen = candidates.map((_, i): TracePlace => ({
    candidates: candidates[i]!,
    mass: mass[i]!,
    entropy: entropy[i]!,
    threshold: threshold[i]!,
    temperature: temperature[i]!,
    topTokens: topTokens[i]!,
    topLogits: topLogits[i]!,
    topProbabilities: topProbabilities[i]!,
  }));
  const [state, outcome, nanoseconds] = [floats("state"), floats("outcome"), floats("nanoseconds")];
  return new Trace(
    // Those that were computed and not shown don't count.
    { steps, dropped: Math.max(0, Math.min(all + dropped, shown) - steps), depth },
    {
      position: columns.words("position")[0]!,
      token: columns.words("token")[0]!,
      rank: columns.words("rank")[0]!,
      logprob: columns.floats("logprob")[0]!,
      probability: columns.floats("probability")[0]!,
    },
    seen[0]!,
    sampler.map((stage, i) => ({
      name: formatSampler([stage]),
      received: seen[i]!,
      left: seen[i + 1]!,
      state: state[i + 1]!,
      outcome: outcome[i + 1]!,
      nanoseconds: nanoseconds[i + 1]!,
    })),
  );
}

function readTape(
  core: SessionCore,
  recorded: DataView<ArrayBuffer>,
  { tape, sampler }: RecordSettings,
  { seed, history }: { readonly seed: bigint; readonly history: readonly number[] },
  shown: number,
): LogitTape {
  const word = (offset: number) => recorded.getUint32(offset, true);
  const all = word(RecordedLayout.tape_rows);
  const rowBytes = word(RecordedLayout.row_bytes);
  const rows = new Uint8Array(all * rowBytes);
  const { vitrine_session_tape } = core.model.library.calls;
  core.check(vitrine_session_tape(core.handle, rows, rows.length));
  const steps = Math.min(all, shown);
  const { info } = core.model;
  const [low, high] = [word(RecordedLayout.model_low), word(RecordedLayout.model_high)];
  const hex = (value: number) => value.toString(16).padStart(8, "0");
  return new LogitTape(
    {
      model: info.architecture,
      identity: hex(high) + hex(low),
      vocabulary: info.logits,
      kind: tape!.kind,
      count: tape!.kind === "top" ? Math.min(tape!.top, info.logits) : info.logits,
      steps,
      seed: seed.toString(),
      sampler: formatSampler(sampler),
      history,
    },
    rows.subarray(0, steps * rowBytes),
    sampler,
  );
}
