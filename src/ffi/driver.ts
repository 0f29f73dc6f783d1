/**
 * Turns native wake-ups into promises. A native notifier thread calls one argless callback, many
 * signals at a time; everybody who waits then looks at their own buffers. Nobody polls.
 *
 * @module
 */
import type { Opened, WakeCallback } from "./library.ts";

/** How long a notifier that nobody needs is kept, so that a loop of single steps starts one thread. */
const lingerMs = 20;

/** Waits for wake-ups of one JavaScript thread. */
export class Driver {
  readonly #library: Opened;
  #callback: WakeCallback | undefined;
  #slot: number | undefined;
  #users = 0;
  #wakes = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #waiting: (() => void)[] = [];
  #joining: Promise<void> = Promise.resolve();

  constructor(library: Opened) {
    this.#library = library;
  }

  /** How often JavaScript has been woken; a ticket for `wait`. */
  get wakes(): number {
    return this.#wakes;
  }

  /** Begins to listen. Each call is undone by one `release`. */
  acquire(): void {
    this.#users++;
    if (this.#idle !== undefined) {
      clearTimeout(this.#idle);
      this.#idle = undefined;
    }
    if (this.#slot === undefined) this.#start();
    if (this.#users === 1) this.#callback?.hold();
  }

  /**
   * Stops listening when nobody else does. In a worker the promise resolves when the notifier thread
   * has ended, because a worker may be terminated as soon as it has its result, and a callback into
   * it must not come afterwards. The main thread keeps the notifier for a moment instead.
   */
  release(): Promise<void> {
    if (--this.#users > 0) return Promise.resolve();
    this.#callback?.release();
    if (!this.#library.inWorker) {
      this.#idle = setTimeout(() => this.#stop(), lingerMs);
      return Promise.resolve();
    }
    this.#stop();
    return this.#joining;
  }

  /**
   * Resolves at the first wake-up after `ticket` was read from `wakes`. Read the ticket, look at the
   * buffer, then wait: a signal that comes in between isn't lost.
   */
  wait(ticket: number): Promise<void> {
    if (ticket !== this.#wakes) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #start(): void {
    this.#callback ??= this.#library.wakeCallback(() => this.kick());
    const slot = new Uint32Array(1);
    const status = this.#library.calls.vitrine_wake_register(this.#callback.pointer, slot);
    if (status !== 0) throw new Error(`The notifier thread can't be started (status ${status})`);
    this.#slot = slot[0];
  }

  #stop(): void {
    this.#idle = undefined;
    const slot = this.#slot;
    if (slot === undefined) return;
    this.#slot = undefined;
    this.#library.calls.vitrine_wake_unregister(slot);
    this.#joining = this.#joining.then(() => this.#library.joinWake(slot));
  }

  /** Wakes everybody who waits, as a native signal does. */
  kick(): void {
    this.#wakes++;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
