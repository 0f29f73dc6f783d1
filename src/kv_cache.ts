import type { Activation } from "./activation.ts";
import type { AttentionOptions, AttentionRows } from "./attention_rows.ts";
import { KvInfoLayout } from "./ffi/symbols.gen.ts";
import { checkFields, checkInteger, checkSide } from "./internal/check.ts";
import { eventCapacity, EventSource } from "./internal/event_source.ts";
import { kvAttention } from "./internal/kv_attention.ts";
import { kvErrors } from "./internal/kv_errors.ts";
import { kvLedger } from "./internal/kv_ledger.ts";
import { kvStatistics } from "./internal/kv_statistics.ts";
import { readKv } from "./internal/read_kv.ts";
import type { SessionCore } from "./internal/session_core.ts";
import type { KvDiff } from "./diff_kv.ts";
import { KvEvents } from "./kv_events.ts";
import type { KvFormat } from "./kv_format.ts";
import type { KvLedger } from "./kv_ledger.ts";
import type { KvPages } from "./kv_pages.ts";
import type { KvPolicy } from "./kv_policy.ts";
import type { KvPart, KvRaw, KvView } from "./kv_part.ts";
import type { KvStatistics, KvStatisticsOptions } from "./kv_statistics.ts";
import type { Recording } from "./recording.ts";

/**
 * The KV cache of a session: what it is, and what is in it. `Session.kv` has it.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 1024, kv: { key: "f8_e4m3", value: "f16" } });
 * await session.prefill("The lighthouse at the end of the world");
 * console.log(session.kv.bytes, session.kv.pages.used);
 *
 * // The keys of one head: [positions][values of a head].
 * const keys = session.kv.read({ which: "key", layer: 1, head: 0 });
 * const length = keys.length / session.position;
 * const largest = keys.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
 * console.log(length, largest);
 * ```
 */
export class KvCache {
  /**
   * Memory that keys and values of the whole context take, in bytes. It is set aside when the session
   * is made, unless its pages come from a pool; what forks have in common counts for each of them.
   */
  readonly bytes: number;
  /** Those of them that tokens at full precision may take, beside their places in the cache. */
  readonly exactBytes: number;
  /** Tokens that fit. */
  readonly context: number;
  /** What the session was made with, with the defaults filled in. */
  readonly policy: KvPolicy;
  /** Layers that have keys and values. */
  readonly layers: number;
  /** KV heads of a layer. */
  readonly heads: number;
  /** Values of a head's key. */
  readonly keyLength: number;
  /** Values of a head's value. */
  readonly valueLength: number;
  /** Format of the keys; `"mixed"` when they have several. */
  readonly keyFormat: KvFormat | "mixed";
  /** Format of the values; `"mixed"` when they have several. */
  readonly valueFormat: KvFormat | "mixed";

  readonly #core: SessionCore;

  /** Only sessions make these. */
  constructor(core: SessionCore) {
    this.bytes = core.kvBytes;
    this.exactBytes = core.kvInfo().getFloat64(KvInfoLayout.exact_bytes, true);
    this.context = core.context;
    const table = core.settings.kv;
    this.policy = table.policy;
    this.layers = table.shape.layers;
    this.heads = table.shape.heads;
    this.keyLength = table.shape.keyLength;
    this.valueLength = table.shape.valueLength;
    this.keyFormat = table.common("key") ?? "mixed";
    this.valueFormat = table.common("value") ?? "mixed";
    this.#core = core;
  }

  /**
   * The format of one head.
   *
   * @param place Keys or values of which layer and KV head, both from 0.
   */
  format(
    place: { readonly which: "key" | "value"; readonly layer: number; readonly head: number },
  ): KvFormat {
    checkFields(place, ["which", "layer", "head"], "format");
    const { kv } = this.#core.settings;
    return kv.format(
      checkSide(place.which),
      checkInteger(place.layer, 0, kv.shape.layers - 1, "layer"),
      checkInteger(place.head, 0, kv.shape.heads - 1, "head"),
    );
  }

  /**
   * Positions that have keys and values, up to `Session.position`: the token that was sampled last has none
   * before the next step.
   */
  get positions(): number {
    return this.#core.kvInfo().getUint32(KvInfoLayout.positions, true);
  }

  /**
   * Where in the text the tokens are whose keys and values `read` gives, in their order; with a session that
   * evicts there are gaps.
   */
  get textPositions(): Uint32Array<ArrayBuffer> {
    return this.#core.positions();
  }

  /** Number of the sequence, by which events name it. */
  get sequence(): number {
    return this.#core.kvInfo().getUint32(KvInfoLayout.sequence, true);
  }

  /**
   * Follows what happens to the pages of the session and its forks, or of all sessions of its pool, until
   * what is returned is disposed of, or the session is.
   *
   * @param options How many events are kept until they are read, the youngest; 65,536 unless it is said.
   * @throws {EngineError} `"busy"` when another reader follows them.
   */
  events(options: { readonly capacity?: number | undefined } = {}): KvEvents {
    const core = this.#core;
    const holder = {
      library: core.model.library,
      get disposed() {
        return core.disposed;
      },
      get handle() {
        return core.handle;
      },
    };
    return new KvEvents(new EventSource(holder), eventCapacity(options));
  }

  /** The pages that are in use now. */
  get pages(): KvPages {
    const info = this.#core.kvInfo();
    const count = (offset: number) => info.getUint32(offset, true);
    const max = count(KvInfoLayout.page_count);
    return {
      length: count(KvInfoLayout.page_length),
      bytes: (this.bytes - this.exactBytes) / max,
      max,
      used: count(KvInfoLayout.pages_used),
      shared: count(KvInfoLayout.pages_shared),
      exact: {
        max: count(KvInfoLayout.exact_page_count),
        used: count(KvInfoLayout.exact_pages_used),
        shared: count(KvInfoLayout.exact_pages_shared),
      },
    };
  }

  /**
   * Copies keys or values as numbers: decoded as attention reads them for the last token, those at full
   * precision included, or keys before their rotation (`view: "unrotated"`: the rotary embedding is taken
   * back from what is stored, as far as that was rounded). Heads that a policy turns (`rotate`) are turned
   * back, so that values of all policies can be compared. A session has one sequence, and each fork is a
   * session; of a file of several, `Snapshot.read` takes a number.
   *
   * @param part Which side, layer, head and positions.
   * @returns [heads][positions][values of a head]; without the first dimension when a head is named.
   * @throws {EngineError} `"busy"` while a request runs, as inside the loop of a generation: `session.step()` ends with each.
   */
  read(
    part: KvPart & { readonly view?: "decoded" | "unrotated" | undefined },
  ): Float32Array<ArrayBuffer>;
  /** Copies keys or values as they are stored. */
  read(part: KvPart & { readonly view: "raw" }): KvRaw;
  read(part: KvPart & { readonly view?: KvView | undefined }): Float32Array<ArrayBuffer> | KvRaw {
    return readKv(this.#core, part);
  }

  /**
   * Where the bytes are: keys and values of tokens, scales, room in pages, free pages. They add up to
   * `bytes`, exactly.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 256, kv: { key: "q8_0", value: "f16" } });
   * await session.prefill("The lighthouse at the end of the world");
   * const ledger = session.kv.ledger();
   * console.log(ledger.keyBits); // 8.5
   * const { keyPayload, keyScales, valuePayload, valueScales, exact, pageSlack, free } = ledger;
   * const sum = keyPayload + keyScales + valuePayload + valueScales + exact + pageSlack + free;
   * console.log(sum === session.kv.bytes); // true
   * ```
   */
  ledger(): KvLedger {
    return kvLedger(this.#core);
  }

  /**
   * Describes keys or values of a layer: of all heads together, of each head, of each channel.
   *
   * @param options Which side, layer, head and positions, and what counts as an outlier.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 256, kv: { key: "f32" } });
   * await session.prefill("The lighthouse at the end of the world");
   * // Keys have channels of their own scale, which is why they need more bits than values.
   * const { whole, channels } = session.kv.statistics({ which: "key", layer: 1 });
   * console.log(whole.kurtosis, Math.max(...channels.variance));
   * ```
   */
  statistics(options: KvStatisticsOptions): KvStatistics {
    return kvStatistics(this.#core, options);
  }

  /**
   * How far what is stored is from the f32 values that the model computed: the rounding of the formats and
   * nothing else, per layer and head. `diffKv` compares two whole caches, where the later layers have what
   * the earlier ones made of their rounding, too.
   *
   * @param recording Of `blocks.N.k`, `blocks.N.v` or both. Positions that the cache doesn't have any more
   *   are left out. What `simulateKv` does counts where the recording began before it.
   * @returns One row for each head of each point that was recorded.
   * @throws {TypeError} When nothing of the kind was recorded.
   * @throws {RangeError} When none of its positions is in the cache, the cache has evicted some, or it is of
   *   another model.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 128, kv: { key: "q4_0", value: "q8_0" } });
   * using recording = session.record(["blocks.*.k", "blocks.*.v"]);
   * await session.prefill("The lighthouse at the end of the world");
   * const { layer, head, which, relative, worst } = session.kv.errors(recording);
   * for (const [row, error] of relative.entries()) {
   *   console.log(layer[row], head[row], which[row] === 0 ? "key" : "value", error, worst[row]);
   * }
   * ```
   */
  errors(recording: Recording): KvDiff {
    return kvErrors(this.#core, recording);
  }

  /**
   * How much attention queries pay to each position: softmax over what the cache holds, as attention
   * computes it but for its rounding of queries when keys are integers. Attention itself stays fused and
   * keeps no weights; the queries are recorded, which takes little, and any of them can be asked for later.
   *
   * @param queries What a hook or a recording at `blocks.N.q` shows, of positions that are still in the cache.
   * @param options Which of them.
   * @throws {TypeError} When these are no queries.
   * @throws {RangeError} When they are of positions that the cache doesn't have, or of another model.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 128 });
   * using recording = session.record(["blocks.1.q"]);
   * await session.prefill("The lighthouse at the end of the world");
   * const queries = recording.get("blocks.1.q");
   * const { positions, weights } = session.kv.attention(queries, { head: 0, from: session.position - 1 });
   * console.log(positions === weights.length, weights); // one row: the last token's
   * ```
   */
  attention(queries: Activation, options: AttentionOptions = {}): AttentionRows {
    return kvAttention(this.#core, queries, options);
  }
}
