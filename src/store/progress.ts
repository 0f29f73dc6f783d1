/** How far the fetching of a model has come. */
export interface PullProgress {
  /** Waiting for another process that fetches the same file; transferring; checking the checksum. */
  readonly phase: "wait" | "download" | "verify";
  /** Name of the file. */
  readonly name: string;
  /** Bytes done. */
  readonly done: number;
  /** Bytes in all; 0 while it isn't known. */
  readonly total: number;
}

/** What every way of fetching takes. */
export interface PullSettings {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** Lets a report through at most every `ms` milliseconds, and always when `force` is set. */
export function throttle<Report>(
  report: ((value: Report) => void) | undefined,
  ms: number,
): (value: Report, force?: boolean) => void {
  let last = -Infinity;
  return (value, force = false) => {
    const now = performance.now();
    if (!force && now - last < ms) return;
    last = now;
    report?.(value);
  };
}
