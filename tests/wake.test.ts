/**
 * The wake-up must earn its place: callbacks from foreign threads have crashed runtimes before. A
 * native thread signals a million times while JavaScript collects garbage, starts and stops, and
 * aborts. Each of these tests is bounded in time, and says how far it came.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Driver } from "../src/ffi/driver.ts";
import { openLibrary } from "../src/ffi/library.ts";
import { Status, WakeStatsLayout } from "../src/ffi/symbols.gen.ts";

const library = await openLibrary();
const { calls } = library;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const collector = globalThis as { Bun?: { gc(force: boolean): void } };

/** Signals since the library was loaded, and calls of one registration. */
function stats(slot: number): { signals: number; calls: number } {
  const view = new DataView(new ArrayBuffer(WakeStatsLayout.bytes));
  const bytes = new Uint8Array(view.buffer);
  assert.is(calls.vitrine_wake_stats(slot, bytes, bytes.length), Status.ok);
  return {
    signals: view.getFloat64(WakeStatsLayout.signals, true),
    calls: view.getFloat64(WakeStatsLayout.calls, true),
  };
}

const wake = suite("wake-up");

wake("a signal before the wait isn't lost", async () => {
  const driver = new Driver(library);
  driver.acquire();
  for (let i = 0; i < 300; i++) {
    const ticket = driver.wakes;
    calls.vitrine_wake_exercise(1, 0);
    if (i % 3 === 0) await sleep(1);
    await driver.wait(ticket);
  }
  await driver.release();
});

wake("a million signals under garbage collection arrive and stop nothing", async () => {
  const driver = new Driver(library);
  driver.acquire();
  const slot = new Uint32Array(1);
  const callback = library.wakeCallback(() => {});
  callback.hold();
  assert.is(calls.vitrine_wake_register(callback.pointer, slot), Status.ok);
  const before = stats(slot[0] ?? 0).signals;
  // Two threads without a pause, and two that leave time for many separate calls.
  const threads: [number, number][] = [[400_000, 0], [400_000, 0], [100_000, 10_000], [
    100_000,
    20_000,
  ]];
  for (const [signals, pause] of threads) calls.vitrine_wake_exercise(signals, pause);
  // They take some seconds; on a busy machine each pause of a thread takes as long as others let it.
  const seconds = 120;
  const deadline = performance.now() + 1000 * seconds;
  let ticks = 0;
  while (stats(slot[0] ?? 0).signals < before + 1_000_000 && performance.now() < deadline) {
    await driver.wait(driver.wakes);
    // Garbage of all sizes, and a full collection now and then.
    for (let i = 0; i < 10; i++) new Uint8Array(1 << (i + 4)).fill(i);
    if (++ticks % 500 === 0) collector.Bun?.gc(true);
  }
  const after = stats(slot[0] ?? 0);
  assert.ok(
    after.signals >= before + 1_000_000,
    `${after.signals - before} signals in ${seconds} s`,
  );
  assert.ok(after.calls > 100, `${after.calls} calls`);
  assert.ok(driver.wakes > 100, `${driver.wakes} wake-ups`);
  calls.vitrine_wake_unregister(slot[0] ?? 0);
  await library.joinWake(slot[0] ?? 0);
  callback.release();
  await driver.release();
});

wake("a hundred starts and stops while signals rain", async () => {
  calls.vitrine_wake_exercise(200_000, 5_000);
  for (let i = 0; i < 100; i++) {
    const driver = new Driver(library);
    driver.acquire();
    const ticket = driver.wakes;
    calls.vitrine_wake_exercise(1, 0);
    await driver.wait(ticket);
    await driver.release();
    if (i % 10 === 0) collector.Bun?.gc(true);
  }
  await sleep(50);
});

wake("after a join no call comes any more", async () => {
  let count = 0;
  const callback = library.wakeCallback(() => void count++);
  const slot = new Uint32Array(1);
  callback.hold();
  for (let i = 0; i < 20; i++) {
    assert.is(calls.vitrine_wake_register(callback.pointer, slot), Status.ok);
    const seen = count;
    while (count === seen) {
      calls.vitrine_wake_exercise(10, 0);
      await sleep(1);
    }
    calls.vitrine_wake_unregister(slot[0] ?? 0);
    assert.is(calls.vitrine_wake_unregister(slot[0] ?? 0), Status.ok);
    await library.joinWake(slot[0] ?? 0);
    // What was queued before the join may still run.
    await sleep(5);
    const last = count;
    calls.vitrine_wake_exercise(1000, 0);
    await sleep(5);
    assert.is(count, last);
  }
  callback.release();
});

wake("what isn't registered is refused", () => {
  const slot = new Uint32Array(1);
  assert.is(calls.vitrine_wake_register(null as never, slot), Status.invalid_argument);
  for (const stale of [0, 63, 64, 0xff, 0x100, 0xffff_ffff]) {
    assert.is(calls.vitrine_wake_unregister(stale), Status.invalid_argument);
    assert.is(calls.vitrine_wake_join(stale), Status.invalid_argument);
    assert.is(calls.vitrine_wake_stats(stale, slot, 4), Status.invalid_argument);
  }
});

wake("registrations are bounded, and come back", async () => {
  const callback = library.wakeCallback(() => {});
  const slot = new Uint32Array(1);
  const slots: number[] = [];
  for (;;) {
    const status = calls.vitrine_wake_register(callback.pointer, slot);
    if (status === Status.too_many_handles || slots.length > 1000) break;
    assert.is(status, Status.ok);
    slots.push(slot[0] ?? 0);
  }
  assert.ok(slots.length >= 60 && slots.length <= 64, `${slots.length}`);
  for (const used of slots) calls.vitrine_wake_unregister(used);
  for (const used of slots) await library.joinWake(used);
  callback.release();
});
wake.run();
