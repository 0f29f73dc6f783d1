import type { SessionCore } from "./internal/session_core.ts";

/**
 * What passes of the model read from memory and computed, as columns. The numbers are counted where the
 * kernels are called: bytes of weight matrices as they are packed (norms and biases are left out), of keys and values as they are stored, scales
 * included, once for all rows that share the read; operations of products and attention, a multiplication
 * and an addition as two. A processor's cache may have had some of it.
 */
export interface MemoryAccess {
  /** How many passes these are. */
  readonly passes: number;
  /** Columns of a row below: the layers, and a last one for embeddings and output head. */
  readonly places: number;
  /** Number of each pass since the meter was started, from 0: [passes]. */
  readonly number: Float64Array<ArrayBuffer>;
  /** Tokens that passed together, those of other sessions included: [passes]. */
  readonly rows: Float64Array<ArrayBuffer>;
  /** This session's tokens among them: [passes]. */
  readonly ownRows: Float64Array<ArrayBuffer>;
  /** Position of the first of these: [passes]. */
  readonly position: Float64Array<ArrayBuffer>;
  /** Bytes of weights: [passes][places]. */
  readonly weightBytes: Float64Array<ArrayBuffer>;
  /** Bytes of keys: [passes][places]. */
  readonly keyBytes: Float64Array<ArrayBuffer>;
  /** Bytes of values: [passes][places]. */
  readonly valueBytes: Float64Array<ArrayBuffer>;
  /** Floating-point operations: [passes][places]. */
  readonly flops: Float64Array<ArrayBuffer>;
  /** Time in seconds: [passes][places]. */
  readonly seconds: Float64Array<ArrayBuffer>;
  /** Arithmetic intensity, FLOP per byte (Williams et al. 2009, "Roofline"); NaN of nothing: [passes][places]. */
  readonly intensity: Float64Array<ArrayBuffer>;
  /** Bandwidth reached, in bytes a second; NaN of nothing: [passes][places]. */
  readonly bandwidth: Float64Array<ArrayBuffer>;
}

/** Numbers of a pass before those of its places, and of a place (vitrine_session_metered). */
const headValues = 4;
const placeValues = 5;

/**
 * Counts what a session's passes read and compute, layer by layer. `Session.meter` starts it, and `using`
 * ends it; a session without one pays nothing.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256 });
 * await session.prefill("The lighthouse at the end of the world");
 * using meter = session.meter();
 * for await (const _step of session.generate("", { maxTokens: 8 }));
 * const { places, weightBytes, keyBytes, valueBytes, intensity } = meter.read();
 * // Layer 1 in the first of these passes.
 * console.log(weightBytes[1], keyBytes[1], valueBytes[1], intensity[1], places);
 * ```
 */
export class MemoryMeter {
  readonly #core: SessionCore;
  #ended = false;

  /** Only `Session.meter` makes these. */
  constructor(core: SessionCore, passes: number) {
    this.#core = core;
    core.startMeter(passes);
  }

  /**
   * Takes the passes since the last time; of more than the meter keeps, the youngest.
   *
   * @throws {EngineError} While a request runs, or after the session is gone.
   * @throws {RangeError} When the meter was ended.
   */
  read(): MemoryAccess {
    if (this.#ended) {
      throw new RangeError("Expected a meter that runs, but found one that was ended");
    }
    const core = this.#core;
    core.requireIdle();
    const { vitrine_session_metered } = core.model.library.calls;
    const count = new Uint32Array(1);
    core.check(vitrine_session_metered(core.handle, null, 0, count));
    const passes = count[0] ?? 0;
    const places = core.model.info.layers + 1;
    const values = new Float64Array(passes * (headValues + places * placeValues));
    if (passes !== 0) {
      core.check(vitrine_session_metered(core.handle, values, values.length, count));
    }
    return columns(values, passes, places);
  }

  /** Ends it; what it has not given is forgotten. Again is harmless. */
  dispose(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#core.endMeter();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function columns(values: Float64Array<ArrayBuffer>, passes: number, places: number): MemoryAccess {
  const width = headValues + places * placeValues;
  const ofPass = (at: number) =>
    Float64Array.from({ length: passes }, (_, pass) => values[pass * width + at]!);
  const ofPlace = (at: number) =>
    Float64Array.from({ length: passes * places }, (_, i) => {
      const [pass, place] = [Math.floor(i / places), i % places];
      return values[pass * width + headValues + place * placeValues + at]!;
    });
  const [weightBytes, keyBytes, valueBytes] = [ofPlace(0), ofPlace(1), ofPlace(2)];
  const [flops, seconds] = [ofPlace(3), ofPlace(4)];
  const bytes = weightBytes.map((of, i) => of + keyBytes[i]! + valueBytes[i]!);
  return {
    passes,
    places,
    number: ofPass(0),
    rows: ofPass(1),
    ownRows: ofPass(2),
    position: ofPass(3),
    weightBytes,
    keyBytes,
    valueBytes,
    flops,
    seconds,
    intensity: flops.map((of, i) => of / bytes[i]!),
    bandwidth: bytes.map((of, i) => of / seconds[i]!),
  };
}
