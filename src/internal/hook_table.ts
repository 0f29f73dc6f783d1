/**
 * The hooks of a session: which points they are at, and what is done when the engine waits at one, or at a
 * sampler stage that is a function.
 *
 * @module
 */
import type { Activation, Hook } from "../activation.ts";
import { HookOfferLayout, HookPoint } from "../ffi/symbols.gen.ts";
import { nearest } from "../store/nearest.ts";
import { found } from "./check.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import { chooseKept, evictQuestion } from "./evict_settings.ts";
import type { Request } from "./request.ts";
import type { SessionCore } from "./session_core.ts";
import { callStage } from "./stage_call.ts";

type PointName = keyof typeof HookPoint;

/** In the order in which a layer comes to them. */
const layerPoints: readonly PointName[] = [
  ...["resid_pre", "k_pre", "q", "k", "v", "k_stored", "v_stored", "z"] as const,
  ...["attn_out", "resid_mid", "mlp_act", "mlp_out", "resid_post"] as const,
];

/** What only simulations look at: its rows are no tokens of the batch. */
const ownPoints: readonly PointName[] = ["k_group"];

/** Keys of whole groups of tokens, as simulations see them. */
export interface GroupActivation extends Activation {
  /** The KV heads that were replaced; the engine leaves the others as they were stored. */
  readonly replaced: Set<number>;
}

/** Where a hook can be, and what the engine calls it. */
interface Place {
  readonly name: string;
  readonly layer: number | undefined;
  readonly point: number;
}

/** One call of `hooks` or `record`. */
export interface HookSet {
  /** What is called at which point, by name. */
  readonly calls: ReadonlyMap<string, readonly Hook[]>;
  /** Whether the engine goes on with what the hooks leave. */
  readonly writes: boolean;
}

/** All points of a model of so many layers, in the order in which it comes to them. */
export function hookNames(layers: number): string[] {
  return placesOf(layers, layerPoints).map(({ name }) => name);
}

function placesOf(layers: number, points: readonly PointName[]): Place[] {
  const places: Place[] = [{ name: "embed", layer: undefined, point: HookPoint.embed }];
  for (let layer = 0; layer < layers; layer++) {
    for (const point of points) {
      places.push({ name: `blocks.${layer}.${point}`, layer, point: HookPoint[point] });
    }
  }
  return places;
}

/** The points that a pattern names; a `*` stands for any layer or point. */
export function matchingNames(pattern: unknown, layers: number): string[] {
  if (typeof pattern !== "string") {
    throw new TypeError(`Expected the name of a hook point, but found ${found(pattern)}`);
  }
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, "\\$&"));
  const expression = new RegExp(`^${parts.join("[^.]*")}$`);
  const names = hookNames(layers);
  const matching = names.filter((name) => expression.test(name));
  if (matching.length > 0) return matching;
  const near = nearest(pattern, names);
  throw new RangeError(
    `Expected a hook point (embed, or blocks.N.POINT with N from 0 to ${
      layers - 1
    } and POINT one of ` +
      `${layerPoints.join(", ")}), but found ${found(pattern)}` +
      (near === undefined ? "" : `; did you mean ${near}?`),
  );
}

export class HookTable {
  readonly #core: SessionCore;
  readonly #sets = new Set<HookSet>();
  #changed = false;

  constructor(core: SessionCore) {
    this.#core = core;
  }

  /** Adds hooks; what is returned takes them away again. */
  add(set: HookSet): () => void {
    // Throws after the session is gone.
    void this.#core.handle;
    this.#sets.add(set);
    this.#changed = true;
    return () => {
      if (this.#sets.delete(set)) this.#changed = true;
    };
  }

  get empty(): boolean {
    return this.#sets.size === 0;
  }

  /** Tells the engine where to wait, before a request. */
  apply(): void {
    if (!this.#changed) return;
    const { calls } = this.#core.model.library;
    const masks = new Uint32Array(this.empty ? 0 : this.#core.model.info.layers);
    if (!this.empty) {
      const wanted = new Set([...this.#sets].flatMap((set) => [...set.calls.keys()]));
      for (const { name, layer, point } of placesOf(masks.length, [...layerPoints, ...ownPoints])) {
        if (wanted.has(name)) masks[layer ?? 0]! |= 1 << point;
      }
    }
    this.#core.check(calls.vitrine_hooks_set(this.#core.handle, masks, masks.length));
    this.#changed = false;
  }

  /** Serves the hook or the stage that the engine waits at; false when it doesn't wait. */
  answer(request: Request): boolean {
    const core = this.#core;
    const { calls } = core.model.library;
    const view = new DataView(new ArrayBuffer(HookOfferLayout.bytes));
    const bytes = new Uint8Array(view.buffer);
    core.check(calls.vitrine_hooks_current(core.handle, bytes, bytes.length));
    const number = (offset: number) => view.getUint32(offset, true);
    if (number(HookOfferLayout.waiting) === 0) return false;
    try {
      const [rows, width] = [number(HookOfferLayout.rows), number(HookOfferLayout.width)];
      const stage = number(HookOfferLayout.stage);
      if (stage === evictQuestion) {
        this.#evict(number(HookOfferLayout.position), width);
        return true;
      }
      if (stage !== 0) {
        this.#sample(request, stage, {
          position: number(HookOfferLayout.position),
          width,
          text: number(HookOfferLayout.history),
        });
        return true;
      }
      this.#call(number(HookOfferLayout.point), number(HookOfferLayout.layer), {
        position: number(HookOfferLayout.position),
        rows,
        width,
        values: new Float32Array(rows * width),
      });
    } catch (error) {
      // Before the engine goes on: the pass shall not end.
      if (!core.disposed) calls.vitrine_session_cancel(core.handle);
      throw error;
    } finally {
      if (!core.disposed) core.check(calls.vitrine_hooks_proceed(core.handle));
    }
    return true;
  }

  /** Lets a function say which tokens of the cache stay; one that fails says NaN. */
  #evict(next: number, count: number): void {
    const core = this.#core;
    const { calls } = core.model.library;
    const [positions, scores] = [new Uint32Array(count), new Float32Array(count)];
    // The request may have been cancelled meanwhile.
    if (calls.vitrine_hooks_ids(core.handle, positions, count) !== 0) return;
    if (calls.vitrine_hooks_read(core.handle, scores, count) !== 0) return;
    let answer = new Float32Array(count).fill(NaN);
    try {
      answer = chooseKept(
        core.settings.evict,
        next,
        positions,
        scores,
        core.settings.kv.windows.widest,
      );
    } finally {
      if (!core.disposed) calls.vitrine_hooks_write(core.handle, answer, count);
    }
  }

  /** Lets a stage that is a function write the candidates; one that fails leaves none. */
  #sample(
    request: Request,
    number: number,
    { position, width, text }: { position: number; width: number; text: number },
  ): void {
    const core = this.#core;
    const { calls } = core.model.library;
    const [ids, logits] = [new Uint32Array(width), new Float32Array(width)];
    // The request may have been cancelled meanwhile.
    if (calls.vitrine_hooks_ids(core.handle, ids, width) !== 0) return;
    if (calls.vitrine_hooks_read(core.handle, logits, width) !== 0) return;
    const stage = request.functions?.[number - 1] as SamplerStage;
    const key = { seed: request.seed, sequence: 0, position };
    const readHistory = () => {
      const history = new Uint32Array(text);
      core.check(calls.vitrine_hooks_history(core.handle, history, text));
      return history;
    };
    try {
      callStage(stage, number, key, ids, logits, readHistory);
    } catch (error) {
      logits.fill(-Infinity);
      throw error;
    } finally {
      if (!core.disposed) calls.vitrine_hooks_write(core.handle, logits, width);
    }
  }

  #call(point: number, layer: number, rows: Omit<Activation, "name" | "layer">): void {
    const core = this.#core;
    const { calls } = core.model.library;
    const { values } = rows;
    const place = placesOf(core.model.info.layers, [...layerPoints, ...ownPoints]).find((place) =>
      place.point === point && (place.layer ?? 0) === layer
    ) as Place;
    const isOwn = ownPoints.some((own) => HookPoint[own] === point);
    // The request may have been cancelled meanwhile: then nobody needs the values.
    if (calls.vitrine_hooks_read(core.handle, values, values.length) !== 0) return;
    let written = false;
    const replaced = new Set<number>();
    for (const set of this.#sets) {
      const hooks = set.calls.get(place.name);
      if (hooks === undefined) continue;
      // Who only looks gets a copy of its own.
      const shown = set.writes ? values : values.slice();
      for (const hook of hooks) {
        const returned: unknown = hook({
          ...rows,
          name: place.name,
          layer: place.layer,
          values: shown,
          ...(isOwn && { replaced }),
        });
        if (set.writes) replace(shown, returned, place.name);
      }
      written ||= set.writes;
    }
    if (isOwn) blank(rows, core.settings.kv.shape.heads, replaced);
    if (written && !core.disposed) calls.vitrine_hooks_write(core.handle, values, values.length);
  }
}

/** Fills the heads that nobody has replaced with NaN, by which the engine knows them. */
function blank(
  { values, rows, width }: Pick<Activation, "values" | "rows" | "width">,
  heads: number,
  replaced: ReadonlySet<number>,
): void {
  const length = width / heads;
  for (let head = 0; head < heads; head++) {
    if (replaced.has(head)) continue;
    for (let row = 0; row < rows; row++) {
      const from = row * width + head * length;
      values.fill(NaN, from, from + length);
    }
  }
}

/** Takes what a hook returned in place of what it was shown. */
function replace(values: Float32Array, returned: unknown, name: string): void {
  if (returned instanceof Promise) {
    throw new TypeError(`Expected the hook at ${name} to return at once, but found a Promise`);
  }
  if (!(returned instanceof Float32Array) || returned === values) return;
  if (returned.length !== values.length) {
    throw new RangeError(
      `Expected the hook at ${name} to return ${values.length} values, but found ${returned.length}`,
    );
  }
  values.set(returned);
}
