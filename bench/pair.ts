/**
 * Two engines with one model, measured in turns: machines are noisy, and what slows one round slows
 * the neighbouring one too. Where both don't fit into memory they are measured one after the other,
 * and the row says so.
 *
 * @module
 */

import type { MachineLimits } from "../mod.ts";
import type { Driver } from "./driver.ts";
import { readSensors, type Sensors, wattsBetween } from "./machine.ts";

/** Starts an engine. */
export type Starter = () => Promise<Driver>;

/** What is done with an engine. */
export interface Measurement {
  /** Before the first round: makes a context, fills a cache. */
  readonly prepare: (driver: Driver) => Promise<void>;
  /** One round; returns the figures of its answer. */
  readonly round: (driver: Driver) => Promise<number[]>;
}

/**
 * The figures of each round. The first one, which pays for page faults and low clocks, is left out, unless
 * the row has no time for another: in so long a round they are too little to be seen.
 */
export interface Rounds {
  readonly ours: number[][];
  readonly peer: number[][];
  /** Limits of the machine before and after each of our rounds. */
  readonly looks: MachineLimits[][];
  /** Mean power while the rounds ran, and the temperature after them, where the system tells. */
  readonly watts: number | undefined;
  readonly celsius: number | undefined;
}

/** How long a row may take. */
export interface Patience {
  /** Counted rounds of each engine, at most. */
  readonly rounds: number;
  /** A row whose rounds take longer gets fewer of them, but one. */
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** Measures the limits of the machine; called between rounds, for rows that have a limit. */
  readonly look?: () => MachineLimits;
}

export class Pair implements AsyncDisposable {
  #startOurs: Starter;
  #startPeer: Starter | undefined;
  readonly #together: boolean;
  readonly #patience: Patience;
  #ours: Driver | undefined;
  #peer: Driver | undefined;

  /** `together`: both fit into memory. */
  constructor(ours: Starter, together: boolean, patience: Patience) {
    this.#startOurs = ours;
    this.#together = together;
    this.#patience = patience;
  }

  get together(): boolean {
    return this.#together;
  }

  /** The peer of the measurements that follow; none leaves it out. */
  async usePeer(start: Starter | undefined): Promise<void> {
    if (start === this.#startPeer) return;
    await this.#end("peer");
    this.#startPeer = start;
  }

  /** Measures in turns. The peer may be asked differently, as its best setting wants it. */
  async measure(ours: Measurement, peer: Measurement = ours): Promise<Rounds> {
    const before = readSensors();
    const looks: MachineLimits[][] = [];
    const sides = [
      { who: "ours", how: ours, rounds: [] as number[][] },
      ...(this.#startPeer === undefined
        ? []
        : [{ who: "peer", how: peer, rounds: [] as number[][] } as const]),
    ] as const;
    if (this.#together || sides.length === 1) {
      for (const { who, how } of sides) await how.prepare(await this.driver(who));
      await this.#turns(sides, looks);
    } else {
      for (const side of sides) {
        await this.#end(side.who === "ours" ? "peer" : "ours");
        await side.how.prepare(await this.driver(side.who));
        await this.#turns([side], side.who === "ours" ? looks : []);
        await this.#end(side.who);
      }
    }
    return {
      ours: sides[0].rounds,
      peer: sides[1]?.rounds ?? [],
      looks,
      ...sensed(before, readSensors()),
    };
  }

  async #turns(
    sides: readonly {
      readonly who: "ours" | "peer";
      readonly how: Measurement;
      readonly rounds: number[][];
    }[],
    looks: MachineLimits[][],
  ): Promise<void> {
    const { rounds, seconds, signal, look } = this.#patience;
    let count = rounds;
    let before = look?.();
    for (let i = 0; i <= count; i++) {
      const begun = performance.now();
      for (const side of sides) {
        signal.throwIfAborted();
        side.rounds.push(await side.how.round(await this.driver(side.who)));
      }
      const took = (performance.now() - begun) / 1000;
      const after = look?.();
      if (before !== undefined && after !== undefined) looks.push([before, after]);
      before = after;
      if (i > 0) continue;
      if (2 * took > seconds) break;
      count = Math.min(rounds, Math.max(1, Math.floor(seconds / took) - 1));
      for (const side of sides) side.rounds.length = 0;
      looks.length = 0;
    }
  }

  /** A running engine. */
  async driver(who: "ours" | "peer"): Promise<Driver> {
    if (who === "ours") return this.#ours ??= await this.#startOurs();
    if (this.#startPeer === undefined) throw new Error("Expected a peer, but there is none");
    return this.#peer ??= await this.#startPeer();
  }

  /** Ends one engine, so that its memory is free; it starts again when it is needed. */
  async #end(who: "ours" | "peer"): Promise<void> {
    if (who === "ours") {
      await this.#ours?.[Symbol.asyncDispose]();
      this.#ours = undefined;
    } else {
      await this.#peer?.[Symbol.asyncDispose]();
      this.#peer = undefined;
    }
  }

  /** Ends both, for measurements that bring their own engines. */
  async rest(): Promise<void> {
    await this.#end("ours");
    await this.#end("peer");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.rest();
  }
}

function sensed(before: Sensors, after: Sensors): Pick<Rounds, "watts" | "celsius"> {
  return { watts: wattsBetween(before, after), celsius: after.celsius };
}
