/**
 * Runs a `KvSimulation` on a session, through hooks at keys and values.
 *
 * @module
 */
import type { Activation, Hook } from "../activation.ts";
import { check } from "../ffi/library.ts";
import { KvSideId } from "../ffi/symbols.gen.ts";
import { type KvFormat, kvFormats, kvGroupFormats } from "../kv_format.ts";
import type { KvStored } from "../kv_policy.ts";
import type { KvBlock, KvFunction, KvScheme, KvSimulation } from "../kv_simulation.ts";
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkInteger,
  checkNumber,
  found,
} from "./check.ts";
import { groupMin, inGroups, keyGroup, keyGroupMax, kvBits } from "./kv_layout.ts";
import {
  checkGroup,
  checkRuled,
  checkStored,
  fewerHint,
  formatCode,
  isStored,
  type KvTable,
  type KvTableShape,
  layOut,
  storedOf,
} from "./kv_table.ts";
import type { GroupActivation } from "./hook_table.ts";
import type { ModelCore } from "./model_core.ts";
import { KvWindows } from "./kv_windows.ts";
import { hadamard, quantise, type Scheme, schemeBits } from "./quantise.ts";

/** A checked quantiser; `"as is"` leaves values alone. */
type Checked = KvFormat | KvStored | Scheme | KvFunction | "as is";

const schemeFields = [
  ...["bits", "axis", "group", "symmetric", "levels", "scale", "outliers", "rotate"],
  ...["beforeRope", "sinks"],
];

/** A simulation, checked and laid out over the heads of a model. */
export class SimulationTable {
  readonly #shape: KvTableShape;
  /** [layers][heads][key, value]. */
  readonly #quantisers: readonly Checked[];
  /** Tokens at full precision, which pass through nothing. */
  readonly windows: KvWindows;

  /** `what` names the simulation in errors. */
  constructor(given: KvSimulation, shape: KvTableShape, what: string) {
    const checked = checkRuled<Checked>(given, what, checkQuantiser);
    const { key = "as is", value = "as is" } = checked;
    this.#shape = shape;
    this.#quantisers = layOut({ ...checked, key, value }, shape, what);
    this.windows = new KvWindows(checked, shape.layers);
    for (const [i, quantiser] of this.#quantisers.entries()) {
      if (typeof quantiser !== "object") continue;
      const [which, length] = i % 2 === 0
        ? ["key", shape.keyLength] as const
        : ["value", shape.valueLength] as const;
      if (isStored(quantiser)) checkGroup(storedOf(quantiser, which, length), length, what);
      if (quantiser.rotate && (length & (length - 1)) !== 0) {
        throw new RangeError(
          `Expected heads of a power of two of values to rotate in ${what}, but found ${length}`,
        );
      }
      if (i % 2 === 1 && isEarly(quantiser)) {
        throw new RangeError(
          `Expected keys to quantise before their rotation in ${what}, but found values`,
        );
      }
    }
  }

  /**
   * Whether a session has the tokens at full precision that the simulation is for, and stores keys where they
   * are quantised.
   */
  checkStore(store: KvTable, what: string): void {
    const found = store.windows;
    this.#checkGroups(found, what);
    if (!this.windows.any || this.windows.equals(found)) {
      this.#checkTurned(store, what);
      return this.#checkEarly(store, what);
    }
    const text = ({ layers, exact }: KvWindows) =>
      layers.map(({ sinks, recent }) => `${sinks} + ${recent}`).join(", ") + ` in ${exact}`;
    throw new RangeError(
      `Expected a session that keeps the sinks and recent tokens of ${what} at full precision ` +
        `(by layer ${text(this.windows)}), but found ${
          text(found)
        }; make it with the same sinks, ` +
        "recent and exact",
    );
  }

  /** Tokens at full precision lie behind the same Hadamard rotation as those that are quantised. */
  #checkTurned(store: KvTable, what: string): void {
    for (const [i, quantiser] of this.#quantisers.entries()) {
      if (!isTurned(quantiser)) continue;
      const { heads } = this.#shape;
      const which = i % 2 === 0 ? "key" : "value";
      const [layer, head] = [Math.floor(i / 2 / heads), Math.floor(i / 2) % heads];
      if (store.stored(which, layer, head).rotate || !store.windows.has(layer)) continue;
      throw new RangeError(
        `Expected a session that stores ${which}s behind a Hadamard rotation in layer ${layer}, which has ` +
          `tokens at full precision, as ${what} quantises them there; make it with ` +
          "{ format, rotate: true }, but found one that stores them without",
      );
    }
  }

  /** What is quantised before the rotation can't be stored in full behind it, nor the other way round. */
  #checkEarly(store: KvTable, what: string): void {
    for (const [i, quantiser] of this.#quantisers.entries()) {
      if (i % 2 === 1 || quantiser === "as is") continue;
      const { heads } = this.#shape;
      const [layer, head] = [Math.floor(i / 2 / heads), Math.floor(i / 2) % heads];
      const { beforeRope } = store.stored("key", layer, head);
      if (isEarly(quantiser) && !beforeRope && store.windows.has(layer)) {
        throw new RangeError(
          `Expected a session that stores keys before their rotary embedding in layer ${layer}, which ` +
            `has tokens at full precision, as ${what} quantises them there; make it with ` +
            `{ format, beforeRope: true }, but found one that stores them behind it`,
        );
      }
      if (!beforeRope || isEarly(quantiser) || typeof quantiser === "function") continue;
      throw new RangeError(
        `Expected ${what} to quantise keys of layer ${layer}, KV head ${head}, before their rotary ` +
          "embedding, because the session stores them so, but found a quantiser without beforeRope",
      );
    }
  }

  /** Formats that round keys in groups of tokens wait for the last of each. */
  #checkGroups(found: KvWindows, what: string): void {
    for (const [i, quantiser] of this.#quantisers.entries()) {
      if (i % 2 === 1 || quantiser === "as is") continue;
      if (typeof quantiser !== "string" && !isStored(quantiser)) continue;
      const head = storedOf(quantiser, "key", this.#shape.keyLength);
      const { format } = head;
      const layer = Math.floor(i / 2 / this.#shape.heads);
      const { recent } = found.layers[layer]!;
      if (keyGroup(head) <= Math.max(1, recent)) continue;
      throw new RangeError(
        `Expected a session that keeps at least ${head.group} recent tokens of layer ${layer} at ` +
          `full precision, because keys of ${what} in ${format} are rounded so many at a time, but ` +
          `found ${recent}${fewerHint(head)}`,
      );
    }
  }

  /** Mean bits of a value; NaN where a function decides. */
  bits(which: "key" | "value"): number {
    const own = this.#quantisers.filter((_, i) => i % 2 === (which === "key" ? 0 : 1));
    const length = which === "key" ? this.#shape.keyLength : this.#shape.valueLength;
    return own.reduce((sum, quantiser) => sum + bitsOf(quantiser, which, length), 0) / own.length;
  }

  /** The functions that do it, by names of hook points. */
  hooks(core: ModelCore, store: KvTable): Map<string, Hook[]> {
    const hooks = new Map<string, Hook[]>();
    const { layers, heads } = this.#shape;
    for (let layer = 0; layer < layers; layer++) {
      const shown = shownGroup(store.windows.layers[layer]!.recent);
      for (const [point, which] of points) {
        const own = Array.from({ length: heads }, (_, head): Checked => {
          const at = 2 * (layer * heads + head) + (which === "key" ? 0 : 1);
          const quantiser = this.#quantisers[at] as Checked;
          const { beforeRope } = store.stored(which, layer, head);
          return placeOf(quantiser, which, shown, beforeRope) === point ? quantiser : "as is";
        });
        if (own.every((quantiser) => quantiser === "as is")) continue;
        // Keys before their rotary embedding are seen before the other rotation, too.
        const turned = own.map((_, head) =>
          point !== "k_pre" && store.stored(which, layer, head).rotate
        );
        hooks.set(`blocks.${layer}.${point}`, [
          (activation) => apply(core, own, which, activation, turned),
        ]);
      }
    }
    return hooks;
  }
}

/** Where keys and values pass by; and whether that is before the rotation. */
const points = [
  ["k_pre", "key"],
  ["k_stored", "key"],
  ["k_group", "key"],
  ["v_stored", "value"],
] as const;

/** How many tokens' keys the engine shows together, when the last of them is there; 0 where it shows none. */
function shownGroup(recent: number): number {
  return recent >= keyGroupMax ? keyGroupMax : recent >= groupMin ? groupMin : 0;
}

/**
 * Where a quantiser sees its values; `shown` says how many tokens' keys can be seen together, and `stored`
 * whether they are stored before their rotation.
 */
function placeOf(
  quantiser: Checked,
  which: "key" | "value",
  shown: number,
  stored: boolean,
): (typeof points)[number][0] {
  if (which === "value") return "v_stored";
  if (isEarly(quantiser) && !stored) return "k_pre";
  return shown > 0 && wantsGroups(quantiser, shown) ? "k_group" : "k_stored";
}

/** Whether keys are rounded in groups of tokens of which so many tokens are some. */
function wantsGroups(quantiser: Checked, shown: number): boolean {
  if (isStored(quantiser)) return inGroups(quantiser.format);
  if (typeof quantiser === "object") {
    return quantiser.axis === "channel" && shown % quantiser.group === 0;
  }
  return typeof quantiser === "string" && quantiser !== "as is" && inGroups(quantiser);
}

function isEarly(quantiser: Checked): boolean {
  return typeof quantiser === "object" && quantiser.beforeRope === true;
}

function isTurned(quantiser: Checked): boolean {
  return typeof quantiser === "object" && quantiser.rotate === true;
}

/** Of a value, in heads of so many. */
function bitsOf(quantiser: Checked, which: "key" | "value", length: number): number {
  if (quantiser === "as is") return 32;
  if (typeof quantiser === "string" || isStored(quantiser)) {
    return kvBits(storedOf(quantiser, which, length), length);
  }
  return typeof quantiser === "function" ? NaN : schemeBits(quantiser);
}

function checkQuantiser(given: unknown, what: string): Checked | undefined {
  if (typeof given === "function") return given as KvFunction;
  if (isStored(given)) return checkStored(given, what);
  if (typeof given !== "object" || given === null) {
    return checkChoice(given, [...kvFormats, ...kvGroupFormats], what);
  }
  return checkScheme(given, what);
}

/** A scheme with its defaults. */
export function checkScheme(given: unknown, what: string): Scheme {
  checkFields(given, schemeFields, what);
  const scheme = given as Partial<KvScheme>;
  const symmetric = checkBoolean(scheme.symmetric, `${what}.symmetric`) ?? false;
  const bits = checkInteger(scheme.bits, symmetric ? 2 : 1, 8, `${what}.bits`);
  const whole = (value: unknown, low: number, name: string) =>
    value === undefined ? undefined : checkInteger(value, low, 1 << 20, `${what}.${name}`);
  const { levels, outliers } = scheme;
  if (levels !== undefined) checkLevels(levels, bits, `${what}.levels`);
  return {
    bits,
    symmetric,
    axis: checkChoice(scheme.axis, ["token", "channel"], `${what}.axis`) ?? "token",
    group: whole(scheme.group, 1, "group") ?? 32,
    ...(levels && { levels: [...levels] }),
    scale: checkChoice(scheme.scale, ["f16", "f32"], `${what}.scale`) ?? "f16",
    outliers: outliers === undefined
      ? 0
      : checkNumber(outliers, (x) => x >= 0 && x <= 0.5, "from 0 to 0.5", `${what}.outliers`),
    rotate: checkBoolean(scheme.rotate, `${what}.rotate`) ?? false,
    beforeRope: checkBoolean(scheme.beforeRope, `${what}.beforeRope`) ?? false,
    sinks: whole(scheme.sinks, 0, "sinks") ?? 0,
  };
}

function checkLevels(levels: unknown, bits: number, what: string): void {
  if (!Array.isArray(levels) || levels.length === 0 || levels.length > 2 ** bits) {
    throw new TypeError(
      `Expected ${what} to be up to ${2 ** bits} numbers, but found ${found(levels)}`,
    );
  }
  for (const level of levels) checkNumber(level, (x) => Math.abs(x) <= 1, "from -1 to 1", what);
}

/** Replaces the rows of all heads of a layer, of which some are seen behind a Hadamard rotation. */
function apply(
  core: ModelCore,
  quantisers: readonly Checked[],
  which: "key" | "value",
  activation: Activation,
  turned: readonly boolean[],
): void {
  const { values, rows, width, position, layer } = activation;
  const length = width / quantisers.length;
  for (const [head, quantiser] of quantisers.entries()) {
    if (quantiser === "as is") continue;
    const own = new Float32Array(rows * length);
    for (let row = 0; row < rows; row++) {
      const from = row * width + head * length;
      own.set(values.subarray(from, from + length), row * length);
    }
    const block = { which, layer: layer as number, head, position, rows, length };
    const left = leave(core, own, quantiser, block, turned[head] as boolean);
    if ("replaced" in activation) (activation as GroupActivation).replaced.add(head);
    for (let row = 0; row < rows; row++) {
      values.set(left.subarray(row * length, (row + 1) * length), row * width + head * length);
    }
  }
}

/** What the quantiser leaves of the values of one head; a function's are what they are. */
function leave(
  core: ModelCore,
  values: Float32Array<ArrayBuffer>,
  quantiser: KvFormat | KvStored | Scheme | KvFunction,
  block: KvBlock,
  turned: boolean,
): Float32Array {
  if (typeof quantiser === "string" || isStored(quantiser)) {
    const rotate = isTurned(quantiser) !== turned;
    if (rotate) hadamard(values, block.length);
    roundStored(core, values, quantiser, block);
    if (rotate) hadamard(values, block.length);
    return values;
  }
  if (typeof quantiser === "object") {
    quantise(values, block, { ...quantiser, rotate: quantiser.rotate !== turned });
    return values;
  }
  const returned: unknown = quantiser(values, block);
  if (returned === undefined) return values;
  if (returned instanceof Float32Array && returned.length === values.length) return returned;
  const size = returned instanceof Float32Array ? `${returned.length} values` : found(returned);
  throw new TypeError(
    `Expected the quantiser of layer ${block.layer} to return ${values.length} values, but found ${size}`,
  );
}

/** Leaves what a cache would keep, as the engine rounds it. */
function roundStored(
  core: ModelCore,
  values: Float32Array<ArrayBuffer>,
  stored: KvFormat | KvStored,
  { which, length }: KvBlock,
): void {
  const { vitrine_model_kv_round } = core.library.calls;
  // Rotations are the caller's, as is where keys are seen.
  const code = formatCode({ ...storedOf(stored, which, length), rotate: false, beforeRope: false });
  check(
    core.library,
    vitrine_model_kv_round(core.handle, code, KvSideId[which], values, values.length, length),
    core.handle,
  );
}
