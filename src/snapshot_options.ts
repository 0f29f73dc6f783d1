import type { Session } from "./session.ts";

/** How far a save or a restore has come. */
export interface SnapshotProgress {
  readonly phase: "save" | "restore";
  /** Bytes done. */
  readonly done: number;
  /** Bytes of the file; 0 while it isn't known. */
  readonly total: number;
}

interface CommonOptions {
  /** Ends it; what was there before stays as it is. */
  readonly signal?: AbortSignal | undefined;
  /** Is told now and then how far it has come. */
  readonly onProgress?: ((progress: SnapshotProgress) => void) | undefined;
}

/** Options of `Session.save`. */
export interface SaveOptions extends CommonOptions {
  /**
   * Sessions that go into the same file, behind this one: its forks, for instance. Pages of the cache that
   * they share are in the file once, and are shared again after `Model.restoreAll`.
   */
  readonly with?: readonly Session[] | undefined;
}

/** Options of `Session.restore`. */
export interface SessionRestoreOptions extends CommonOptions {
  /** Which of the file's sequences; 0 by default. */
  readonly sequence?: number | undefined;
}

/** Options of `Model.restore` and `Model.restoreAll`. */
export interface RestoreOptions extends CommonOptions {
  /** Tokens that the sessions can hold; by default as many as when they were saved. */
  readonly context?: number | undefined;
}
