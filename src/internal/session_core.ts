/**
 * A native session below its public face: starts requests, takes what they leave, cancels them.
 *
 * @module
 */
import { EngineError } from "../engine_error.ts";
import { check, statusError } from "../ffi/library.ts";
import {
  CacheFormatId,
  KvInfoLayout,
  SessionInfoLayout,
  SessionOptionsLayout,
  SessionStatsLayout,
  TakeResultLayout,
} from "../ffi/symbols.gen.ts";
import type { SessionStats } from "../session_stats.ts";
import type { EvictSettings } from "./evict_settings.ts";
import { HookTable } from "./hook_table.ts";
import type { KvTable } from "./kv_table.ts";
import { guard, unguard } from "./leak_net.ts";
import { LogitsLease } from "./logits_lease.ts";
import type { ModelCore } from "./model_core.ts";
import type { PoolCore } from "./pool_core.ts";
import {
  type EngineRecord,
  packRequest,
  RecordBuffer,
  type Request,
  unpackRecords,
} from "./request.ts";

/** Checked session options. */
export interface SessionSettings {
  readonly context: number;
  readonly kv: KvTable;
  readonly chunk: number;
  readonly shiftKeep: number;
  /** Where its pages come from, if it doesn't have its own. */
  readonly pool?: PoolCore | undefined;
  /** Which tokens the cache keeps. */
  readonly evict?: EvictSettings | undefined;
}

/** A place in the text of a session: where it stood, and what had been dropped by then. */
export interface Mark {
  readonly text: number;
  readonly shifted: number;
}

/** Larger than any record, so that one take moves many. */
const takeBytes = 64 * 1024;
/** Asks for the logits behind the last token. */
const lastRow = 0xffff_ffff;

export class SessionCore {
  readonly model: ModelCore;
  readonly context: number;
  readonly kvBytes: number;
  readonly settings: SessionSettings;
  #taken = new RecordBuffer(takeBytes);
  readonly #result = new DataView(new ArrayBuffer(TakeResultLayout.bytes));
  readonly #resultBytes = new Uint8Array(this.#result.buffer);
  readonly hooks: HookTable;
  /** The logits that views show. */
  readonly lease = new LogitsLease(this);
  #handle: number;
  #busy = false;
  #meter: "off" | "on" | "ending" = "off";

  /** Makes a native session. */
  static create(model: ModelCore, settings: SessionSettings): SessionCore {
    const { library } = model;
    const options = packOptions(settings);
    const out = new Uint32Array(1);
    const formats = settings.kv.ids();
    const { vitrine_session_create, vitrine_pool_session } = library.calls;
    const status = settings.pool
      ? vitrine_pool_session(settings.pool.handle, options, options.length, out)
      : vitrine_session_create(
        model.handle,
        options,
        options.length,
        formats ?? null,
        formats?.length ?? 0,
        out,
      );
    const handle = out[0] ?? 0;
    if (status !== 0) {
      const error = statusError(library, status, handle);
      library.calls.vitrine_session_destroy(handle);
      throw error;
    }
    return new SessionCore(model, settings, handle);
  }

  /** Takes over a native session that was made with these settings. */
  static adopt(model: ModelCore, settings: SessionSettings, handle: number): SessionCore {
    return new SessionCore(model, settings, handle);
  }

  private constructor(model: ModelCore, settings: SessionSettings, handle: number) {
    this.model = model;
    this.settings = settings;
    this.hooks = new HookTable(this);
    this.#handle = handle;
    model.retain();
    // Whoever runs a request holds this object, so that it isn't collected under a request.
    guard(this, () => release(model, handle));
    const info = this.#info();
    this.context = info.getUint32(SessionInfoLayout.context, true);
    this.kvBytes = info.getFloat64(SessionInfoLayout.kv_bytes, true);
  }

  /** Sessions that go on from here. */
  fork(count: number): SessionCore[] {
    const out = new Uint32Array(count);
    this.check(this.model.library.calls.vitrine_session_fork(this.handle, count, out));
    return Array.from(out, (handle) => new SessionCore(this.model, this.settings, handle));
  }

  /** Lets two sessions of one shape change places. */
  exchange(other: SessionCore): void {
    this.requireIdle();
    for (const core of [this, other]) core.lease.end();
    this.check(this.model.library.calls.vitrine_session_exchange(this.handle, other.handle));
  }

  /** What the cache is made of, and how much of it is in use. */
  kvInfo(): DataView {
    const view = new DataView(new ArrayBuffer(KvInfoLayout.bytes));
    const bytes = new Uint8Array(view.buffer);
    this.check(this.model.library.calls.vitrine_kv_info(this.handle, bytes, bytes.length));
    return view;
  }

  /** The native handle; throws after the session is gone. */
  get handle(): number {
    if (this.#handle === 0) {
      throw new EngineError(
        "disposed",
        "Expected a session that is still open, but it was disposed of",
      );
    }
    return this.#handle;
  }

  /** Where in the text the tokens are that the cache holds. */
  positions(): Uint32Array<ArrayBuffer> {
    const out = new Uint32Array(this.kvInfo().getUint32(KvInfoLayout.positions, true));
    this.check(this.model.library.calls.vitrine_kv_positions(this.handle, out, out.length));
    return out;
  }

  /** Whether all tokens but the one that was sampled last have keys and values. */
  get whole(): boolean {
    return this.#info().getUint32(SessionInfoLayout.tokens_lost, true) === 0;
  }

  /** Throws while a request runs, or its reader has not taken its end. */
  requireIdle(): void {
    if (this.handle !== 0 && this.#busy) {
      throw new EngineError("busy", "Expected an idle session, but a request is running on it");
    }
  }

  /** Tokens in the sequence, the last sampled one included. */
  get position(): number {
    return this.#info().getUint32(SessionInfoLayout.position, true);
  }

  get disposed(): boolean {
    return this.#handle === 0;
  }

  /** The tokens of the sequence. */
  tokens(): Uint32Array<ArrayBuffer> {
    const out = new Uint32Array(this.position);
    const count = Uint32Array.of(out.length);
    this.check(this.model.library.calls.vitrine_session_tokens(this.handle, out, count));
    return out;
  }

  /** Place in the text behind the last token; the position, unless tokens were evicted. */
  get textEnd(): number {
    if (this.settings.evict === undefined) return this.position;
    const places = this.positions();
    return (places.at(-1) ?? -1) + 1 + this.position - places.length;
  }

  /** Where the sequence ends now, to come back to. */
  mark(): Mark {
    return { text: this.textEnd, shifted: this.#shifted };
  }

  /**
   * Forgets what was computed since, but for the first `count` tokens. What was shifted out of the context
   * or evicted in the meantime is gone.
   */
  backTo(mark: Mark, count: number): void {
    const place = mark.text + count;
    let end: number;
    if (this.settings.evict !== undefined) {
      end = place < this.textEnd ? this.positions().filter((p) => p < place).length : this.position;
    } else {
      const dropped = this.#shifted - mark.shifted;
      end = Math.max(Math.min(place, this.settings.shiftKeep), place - dropped);
    }
    this.truncate(Math.min(end, this.position));
  }

  /** Tokens that shifts of the context have dropped. */
  get #shifted(): number {
    return this.#info().getFloat64(SessionInfoLayout.tokens_shifted, true);
  }

  /** Forgets the tokens from `length` on. */
  truncate(length: number): void {
    this.lease.end();
    this.check(this.model.library.calls.vitrine_session_truncate(this.handle, length));
  }

  /** One row of logits; without a row the last one. */
  logits(
    row: number | undefined,
    out = new Float32Array(this.model.info.logits),
  ): Float32Array<ArrayBuffer> {
    const { vitrine_session_logits } = this.model.library.calls;
    this.check(vitrine_session_logits(this.handle, row ?? lastRow, out, out.length));
    return out;
  }

  /** Rows that `logits` has beside the last one. */
  get logitRows(): number {
    return this.#info().getUint32(SessionInfoLayout.logit_rows, true);
  }

  /** Gives the native session back; a request that still runs is cancelled, and not waited for. */
  dispose(): void {
    if (this.#handle === 0) return;
    this.lease.end();
    unguard(this);
    release(this.model, this.#handle);
    this.#handle = 0;
    // Whoever waits for a record shall see that there will be none.
    this.model.library.driver.kick();
  }

  /** Throws what a status of this session means. */
  check(status: number): void {
    check(this.model.library, status, this.#handle);
  }

  /**
   * Runs a request and yields its records, the end included. Whoever leaves the loop early cancels
   * the request; the loop is left when the engine has stopped. Whatever `signal` does is seen by the
   * engine at once, and here as an end.
   */
  async *run(
    tokens: Uint32Array<ArrayBuffer>,
    request: Request,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EngineRecord> {
    this.requireIdle();
    const { calls, driver } = this.model.library;
    this.hooks.apply();
    this.#endMeter();
    const packed = packRequest(request);
    const stages = request.stages;
    this.check(
      calls.vitrine_session_start(
        this.handle,
        packed,
        packed.length,
        tokens,
        tokens.length,
        stages,
      ),
    );
    this.lease.end();
    this.#busy = true;
    driver.acquire();
    const cancel = () => void calls.vitrine_session_cancel(this.#handle);
    signal?.addEventListener("abort", cancel);
    if (signal?.aborted) cancel();
    let done = false;
    const waits = !this.hooks.empty || request.functions !== undefined ||
      this.settings.evict?.choose !== undefined;
    const serving = waits ? this.#serve(request, cancel) : undefined;
    let failed: { readonly error: unknown } | undefined;
    try {
      while (!done) {
        const ticket = driver.wakes;
        const bytes = this.#take();
        done = this.#result.getUint32(TakeResultLayout.done, true) !== 0;
        const whole = this.#result.getUint32(TakeResultLayout.bytes_next, true) === 0;
        for (const record of unpackRecords(this.#taken, bytes)) yield record;
        // Whatever came after this look has a signal behind it.
        if (whole && !done) await driver.wait(ticket);
      }
    } finally {
      signal?.removeEventListener("abort", cancel);
      if (!done) await this.#drain(cancel);
      this.#busy = false;
      driver.kick();
      failed = await serving;
      await driver.release();
    }
    // What a hook or a stage threw has ended the request, and is what its reader gets.
    if (failed) throw failed.error;
  }

  /**
   * Serves the hooks of the running request, whoever reads its records and however slowly: other
   * requests would wait too. Returns what a hook threw.
   */
  async #serve(
    request: Request,
    cancel: () => void,
  ): Promise<{ readonly error: unknown } | undefined> {
    const { driver } = this.model.library;
    while (this.#busy && this.#handle !== 0) {
      const ticket = driver.wakes;
      try {
        if (this.hooks.answer(request)) continue;
      } catch (error) {
        cancel();
        return { error };
      }
      await driver.wait(ticket);
    }
    return undefined;
  }

  /** Cancels, and takes what is left until the engine has stopped. */
  async #drain(cancel: () => void): Promise<void> {
    const { driver } = this.model.library;
    cancel();
    while (this.#handle !== 0) {
      const ticket = driver.wakes;
      const bytes = this.#take();
      if (this.#result.getUint32(TakeResultLayout.done, true) !== 0) return;
      if (bytes === 0) await driver.wait(ticket);
    }
  }

  #take(): number {
    const { calls } = this.model.library;
    const result = this.#resultBytes;
    for (;;) {
      const into = this.#taken.bytes;
      this.check(
        calls.vitrine_session_take(this.handle, into, into.length, result, result.length),
      );
      const next = this.#result.getUint32(TakeResultLayout.bytes_next, true);
      const nothing = this.#result.getUint32(TakeResultLayout.bytes_taken, true) === 0;
      if (next <= into.length || !nothing) break;
      // One record is larger: a vocabulary may have tokens of any length.
      this.#taken = new RecordBuffer(next);
    }
    return this.#result.getUint32(TakeResultLayout.bytes_taken, true);
  }

  /** Keeps what passes read and compute, the youngest `passes` of them. */
  startMeter(passes: number): void {
    this.requireIdle();
    if (this.#meter === "on") {
      throw new RangeError("Expected a session without a meter, but found one that still runs");
    }
    this.check(this.model.library.calls.vitrine_session_meter(this.handle, passes));
    this.#meter = "on";
  }

  /** Ends it, at the next request if one is running. */
  endMeter(): void {
    this.#meter = "ending";
    if (!this.#busy && !this.disposed) this.#endMeter();
  }

  #endMeter(): void {
    if (this.#meter !== "ending") return;
    this.check(this.model.library.calls.vitrine_session_meter(this.handle, 0));
    this.#meter = "off";
  }

  /** The guesses that the running request waits for. */
  propose(tokens: Uint32Array<ArrayBuffer>): void {
    const { vitrine_session_propose } = this.model.library.calls;
    this.check(vitrine_session_propose(this.handle, tokens, tokens.length));
  }

  /** The error that ended the last request. */
  failure(): EngineError {
    const info = this.#info();
    return statusError(
      this.model.library,
      info.getInt32(SessionInfoLayout.failure, true),
      this.#handle,
    );
  }

  /** Times and counts of the last request. */
  stats(): SessionStats {
    const at = SessionStatsLayout;
    const view = new DataView(new ArrayBuffer(at.bytes));
    const bytes = new Uint8Array(view.buffer);
    this.check(this.model.library.calls.vitrine_session_stats(this.handle, bytes, bytes.length));
    const number = (offset: number) => view.getFloat64(offset, true);
    return {
      prefillTokens: number(at.prefill_tokens),
      prefillMs: number(at.prefill_ms),
      decodeTokens: number(at.decode_tokens),
      decodeMs: number(at.decode_ms),
      firstTokenMs: number(at.first_token_ms),
      reusedTokens: number(at.reused_tokens),
      reevaluatedTokens: number(at.reevaluated_tokens),
      evictedTokens: number(at.evicted_tokens),
      waits: number(at.waits),
      waitMs: number(at.wait_ms),
      passes: number(at.passes),
      drafted: number(at.drafted),
      accepted: number(at.accepted),
    };
  }

  #info(): DataView {
    const view = new DataView(new ArrayBuffer(SessionInfoLayout.bytes));
    const bytes = new Uint8Array(view.buffer);
    this.check(this.model.library.calls.vitrine_session_info(this.handle, bytes, bytes.length));
    return view;
  }
}

function release(model: ModelCore, handle: number): void {
  model.library.calls.vitrine_session_destroy(handle);
  model.release();
}

function packOptions(settings: SessionSettings): Uint8Array<ArrayBuffer> {
  const at = SessionOptionsLayout;
  const view = new DataView(new ArrayBuffer(at.bytes));
  view.setUint32(at.size, at.bytes, true);
  view.setUint32(at.version, 1, true);
  view.setUint32(at.context, settings.context, true);
  view.setUint32(at.key_format, CacheFormatId[settings.kv.base("key")], true);
  view.setUint32(at.value_format, CacheFormatId[settings.kv.base("value")], true);
  view.setUint32(at.chunk, settings.chunk, true);
  view.setInt32(at.shift_keep, settings.shiftKeep, true);
  view.setUint32(at.evict_every, 1, true);
  view.setUint32(at.evict_pooling, 1, true);
  for (const [name, value] of Object.entries(settings.evict?.fields ?? {})) {
    view.setUint32(at[name as keyof EvictSettings["fields"]], value, true);
  }
  const { windows } = settings.kv;
  view.setUint32(at.exact_format, CacheFormatId[windows.exact], true);
  view.setUint32(at.window_layers, windows.numbers().length / 2, true);
  return new Uint8Array(view.buffer);
}
