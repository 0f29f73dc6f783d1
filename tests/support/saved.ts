/**
 * A process of its own for `kv_diff.test.ts`: reads tokens, generates behind them, and saves the session.
 *
 * usage: bun run tests/support/saved.ts MODEL FILE THREADS
 *
 * @module
 */
import process from "node:process";
import { loadModel, temperature } from "../../mod.ts";

const [path = "", file = "", threads = "1"] = process.argv.slice(2);
using model = await loadModel(path, { threads: Number(threads) });
using session = model.session({ context: 160, kv: { key: "q8_0", value: "f16" } });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);
const sampler = [temperature(2)];
await session.generate(tokens, { sampler, seed: 5, maxTokens: 30, ignoreEnd: true }).text();
await session.save(file);
