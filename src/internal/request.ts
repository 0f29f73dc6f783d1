/**
 * Packs a request for the engine and unpacks the records that come back. The layouts are generated
 * from the library's own list, so that nothing here knows an offset.
 *
 * @module
 */
import type { Draft, DraftPass } from "../draft.ts";
import {
  DraftSource,
  RecordKind,
  RequestLayout,
  SamplerStages,
  StageLayout,
  StepHeaderLayout,
} from "../ffi/symbols.gen.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import type { TokenLogprob } from "../token_logprob.ts";
import { checkFields, found } from "./check.ts";
import { packData, type StageDataKind } from "./stage_data.ts";
import type { SessionCore } from "./session_core.ts";

/** What a session asks of the engine. */
export interface Request {
  readonly maxTokens: number;
  readonly flags: number;
  readonly seed: bigint;
  readonly topLogprobs: number;
  readonly stages: Uint8Array<ArrayBuffer>;
  readonly records?: WantedRecords;
  /** The chain, if one of its stages is a function. */
  readonly functions?: readonly SamplerStage[] | undefined;
  /** Of a session's request: strings that the text must not have, packed. */
  readonly banned?: Uint8Array | undefined;
  /** Of draws without a session: the text before, and the handle of a model. */
  readonly history?: Uint32Array | undefined;
  readonly model?: number | undefined;
  readonly draft?: Draft | undefined;
  /** Whose logits the stage `guidance` takes. */
  readonly guide?: SessionCore | undefined;
}

/** What a request records of its sampling. */
export interface WantedRecords {
  readonly traceSteps: number;
  readonly traceCandidates: number;
  readonly tapeSteps: number;
  readonly tapeKind: number;
  readonly tapeTop: number;
}

/** What came of a draft, and up to how many guesses the engine waits for. */
export interface DraftRecord extends DraftPass {
  readonly kind: "draft";
  readonly wanted: number;
}

/** What the engine reports about a running request. */
export type EngineRecord =
  | {
    readonly kind: "token" | "prompt";
    readonly token: number;
    readonly position: number;
    readonly logprob: number;
    readonly entropy: number;
    readonly text: string;
    readonly top: readonly TokenLogprob[];
  }
  | DraftRecord
  | { readonly kind: "prefill"; readonly done: number; readonly total: number }
  | { readonly kind: "end"; readonly reason: number; readonly text: string };

/** A request, with its history or its banned strings behind it. */
export function packRequest(request: Request): Uint8Array<ArrayBuffer> {
  const at = RequestLayout;
  const { history = new Uint32Array(0), banned = new Uint8Array(0) } = request;
  const view = new DataView(new ArrayBuffer(at.bytes + 4 * history.length + banned.length));
  view.setUint32(at.size, at.bytes, true);
  view.setUint32(at.version, 1, true);
  view.setUint32(at.max_tokens, request.maxTokens, true);
  view.setUint32(at.flags, request.flags, true);
  view.setUint32(at.seed_low, Number(request.seed & 0xffff_ffffn), true);
  view.setUint32(at.seed_high, Number(request.seed >> 32n), true);
  view.setUint32(at.top_logprobs, request.topLogprobs, true);
  view.setUint32(at.stage_count, request.stages.length / StageLayout.bytes, true);
  const { records } = request;
  if (records !== undefined) {
    view.setUint32(at.trace_steps, records.traceSteps, true);
    view.setUint32(at.trace_candidates, records.traceCandidates, true);
    view.setUint32(at.tape_steps, records.tapeSteps, true);
    view.setUint32(at.tape_kind, records.tapeKind, true);
    view.setUint32(at.tape_top, records.tapeTop, true);
  }
  view.setUint32(at.history_count, history.length, true);
  view.setUint32(at.model, request.model ?? 0, true);
  view.setUint32(at.banned_length, banned.length, true);
  const { draft, guide } = request;
  if (draft !== undefined) {
    const source = draft.kind === "ngram" ? DraftSource.ngram : DraftSource.host;
    view.setUint32(at.draft_source, source, true);
    view.setUint32(at.draft_length, draft.length, true);
    view.setUint32(at.draft_ngram, draft.ngram ?? 0, true);
    view.setUint32(at.draft_ngram_min, draft.least ?? 0, true);
  }
  if (guide !== undefined) view.setUint32(at.guide, guide.handle, true);
  new Uint32Array(view.buffer, at.bytes, history.length).set(history);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(banned, at.bytes + 4 * history.length);
  return bytes;
}

/**
 * The stages of a chain, each with its data behind it; a stage or a parameter that the engine doesn't know is refused. Those that are
 * functions are known by their place, from 1.
 */
export function packStages(stages: unknown): Uint8Array<ArrayBuffer> {
  if (stages === undefined) return new Uint8Array(0);
  if (!Array.isArray(stages)) {
    throw new TypeError(`Expected sampler to be an array of stages, but found ${found(stages)}`);
  }
  const parts = stages.map((stage: SamplerStage, index) =>
    typeof stage?.apply === "function"
      ? stageRecords(SamplerStages.script.id, [index + 1])
      : packStage(index, stage)
  );
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function packStage(index: number, stage: SamplerStage): Uint8Array {
  checkFields(stage, ["name", "params", "data"], `sampler[${index}]`);
  // The stage that is a function is no name for users.
  const { script: _, ...named } = SamplerStages;
  type Known = { id: number; params: readonly string[]; data: StageDataKind };
  const known = (named as Record<string, Known>)[stage.name];
  if (known === undefined) {
    const names = Object.keys(named).join(", ");
    throw new RangeError(`Expected a sampler stage (${names}), but found ${found(stage.name)}`);
  }
  checkFields(stage.params, known.params, `the sampler stage ${stage.name}`);
  const values = known.params.map((name) => {
    const value = stage.params[name];
    if (typeof value === "number") return value;
    throw new TypeError(`Expected ${stage.name} to have ${name}, but found ${found(value)}`);
  });
  return stageRecords(known.id, values, packData(known.data, stage.data, stage.name));
}

/** A stage and, in whole records behind it, its data. */
function stageRecords(
  id: number,
  values: readonly number[],
  data: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const at = StageLayout;
  const view = new DataView(
    new ArrayBuffer(at.bytes * (1 + Math.ceil(data.length / at.bytes))),
  );
  view.setUint32(at.id, id, true);
  view.setUint32(at.data_length, data.length, true);
  for (const [i, value] of values.entries()) view.setFloat32(at.parameters + 4 * i, value, true);
  const bytes = new Uint8Array(view.buffer);
  bytes.set(data, at.bytes);
  return bytes;
}

const decoder = new TextDecoder();

/** Where an engine leaves records: the same memory as bytes and as numbers. */
export class RecordBuffer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
  }

  /** UTF-8. Most pieces are some letters of ASCII, for which a call of the decoder is long. */
  text(from: number, length: number): string {
    const { bytes } = this;
    let text = "";
    for (let at = from; at < from + length; at++) {
      const byte = bytes[at]!;
      if (byte >= 0x80) return decoder.decode(bytes.subarray(from, from + length));
      text += String.fromCharCode(byte);
    }
    return text;
  }
}

/** The records in the first `length` bytes. */
export function unpackRecords(buffer: RecordBuffer, length: number): EngineRecord[] {
  const records: EngineRecord[] = [];
  const { view } = buffer;
  const at = StepHeaderLayout;
  for (let from = 0; from < length;) {
    const word = (offset: number) => view.getUint32(from + offset, true);
    const size = word(at.size);
    const topLength = word(at.top_len);
    const textFrom = from + at.bytes + 8 * topLength;
    const text = buffer.text(textFrom, word(at.text_len));
    const kind = word(at.kind);
    if (kind === RecordKind.prefill) {
      records.push({ kind: "prefill", done: word(at.token), total: word(at.position) });
    } else if (kind === RecordKind.draft) {
      records.push({
        kind: "draft",
        position: word(at.position),
        drafted: word(at.token),
        accepted: word(at.flags),
        wanted: word(at.wanted),
      });
    } else if (kind === RecordKind.end) {
      records.push({ kind: "end", reason: word(at.token), text });
    } else {
      records.push({
        kind: kind === RecordKind.prompt_token ? "prompt" : "token",
        token: word(at.token),
        position: word(at.position),
        logprob: view.getFloat32(from + at.logprob, true),
        entropy: view.getFloat32(from + at.entropy, true),
        text,
        top: unpackTop(view, from + at.bytes, topLength),
      });
    }
    from += size;
  }
  return records;
}

function unpackTop(view: DataView, from: number, count: number): readonly TokenLogprob[] {
  if (count === 0) return [];
  return Array.from({ length: count }, (_, i) => ({
    token: view.getUint32(from + 8 * i, true),
    logprob: view.getFloat32(from + 8 * i + 4, true),
  }));
}
