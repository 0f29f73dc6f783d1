/**
 * Logits of every position, for small random models of every family, against values that Hugging
 * Face transformers computed in f64. The files and their tolerances are described in
 * `tools/golden_transformers.py`, which makes them; the hidden states that they also hold are
 * checked by `zig-src/engine/golden_test.zig`.
 */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadModel, type Session } from "../mod.ts";

const folder = join(dirname(fileURLToPath(import.meta.url)), "golden");
const names = readdirSync(folder)
  .filter((name) => name.endsWith(".golden"))
  .map((name) => name.slice(0, -".golden".length))
  .sort();

/** What this test needs of a `.golden` file. */
interface Golden {
  readonly vocabulary: number;
  readonly context: number;
  readonly tolerance: number;
  readonly tokens: Uint32Array;
  /** [tokens, vocabulary] */
  readonly logits: Float32Array;
}

function readGolden(name: string): Golden {
  const bytes = readFileSync(join(folder, `${name}.golden`));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  assert.is(bytes.subarray(0, 8).toString("latin1"), "VITGOLD1");
  const count = (index: number) => view.getUint32(8 + index * 4, true);
  const [length, layers, width, vocabulary] = [count(0), count(1), count(2), count(3)];
  const tokensAt = 8 + 7 * 4;
  const logitsAt = tokensAt + 4 * (length + (layers + 1) * length * width);
  assert.is(bytes.length, logitsAt + 4 * length * vocabulary);
  return {
    vocabulary,
    context: count(4),
    tolerance: view.getFloat32(8 + 6 * 4, true),
    tokens: Uint32Array.from({ length }, (_, i) => view.getUint32(tokensAt + 4 * i, true)),
    logits: Float32Array.from(
      { length: length * vocabulary },
      (_, i) => view.getFloat32(logitsAt + 4 * i, true),
    ),
  };
}

/** Checks the rows of the session's last prefill, which are those of the tokens from `from` on. */
function checkRows(session: Session, golden: Golden, from: number, to: number): void {
  for (let position = from; position < to; position++) {
    const row = session.logits(position - from);
    assert.is(row.length, golden.vocabulary);
    for (let i = 0; i < row.length; i++) {
      const expected = golden.logits[position * golden.vocabulary + i] as number;
      const error = Math.abs((row[i] as number) - expected) / (1 + Math.abs(expected));
      // Written so that a NaN fails.
      if (!(error <= golden.tolerance)) {
        assert.unreachable(
          `logit ${i} behind token ${position}: expected ${expected}, found ${row[i]}`,
        );
      }
    }
  }
}

test("every family has cases", () => {
  assert.ok(names.length >= 17, `found ${names.length}`);
  for (const family of ["llama", "qwen2", "qwen3", "gemma3"]) {
    assert.ok(names.some((name) => name.startsWith(family)), family);
  }
});

for (const name of names) {
  test(`${name} has the logits of transformers`, async () => {
    const golden = readGolden(name);
    using model = await loadModel(join(folder, `${name}.gguf`), { precision: "float", threads: 2 });
    using session = model.session({
      context: golden.context,
      kv: { key: "f32", value: "f32" },
    });
    const tokens = [...golden.tokens];
    await session.prefill(tokens, { allLogits: true });
    checkRows(session, golden, 0, tokens.length);

    // And again through the cache: a first part, a second part, then token by token.
    const third = Math.floor(tokens.length / 3);
    session.truncate(0);
    for (const [from, to] of [[0, third], [third, 2 * third]] as const) {
      await session.prefill(tokens.slice(from, to), { allLogits: true });
      checkRows(session, golden, from, to);
    }
    for (let at = 2 * third; at < tokens.length; at++) {
      await session.prefill(tokens.slice(at, at + 1), { allLogits: true });
      checkRows(session, golden, at, at + 1);
    }
  });
}

test("a wrong model is caught", async () => {
  // Another model of the same shape: the comparison above has to see that.
  const golden = readGolden("llama_rope_yarn");
  using model = await loadModel(join(folder, "llama_rope_linear.gguf"), { precision: "float" });
  using session = model.session({ context: golden.context });
  await session.prefill([...golden.tokens], { allLogits: true });
  let caught = false;
  try {
    checkRows(session, golden, 0, golden.tokens.length);
  } catch {
    caught = true;
  }
  assert.ok(caught);
});

test.run();
