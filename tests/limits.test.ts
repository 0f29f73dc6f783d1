/** The measured limits of the machine: sane figures, and refusals by name. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EngineError, measureLimits } from "../mod.ts";

const limits = suite("limits");

limits("figures are those of a processor, for one thread and for two", async () => {
  for (const threads of [1, 2]) {
    const found = await measureLimits({ threads, mebibytes: 32 });
    assert.is(found.threads, threads);
    assert.is(found.memoryBytes, 32 * 2 ** 20);
    assert.ok(found.cpuVariant.length > 0);
    assert.is(found.readBytes, Math.max(...Object.values(found.reads)));
    // Which of two measurements is faster, other programs decide too.
    for (const name of ["readBytes", "int8Ops", "f32Ops"] as const) {
      assert.ok(found[name] > 1e8 && found[name] < 1e14, `${name}: ${found[name]}`);
    }
    assert.ok(found.bf16Ops >= 0);
  }
});

limits("one measurement at a time", async () => {
  const first = measureLimits({ threads: 1, mebibytes: 4 });
  const second = await measureLimits({ threads: 1, mebibytes: 4 }).catch((error) => error);
  assert.instance(second, EngineError);
  assert.is(second.code, "busy");
  assert.ok((await first).readBytes > 0);
});

limits("options out of range are refused", async () => {
  for (const options of [{ threads: 0 }, { threads: 257 }, { mebibytes: 0.5 }]) {
    const error = await measureLimits(options).catch((error) => error);
    assert.instance(error, RangeError);
  }
  // deno-lint-ignore no-explicit-any
  const unknown = await measureLimits({ thread: 1 } as any).catch((error) => error);
  assert.match(unknown.message, /found "thread"/);
});

limits("a variant that isn't known is named", () => {
  const code = `import { measureLimits } from ${
    JSON.stringify(new URL("../mod.ts", import.meta.url))
  };
    await measureLimits().catch((error) => console.log(error.code, error.message));`;
  const args = "Deno" in globalThis ? ["eval", code] : ["-e", code];
  const run = spawnSync(process.execPath, args, {
    encoding: "utf8",
    env: { ...process.env, VITRINE_CPU: "z80" },
  });
  assert.match(run.stdout, /invalid-argument Expected|invalid-argument expected VITRINE_CPU/);
});
limits.run();
