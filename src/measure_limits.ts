import { EngineError } from "./engine_error.ts";
import { check, type Library, openLibrary, statusError } from "./ffi/library.ts";
import { LimitsLayout, LimitsPhase } from "./ffi/symbols.gen.ts";
import { checkFields, checkInteger } from "./internal/check.ts";
import type { MachineLimits } from "./machine_limits.ts";

/**
 * Measures what this machine can do at most: the bandwidth of its memory, and the arithmetic of the
 * CPU variant that the engine uses. Takes about a second, during which nothing else should run.
 *
 * Generating a token reads every weight once, so that the bandwidth bounds it; reading a prompt is
 * bound by the arithmetic.
 *
 * @param options How many threads, by default one for each physical core, and how many mebibytes of
 *   memory are read, by default 1024, but at most a quarter of the machine's.
 * @returns The limits.
 *
 * @example
 * ```ts
 * import { measureLimits } from "./mod.ts";
 *
 * const limits = await measureLimits({ threads: 1, mebibytes: 64 });
 * console.log(limits.cpuVariant, limits.readBytes / 1e9, "GB/s", limits.int8Ops / 1e9, "Gop/s");
 * ```
 */
export async function measureLimits(
  options: { readonly threads?: number | undefined; readonly mebibytes?: number | undefined } = {},
): Promise<MachineLimits> {
  checkFields(options, ["threads", "mebibytes"], "measureLimits");
  const { threads, mebibytes } = options;
  if (threads !== undefined) checkInteger(threads, 1, 256, "threads");
  if (mebibytes !== undefined) checkInteger(mebibytes, 1, 1 << 20, "mebibytes");
  const library = await openLibrary();
  const { calls, driver } = library;
  const view = new DataView(new ArrayBuffer(LimitsLayout.bytes));
  const bytes = new Uint8Array(view.buffer);
  driver.acquire();
  try {
    check(library, calls.vitrine_limits_start(threads ?? 0, mebibytes ?? 0), 0);
    for (;;) {
      const ticket = driver.wakes;
      check(library, calls.vitrine_limits_state(bytes, bytes.length), 0);
      if (view.getUint32(LimitsLayout.phase, true) !== LimitsPhase.running) break;
      await driver.wait(ticket);
    }
  } finally {
    await driver.release();
  }
  const text = readText(library);
  if (view.getUint32(LimitsLayout.phase, true) !== LimitsPhase.ready) {
    const { code, message } = statusError(library, view.getInt32(LimitsLayout.status, true), 0);
    throw new EngineError(code, text || message);
  }
  return limitsOf(view, text);
}

function limitsOf(view: DataView, cpuVariant: string): MachineLimits {
  const at = LimitsLayout;
  const number = (offset: number) => view.getFloat64(offset, true);
  const reads = {
    one: number(at.read_one),
    four: number(at.read_four),
    ahead: number(at.read_ahead),
  };
  return {
    cpuVariant,
    threads: view.getUint32(at.threads, true),
    memoryBytes: number(at.memory_bytes),
    readBytes: Math.max(reads.one, reads.four, reads.ahead),
    reads,
    int8Ops: number(at.int8_ops),
    f32Ops: number(at.f32_ops),
    bf16Ops: number(at.bf16_ops),
  };
}

/** The variant, or what went wrong. */
function readText(library: Library): string {
  const buffer = new Uint8Array(1024);
  const length = new Uint32Array(1);
  check(library, library.calls.vitrine_limits_text(buffer, buffer.length, length), 0);
  return new TextDecoder().decode(buffer.subarray(0, length[0]));
}
