/**
 * A process of its own for `save.test.ts`: restores a saved session of a model, and prints what it is
 * and does next.
 *
 * usage: bun run tests/support/restored.ts MODEL FILE
 *
 * @module
 */
import process from "node:process";
import { loadModel, readSnapshot, temperature } from "../../mod.ts";

const [path = "", file = ""] = process.argv.slice(2);
const bits = (values: Float32Array<ArrayBuffer>) => Array.from(new Uint32Array(values.buffer));

using snapshot = readSnapshot(file);
snapshot.verify();
using model = await loadModel(path, { threads: 2 });
using session = await model.restore(file);
const part = { which: "key", layer: 1 } as const;
const same = String(bits(snapshot.read(part))) === String(bits(session.kv.read(part)));
const restored = bits(session.logits());
const tokens = Array.from(session.tokens);
const text = await session.generate([9, 8], {
  sampler: [temperature(2)],
  seed: 5,
  maxTokens: 20,
  ignoreEnd: true,
}).text();
const logits = bits(session.logits());
process.stdout.write(`${JSON.stringify({ same, restored, tokens, text, logits })}\n`);
