/** Hooks: activations seen, recorded and changed while the model computes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Activation, EngineError, greedy, type Hook, loadModel, temperature } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** Two layers, four heads and two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 2 });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const hooks = suite("hooks");

hooks("a recording has every point of every token, and changes no bit", async () => {
  using model = await load();
  using plain = model.session({ context: 256, chunk: 48 });
  await plain.prefill(tokens);
  using session = model.session({ context: 256, chunk: 48 });
  using recording = session.record(["embed", "blocks.*.*"]);
  assert.equal(recording.names, model.hookPoints);
  assert.is(model.hookPoints.length, 1 + 2 * 13);
  await session.prefill(tokens);
  assert.equal(session.logits(), plain.logits());
  const { embedding, heads, kvHeads, keyLength, valueLength } = model.info;
  const widths: Record<string, number> = {
    q: heads * keyLength,
    k: kvHeads * keyLength,
    k_pre: kvHeads * keyLength,
    k_stored: kvHeads * keyLength,
    v: kvHeads * valueLength,
    v_stored: kvHeads * valueLength,
    z: heads * valueLength,
  };
  for (const name of recording.names) {
    const { rows, width, position, values, layer } = recording.get(name);
    const point = name.split(".").at(-1) as string;
    assert.is(rows, 100);
    assert.is(position, 0);
    assert.is(values.length, rows * width);
    assert.is(layer, name === "embed" ? undefined : Number(name.split(".")[1]));
    if (point !== "mlp_act") assert.is(width, widths[point] ?? embedding);
  }
  // What goes into a layer is what came out of the one before, and what is added is what is there.
  const get = (name: string) => recording.get(name).values;
  assert.equal(get("blocks.0.resid_pre"), get("embed"));
  assert.equal(get("blocks.1.resid_pre"), get("blocks.0.resid_post"));
  const sum = get("blocks.1.resid_pre").map((x, i) => x + get("blocks.1.attn_out")[i]!);
  assert.equal(get("blocks.1.resid_mid"), sum);
  assert.equal(
    get("blocks.1.resid_post"),
    sum.map((x, i) => Math.fround(x) + get("blocks.1.mlp_out")[i]!),
  );
  // The lens behind the last layer is the model itself.
  assert.equal(model.unembed(get("blocks.1.resid_post").slice(-embedding)), session.logits());
});

hooks("keys and values are those that the cache is given", async () => {
  using model = await load();
  using session = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
  using recording = session.record(["blocks.1.k", "blocks.1.v", "blocks.1.k_pre"]);
  await session.prefill(tokens);
  const { kvHeads } = model.info;
  for (const which of ["key", "value"] as const) {
    const { values, rows, width } = recording.get(which === "key" ? "blocks.1.k" : "blocks.1.v");
    const length = width / kvHeads;
    for (let head = 0; head < kvHeads; head++) {
      const stored = session.kv.read({ which, layer: 1, head });
      for (let row = 0; row < rows; row++) {
        const from = row * width + head * length;
        assert.equal(
          stored.slice(row * length, (row + 1) * length),
          values.slice(from, from + length),
        );
      }
    }
  }
  const rotated = recording.get("blocks.1.k");
  const before = recording.get("blocks.1.k_pre");
  // The first position is not rotated.
  assert.equal(before.values.slice(0, before.width), rotated.values.slice(0, rotated.width));
  assert.not.equal(before.values, rotated.values);
});

hooks("what a hook writes the model goes on with", async () => {
  using model = await load();
  const last = async (hook: Hook | undefined, point = "blocks.1.attn_out") => {
    using session = model.session({ context: 128 });
    using _hooks = hook && session.hooks({ [point]: hook });
    await session.prefill(tokens);
    return session.logits();
  };
  const plain = await last(undefined);
  assert.equal(await last(() => {}), plain);
  const ablated = await last(({ values }) => void values.fill(0));
  assert.not.equal(ablated, plain);
  assert.equal(await last(({ values }) => new Float32Array(values.length)), ablated);
  // Patching: the whole residual stream of another text makes the model say what it says to that.
  using other = model.session({ context: 128 });
  using recording = other.record(["blocks.0.resid_post"]);
  const text = tokens.map((token) => 3 + (token * 5) % 256);
  await other.prefill(text);
  const patch = ({ values, position, width }: Activation) =>
    values.set(
      recording.get("blocks.0.resid_post").values.subarray(position * width).subarray(
        0,
        values.length,
      ),
    );
  assert.equal(await last(patch, "blocks.0.resid_post"), other.logits());
});

hooks(
  "hooks see the tokens that are generated, one by one, until they are disposed of",
  async () => {
    using model = await load();
    const options = { sampler: [temperature(1)], seed: 5, maxTokens: 6, ignoreEnd: true };
    using plain = model.session({ context: 128 });
    const expected = await plain.generate(tokens.slice(0, 9), options).text();
    using session = model.session({ context: 128 });
    const seen: [number, number][] = [];
    {
      using _one = session.hooks({
        "blocks.0.z": ({ position, rows }) => void seen.push([position, rows]),
      });
      assert.is(await session.generate(tokens.slice(0, 9), options).text(), expected);
    }
    assert.equal(seen, [[0, 9], [9, 1], [10, 1], [11, 1], [12, 1], [13, 1]]);
    await session.step({ sampler: [greedy()] });
    assert.is(seen.length, 6);
  },
);

hooks(
  "sets of hooks are called in their order, and one that only looks sees what was written",
  async () => {
    using model = await load();
    using session = model.session({ context: 128 });
    const order: string[] = [];
    using _first = session.hooks({
      embed: ({ values }) => {
        order.push(`first ${values[0]}`);
        values.fill(7);
      },
    });
    using recording = session.record(["embed"]);
    using _second = session.hooks({
      "em*": ({ values }) => {
        order.push(`second ${values[0]}`);
        values.fill(8);
      },
    });
    using after = session.record(["embed", "blocks.0.resid_pre"]);
    await session.prefill([5]);
    assert.match(order.join(), /^first -?0\.\d+,second 7$/);
    assert.is(recording.get("embed").values[3], 7);
    assert.is(after.get("embed").values[3], 8);
    assert.is(after.get("blocks.0.resid_pre").values[3], 8);
  },
);

hooks("a recording follows truncation, goes on, and can be cleared", async () => {
  using model = await load();
  using session = model.session({ context: 128 });
  using recording = session.record(["blocks.1.resid_post"]);
  const get = () => recording.get("blocks.1.resid_post");
  await session.prefill(tokens.slice(0, 10));
  await session.prefill(tokens.slice(10, 20));
  const first = get();
  assert.is(first.rows, 20);
  session.truncate(5);
  await session.prefill([9, 9]);
  assert.equal([get().position, get().rows], [0, 7]);
  assert.equal(get().values.slice(0, 5 * first.width), first.values.slice(0, 5 * first.width));
  recording.clear();
  assert.throws(get, /tokens that were computed since the recording.*but found none/);
  await session.prefill([9]);
  assert.equal([get().position, get().rows], [7, 1]);
  recording.dispose();
  await session.prefill([9]);
  assert.is(get().rows, 1);
});

hooks("what a hook throws ends the request and comes out of it", async () => {
  using model = await load();
  using session = model.session({ context: 128 });
  const wrong = new Error("a wrong hook");
  const thrown = async (run: () => Promise<unknown>) => {
    try {
      await run();
    } catch (error) {
      return error;
    }
    return undefined;
  };
  {
    using _hooks = session.hooks({
      "blocks.1.q": () => {
        throw wrong;
      },
    });
    assert.is(await thrown(() => session.prefill(tokens)), wrong);
    assert.is(session.position, 0);
    assert.is(await thrown(() => session.generate(tokens).text()), wrong);
  }
  session.truncate(0);
  {
    using _hooks = session.hooks({ embed: (() => Promise.resolve()) as unknown as () => void });
    const error = await thrown(() => session.prefill(tokens));
    assert.match((error as Error).message, /hook at embed to return at once, but found a Promise/);
  }
  {
    using _hooks = session.hooks({ embed: () => new Float32Array(7) });
    const error = await thrown(() => session.prefill(tokens));
    assert.match((error as Error).message, /hook at embed to return 12800 values, but found 7/);
  }
  // NaN is noticed where a token is drawn.
  {
    using _hooks = session.hooks({ "blocks.0.resid_post": ({ values }) => values.fill(NaN) });
    const error = await thrown(() => session.generate(tokens, { maxTokens: 2 }).text());
    assert.ok(error instanceof EngineError && error.code === "numeric", String(error));
  }
  session.truncate(0);
  await session.prefill(tokens);
  using plain = model.session({ context: 128 });
  await plain.prefill(tokens);
  assert.equal(session.logits(), plain.logits());
});

hooks("other sessions go on beside one with hooks, and a reader may be slow", async () => {
  using model = await load();
  using session = model.session({ context: 256 });
  using other = model.session({ context: 256 });
  let calls = 0;
  using _hooks = session.hooks({ "blocks.*.attn_out": () => void calls++ });
  const options = { sampler: [greedy()], maxTokens: 30, ignoreEnd: true };
  const slow = session.generate(tokens, options);
  await slow.next();
  // The reader of the first one is not reading now.
  assert.is((await other.generate(tokens, options).text()).length > 0, true);
  for await (const _ of slow);
  assert.is(calls, 2 * 30);
  const early = session.generate("", options);
  await early.next();
  await early.return();
  session.dispose();
  assert.throws(() => session.hooks({ embed: () => {} }), /disposed|layers/);
});

hooks("a name that fits nothing is refused with what there is", async () => {
  using model = await load();
  using session = model.session();
  const refused = (given: unknown, message: RegExp) =>
    assert.throws(() => session.hooks(given as Record<string, () => void>), message);
  refused(
    { "blocks.2.q": () => {} },
    /N from 0 to 1 and POINT one of resid_pre.*found "blocks\.2\.q"/,
  );
  refused({ "blocks.0.resid_pots": () => {} }, /did you mean blocks\.0\.resid_post\?/);
  refused({ "": () => {} }, /Expected a hook point/);
  refused({ embed: 7 }, /function for embed, but found 7/);
  refused(null, /functions by names/);
  assert.throws(() => session.record([]), /names of hook points/);
  assert.throws(() => session.record(["blocks.*.nothing"]), /found "blocks\.\*\.nothing"/);
  using recording = session.record(["embed"]);
  assert.throws(() => recording.get("blocks.0.q"), /a recorded point \(embed\), but found "blocks/);
  assert.throws(() => model.unembed(new Float32Array(3)), /rows of 128 values, but found 3 values/);
  assert.throws(() => model.unembed([1] as unknown as Float32Array), /a Float32Array/);
});

hooks.run();
