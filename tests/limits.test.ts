/** The measured limits of the machine: sane figures, and refusals by name. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EngineError, measureLimits } from "../mod.ts";

const limits = suite("limits");

limits("figures are positive and agree with each other", async () => {
  const one = await measureLimits({ threads: 1, mebibytes: 32 });
  const two = await measureLimits({ threads: 2, mebibytes: 32 });
  assert.is(one.threads, 1);
  assert.is(two.threads, 2);
  assert.is(one.memoryBytes, 32 * 2 ** 20);
  assert.ok(one.cpuVariant.length > 0);
  assert.is(one.readBytes, Math.max(...Object.values(one.reads)));
  for (const name of ["readBytes", "int8Ops", "f32Ops"] as const) {
    assert.ok(one[name] > 1e8 && one[name] < 1e14, `${name}: ${one[name]}`);
    // A second thread adds something; how much, other programs decide too.
    assert.ok(two[name] > 0.5 * one[name], `${name}: ${one[name]} and ${two[name]}`);
  }
  assert.ok(one.bf16Ops >= 0);
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
