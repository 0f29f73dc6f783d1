import type { KvFormat } from "./kv_format.ts";
import type { KvPolicy, KvRule, KvStored } from "./kv_policy.ts";

/**
 * A cache policy whose formats need not exist: what a quantiser leaves of keys and values is computed
 * before they are stored in full, so that a new scheme needs no kernel. Each `KvPolicy` is one too, and
 * simulates what it would store. `Session.simulateKv` and `compareKv` take it. Functions apart it is JSON.
 */
export interface KvSimulation extends Omit<KvPolicy, "key" | "value" | "rules"> {
  /** Of the keys where no rule says otherwise; without it they stay as they are. */
  readonly key?: KvQuantiser | undefined;
  /** Of the values where no rule says otherwise; without it they stay as they are. */
  readonly value?: KvQuantiser | undefined;
  /** Exceptions. Where several fit, the last one holds. */
  readonly rules?:
    | readonly (Omit<KvRule, "format"> & { readonly format?: KvQuantiser | undefined })[]
    | undefined;
}

/** A real format, a scheme, or a function of your own. */
export type KvQuantiser = KvFormat | KvStored | KvScheme | KvFunction;

/**
 * A quantiser of small integers. Values are taken in groups, each with a scale and, unless it is
 * symmetric, a minimum.
 */
export interface KvScheme {
  /** Bits of a value, from 1 to 8; from 2 when it is symmetric. */
  readonly bits: number;
  /**
   * Along what a group lies: values of one token (`"token"`, the default), or one channel of tokens that
   * follow each other (`"channel"`), in groups that begin at multiples of `group` and that the end of a
   * piece of a prompt cuts short.
   */
  readonly axis?: "token" | "channel" | undefined;
  /** Values in a group; 32 by default. */
  readonly group?: number | undefined;
  /** Whether zero is a level and the scale goes by the largest magnitude; false by default. */
  readonly symmetric?: boolean | undefined;
  /**
   * The levels instead of evenly spaced ones: up to 2^bits numbers from -1 to 1, which stand for the
   * smallest and the largest of a group. `kvLevels` finds some.
   */
  readonly levels?: readonly number[] | undefined;
  /** How scales and minima are rounded; `"f16"` by default. */
  readonly scale?: "f16" | "f32" | undefined;
  /**
   * Share of the values, from 0 to 0.5, that are kept as they are: those furthest from the mean of their
   * group in its standard deviations.
   */
  readonly outliers?: number | undefined;
  /**
   * Whether each head is multiplied with a Hadamard matrix first, and back afterwards; false by default. A
   * session with tokens at full precision keeps these behind the rotation too: make it with
   * `{ format, rotate: true }`.
   */
  readonly rotate?: boolean | undefined;
  /** Whether keys are quantised before their rotary embedding; false by default. */
  readonly beforeRope?: boolean | undefined;
  /** Tokens at the beginning that are kept as they are; 0 by default. */
  readonly sinks?: number | undefined;
}

/** What a function is given. */
export interface KvBlock {
  readonly which: "key" | "value";
  readonly layer: number;
  readonly head: number;
  /** Position of the first row. */
  readonly position: number;
  readonly rows: number;
  /** Values of a row. */
  readonly length: number;
}

/**
 * Replaces [rows][length] values of one head: writes into them, or returns an array of that length. It is
 * called as a hook is (`Hook`).
 */
export type KvFunction = (
  values: Float32Array<ArrayBuffer>,
  block: KvBlock,
) => Float32Array | void;
