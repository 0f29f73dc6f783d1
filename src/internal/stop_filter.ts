/**
 * Finds stop strings in a stream of steps, also where one spans several tokens. A step whose text
 * could be the beginning of a stop string is held back until that is decided, and no longer.
 *
 * @module
 */
import type { Step } from "../step.ts";

export class StopFilter {
  readonly #stop: readonly string[];
  #held: Step[] = [];
  /** Whether a stop string was found; nothing more will be let through. */
  found = false;

  constructor(stop: readonly string[]) {
    this.#stop = stop;
  }

  /** Takes one step and returns those that may be shown. */
  push(step: Step): Step[] {
    if (this.#stop.length === 0) return [step];
    this.#held.push(step);
    const text = this.#held.map((held) => held.text).join("");
    const at = firstMatch(text, this.#stop);
    if (at !== undefined) {
      this.found = true;
      return this.#release(at, true);
    }
    return this.#release(text.length - pendingLength(text, this.#stop), false);
  }

  /** The stream has ended: what was held back is no stop string. */
  flush(): Step[] {
    const held = this.#held;
    this.#held = [];
    return this.found ? [] : held;
  }

  /**
   * Lets the steps pass that lie wholly before `end`. When a stop string begins there, the step that
   * it cuts passes with the text before it, and what follows is dropped.
   */
  #release(end: number, cut: boolean): Step[] {
    const passed: Step[] = [];
    let from = 0;
    for (let step = this.#held[0]; step; step = this.#held[0]) {
      const to = from + step.text.length;
      if (to > end || (cut && from >= end)) break;
      passed.push(step);
      this.#held.shift();
      from = to;
    }
    const step = this.#held[0];
    if (!cut || step === undefined) return passed;
    if (from < end) passed.push({ ...step, text: step.text.slice(0, end - from) });
    this.#held = [];
    return passed;
  }
}

function firstMatch(text: string, stop: readonly string[]): number | undefined {
  const places = stop.map((string) => text.indexOf(string)).filter((place) => place >= 0);
  return places.length === 0 ? undefined : Math.min(...places);
}

/** Length of the longest end of `text` that begins a stop string. */
function pendingLength(text: string, stop: readonly string[]): number {
  const longest = Math.max(...stop.map((string) => string.length)) - 1;
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const end = text.slice(text.length - length);
    if (stop.some((string) => string.startsWith(end))) return length;
  }
  return 0;
}
