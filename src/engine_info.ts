import { check, openLibrary } from "./ffi/library.ts";

/**
 * What the native library is: its version, the kernels of this processor, the formats, families and
 * sampler stages that it knows.
 *
 * @returns Names by kind, as the library reports them.
 *
 * @example
 * ```ts
 * import { engineInfo } from "./mod.ts";
 *
 * const info = await engineInfo();
 * console.log(info.version, info.samplerStages);
 * ```
 */
export async function engineInfo(): Promise<{
  readonly version: string;
  readonly library: string;
  readonly formats: readonly string[];
  readonly cacheFormats: readonly string[];
  readonly samplerStages: readonly string[];
  readonly architectures: readonly string[];
}> {
  const library = await openLibrary();
  const buffer = new Uint8Array(16 * 1024);
  const length = new Uint32Array(1);
  check(library, library.calls.vitrine_info(buffer, buffer.length, length), 0);
  const text = new TextDecoder().decode(buffer.subarray(0, length[0]));
  return { library: library.path, ...JSON.parse(text) };
}
