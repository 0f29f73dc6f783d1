/**
 * Stages that are functions in draws without a session: native code calls back while its call waits.
 *
 * @module
 */
import { drawError, type Library } from "../ffi/library.ts";
import { HookOfferLayout, Status } from "../ffi/symbols.gen.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import { callStage } from "./stage_call.ts";

/** A draw that runs. */
interface Drawing {
  readonly sampler: readonly SamplerStage[];
  readonly seed: bigint;
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly logits: Float32Array<ArrayBuffer>;
  failed?: { readonly error: unknown };
}

const registered = new WeakSet<Library>();
let running: Drawing | undefined;

/** Makes a native call that draws with a chain, and throws what goes wrong, also in functions of the chain. */
export function drawing(
  library: Library,
  sampler: readonly SamplerStage[],
  seed: bigint,
  vocabulary: number,
  call: () => number,
): void {
  if (!sampler.some(({ apply }) => apply)) return finish(library, call());
  if (!registered.has(library)) {
    library.calls.vitrine_stage_host(library.callback(() => answer(library)));
    registered.add(library);
  }
  const outer = running;
  const own: Drawing = {
    sampler,
    seed,
    ids: new Uint32Array(vocabulary),
    logits: new Float32Array(vocabulary),
  };
  running = own;
  let status: number;
  try {
    status = call();
  } finally {
    running = outer;
  }
  if (own.failed !== undefined) throw own.failed.error;
  finish(library, status);
}

function finish(library: Library, status: number): void {
  if (status === Status.ok) return;
  const error = drawError(library, status);
  // A parameter of a stage that is out of its range.
  throw status === Status.invalid_argument ? new RangeError(error.message) : error;
}

/** Lets a function write candidates. Nothing may be thrown through native code. */
function answer(library: Library): void {
  const { calls } = library;
  const drawing = running as Drawing;
  const { ids, logits, seed, sampler } = drawing;
  const view = new DataView(new ArrayBuffer(HookOfferLayout.bytes));
  const bytes = new Uint8Array(view.buffer);
  calls.vitrine_stage_take(bytes, bytes.length, ids, logits, logits.length);
  const word = (offset: number) => view.getUint32(offset, true);
  const width = word(HookOfferLayout.width);
  const left = logits.slice(0, width);
  try {
    const number = word(HookOfferLayout.stage);
    const key = {
      seed,
      sequence: word(HookOfferLayout.sequence),
      position: word(HookOfferLayout.position),
    };
    const readHistory = () => {
      const history = new Uint32Array(word(HookOfferLayout.history));
      calls.vitrine_stage_history(history, history.length);
      return history;
    };
    const stage = sampler[number - 1] as SamplerStage;
    callStage(stage, number, key, ids.slice(0, width), left, readHistory);
  } catch (error) {
    drawing.failed ??= { error };
    left.fill(-Infinity);
  }
  calls.vitrine_stage_put(left, width);
}
