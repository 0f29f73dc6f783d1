/**
 * Vitrine as the benchmark runs it: through its C interface for everything that is compared with
 * another engine's own loop, and through its TypeScript interface, on each runtime, for streaming.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { engineInfo } from "../mod.ts";
import { compileDriver, type Driver, root, startDriver, toolPath } from "./driver.ts";

/**
 * Starts the C driver with the library that this process uses, and a CPU variant; `packed` is where
 * packed weights are kept, if they are.
 */
export async function startEngine(
  model: string,
  threads: number,
  variant: string,
  say: (text: string) => void,
  packed?: string,
): Promise<Driver> {
  const { library } = await engineInfo();
  const folder = dirname(library);
  const include = join(root, "include");
  const program = compileDriver(
    "vitrine",
    [
      ...[`-I${include}`, `-L${folder}`, "-lvitrine"],
    ],
    say,
    [join(include, "vitrine.h")],
  );
  const args = ["", model, String(threads), "0", ...(packed === undefined ? [] : [packed])];
  return await startDriver(program, args, {
    VITRINE_CPU: variant,
    LD_LIBRARY_PATH: folder,
    DYLD_LIBRARY_PATH: folder,
  });
}

/** The runtimes that set-up installed. */
export function runtimes(): { name: string; program: string; args: string[] }[] {
  const bun = toolPath("VITRINE_BUN");
  const deno = toolPath("VITRINE_DENO");
  return [
    ...(bun === undefined ? [] : [{ name: "Bun", program: bun, args: ["run"] }]),
    ...(deno === undefined
      ? []
      : [{ name: "Deno", program: deno, args: ["run", "--quiet", "--allow-all"] }]),
  ];
}

/** Starts `stream.ts` under a runtime. */
export async function startStream(
  runtime: { program: string; args: string[] },
  model: string,
  threads: number,
  variant: string,
): Promise<Driver> {
  const script = join(root, "bench", "stream.ts");
  return await startDriver(
    runtime.program,
    [...runtime.args, script, model, String(threads)],
    { VITRINE_CPU: variant },
  );
}
