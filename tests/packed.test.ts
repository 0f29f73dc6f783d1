/** Weights that are kept packed on disk: the same tokens, and files that don't fit are made anew. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadModel, type LoadProgress, type Model } from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Tokens that a model goes on with. */
async function continuation(model: Model): Promise<number[]> {
  using session = model.session();
  const tokens: number[] = [];
  for await (const step of session.generate("the", { maxTokens: 12, seed: 5, ignoreEnd: true })) {
    tokens.push(step.token);
  }
  return tokens;
}

const packed = suite("packed weights");

packed("nothing is kept unless it is asked for", async () => {
  using model = await loadModel(tinyModel(), { packed: false });
  assert.is(model.info.packed, "off");
  assert.is(model.info.packedNote, undefined);
});

packed("a second load maps what the first one wrote, and gives the same tokens", async () => {
  const path = tinyModel();
  const file = temporaryPath("weights.packed");
  using plain = await loadModel(path);
  const expected = await continuation(plain);
  for (const state of ["written", "mapped", "mapped"]) {
    const seen: LoadProgress[] = [];
    using model = await loadModel(path, { packed: file, onProgress: (p) => void seen.push(p) });
    assert.is(model.info.packed, state, model.info.packedNote);
    assert.is(model.info.weightsBytes, plain.info.weightsBytes);
    assert.equal(await continuation(model), expected);
    const last = seen.at(-1);
    assert.ok(last !== undefined && last.total > 0 && last.done === last.total);
    if (state === "mapped") assert.is(model.info.packedNote, undefined);
    else assert.match(model.info.packedNote ?? "", /weights\.packed: expected a file, found none/);
  }
  assert.not.ok(existsSync(`${file}.vitrine-partial`));
});

packed("the cache folder has one file for each model and precision", async () => {
  const before = process.env["VITRINE_CACHE"];
  const cache = temporaryPath("cache");
  process.env["VITRINE_CACHE"] = cache;
  try {
    const [first, second] = [tinyModel(), tinyModel({ layers: 3 })];
    for (const path of [first, second]) {
      for (const precision of ["int8", "float"] as const) {
        for (const state of ["written", "mapped"]) {
          using model = await loadModel(path, { packed: true, precision });
          assert.is(model.info.packed, state, model.info.packedNote);
        }
      }
    }
    assert.is(readdirSync(join(cache, "packed")).length, 4);
  } finally {
    if (before === undefined) delete process.env["VITRINE_CACHE"];
    else process.env["VITRINE_CACHE"] = before;
  }
});

packed("what is damaged, stale or of another model is made anew, and says why", async () => {
  const path = tinyModel();
  const file = temporaryPath("weights.packed");
  const load = async (from = path) => {
    using model = await loadModel(from, { packed: file });
    return [model.info.packed, model.info.packedNote ?? ""] as const;
  };
  await load();
  const whole = readFileSync(file);
  const changes: [() => void, RegExp][] = [
    [
      () => writeFileSync(file, whole.subarray(0, whole.length - 1)),
      /expected a file of \d+ bytes/,
    ],
    [() => {
      const damaged = Uint8Array.from(whole);
      damaged[whole.length - 5] = (whole[whole.length - 5] ?? 0) ^ 1;
      writeFileSync(file, damaged);
    }, /expected weights that agree with their checksums/],
    [() => utimesSync(path, 1, 1), /another time of modification/],
  ];
  for (const [change, message] of changes) {
    change();
    const [state, note] = await load();
    assert.is(state, "written");
    assert.match(note, message);
    assert.is((await load())[0], "mapped");
  }
  const [state, note] = await load(tinyModel({ layers: 3 }));
  assert.is(state, "written");
  assert.match(note, /a model of another size/);
});

packed("a load succeeds where nothing can be written, and leaves other files alone", async () => {
  const path = tinyModel();
  const folder = temporaryPath("folder");
  mkdirSync(folder);
  for (
    const [file, message] of [
      [folder, /found a directory/],
      [join(folder, "none", "weights.packed"), /no such folder/],
      [path, /found another kind of file/],
    ] as const
  ) {
    using model = await loadModel(path, { packed: file });
    assert.is(model.info.packed, "unsaved");
    assert.match(model.info.packedNote ?? "", message);
    assert.is((await continuation(model)).length, 12);
  }
  assert.equal(readdirSync(folder), []);
});

packed("a path is a text that isn't empty", async () => {
  const path = tinyModel();
  for (const wrong of ["", 3, {}, null]) {
    let error: unknown;
    try {
      using _ = await loadModel(path, { packed: wrong as string });
    } catch (caught) {
      error = caught;
    }
    assert.instance(error, TypeError);
    assert.match(
      (error as Error).message,
      /^Expected packed to be true, false or the path of a file/,
    );
  }
});

packed.run();
