/**
 * Small models for tests: random weights from a fixed seed and a vocabulary with all bytes, written
 * as real GGUF files into a temporary folder, so that the tests need no download and go the way
 * that users' files go.
 *
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type GgufTensor, type GgufValue, writeGguf } from "./gguf_writer.ts";

/** What a model looks like. */
export interface TinyShape {
  readonly layers?: number;
  readonly embedding?: number;
  readonly feedForward?: number;
  readonly context?: number;
  /** Further metadata. */
  readonly metadata?: Readonly<Record<string, GgufValue>>;
  /** Leaves out all tensors: a vocabulary. */
  readonly vocabularyOnly?: boolean;
}

/** Tokens of the vocabulary: three special ones, 256 bytes, and the words. */
export const firstByteToken = 3;
const words = [
  "▁",
  ..."abcdefghijklmnopqrstuvwxyz",
  "▁the",
  "▁a",
  "th",
  "he",
  "in",
  "er",
  "▁t",
  "é",
];
const special = ["<|user|>", "<|bot|>"];
/** Number of tokens. */
export const vocabularySize = 3 + 256 + words.length + special.length;

/** The chat template of the tiny models. */
export const chatTemplate =
  "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}" +
  "{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}";

const heads = 4;
const kvHeads = 2;

let folder: string | undefined;
let files = 0;

/** A path in a temporary folder that goes with the process. */
export function temporaryPath(name: string): string {
  if (folder === undefined) {
    const made = mkdtempSync(join(tmpdir(), "vitrine-tiny-"));
    folder = made;
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  return join(folder, `${files++}-${name}`);
}

/** Writes a model and returns its path. */
export function tinyModel(shape: TinyShape = {}): string {
  const path = temporaryPath("tiny.gguf");
  writeFileSync(path, tinyModelBytes(shape));
  return path;
}

/** The bytes of a model. */
export function tinyModelBytes(shape: TinyShape = {}): Uint8Array {
  return writeGguf(metadataOf(shape), shape.vocabularyOnly ? [] : tensorsOf(shape));
}

/** The values of a tensor in F32 of such a model. */
export function tinyVector(name: string, shape: TinyShape = {}): Float32Array {
  const tensor = tensorsOf(shape).find((tensor) => tensor.name === name) as GgufTensor;
  return new Float32Array(tensor.bytes.slice().buffer);
}

function metadataOf(shape: TinyShape): Record<string, GgufValue> {
  const embedding = shape.embedding ?? 64;
  const tokens = [
    "<unk>",
    "<s>",
    "</s>",
    ...Array.from(
      { length: 256 },
      (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`,
    ),
    ...words,
    ...special,
  ];
  const types = tokens.map((_, i) =>
    i === 0 ? 2 : i < 3 || i >= tokens.length - special.length ? 3 : i < 259 ? 6 : 1
  );
  const u32 = (value: number): GgufValue => ({ type: "uint32", value });
  return {
    "general.architecture": { type: "string", value: "llama" },
    "general.name": { type: "string", value: "tiny" },
    "llama.block_count": u32(shape.layers ?? 2),
    "llama.embedding_length": u32(embedding),
    "llama.feed_forward_length": u32(shape.feedForward ?? 96),
    "llama.attention.head_count": u32(heads),
    "llama.attention.head_count_kv": u32(kvHeads),
    "llama.context_length": u32(shape.context ?? 512),
    "llama.rope.dimension_count": u32(embedding / heads),
    "llama.attention.layer_norm_rms_epsilon": { type: "float32", value: 1e-5 },
    "tokenizer.ggml.model": { type: "string", value: "llama" },
    "tokenizer.ggml.tokens": { type: "array", of: "string", value: tokens },
    "tokenizer.ggml.scores": { type: "array", of: "float32", value: tokens.map((_, i) => -i) },
    "tokenizer.ggml.token_type": { type: "array", of: "int32", value: types },
    "tokenizer.ggml.bos_token_id": u32(1),
    "tokenizer.ggml.eos_token_id": u32(2),
    "tokenizer.ggml.add_bos_token": { type: "bool", value: true },
    "tokenizer.chat_template": { type: "string", value: chatTemplate },
    ...shape.metadata,
  };
}

function tensorsOf(shape: TinyShape): GgufTensor[] {
  const embedding = shape.embedding ?? 64;
  const feedForward = shape.feedForward ?? 96;
  const kv = embedding / heads * kvHeads;
  const random = new Random(7);
  const matrix = (name: string, rows: number, columns: number) =>
    random.matrix(name, rows, columns);
  const tensors = [
    matrix("token_embd.weight", vocabularySize, embedding),
    random.vector("output_norm.weight", embedding),
    matrix("output.weight", vocabularySize, embedding),
  ];
  for (let i = 0; i < (shape.layers ?? 2); i++) {
    tensors.push(
      random.vector(`blk.${i}.attn_norm.weight`, embedding),
      matrix(`blk.${i}.attn_q.weight`, embedding, embedding),
      matrix(`blk.${i}.attn_k.weight`, kv, embedding),
      matrix(`blk.${i}.attn_v.weight`, kv, embedding),
      matrix(`blk.${i}.attn_output.weight`, embedding, embedding),
      random.vector(`blk.${i}.ffn_norm.weight`, embedding),
      matrix(`blk.${i}.ffn_gate.weight`, feedForward, embedding),
      matrix(`blk.${i}.ffn_up.weight`, feedForward, embedding),
      matrix(`blk.${i}.ffn_down.weight`, embedding, feedForward),
    );
  }
  return tensors;
}

/** Weights that are the same in every runtime: xorshift32 (Marsaglia 2003). */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** In Q8_0: blocks of a half-precision scale, here 2^-9, and 32 signed bytes. */
  matrix(name: string, rows: number, columns: number): GgufTensor {
    const bytes = new Uint8Array(rows * columns / 32 * 34);
    for (let block = 0; block < bytes.length; block += 34) {
      bytes[block + 1] = 0x18;
      for (let i = 2; i < 34; i++) bytes[block + i] = this.#next() & 0xff;
    }
    return { name, shape: [columns, rows], type: 8, bytes };
  }

  /** In F32, near 1. */
  vector(name: string, length: number): GgufTensor {
    const values = Float32Array.from({ length }, () => 1 + (this.#next() / 2 ** 32 - 0.5) / 5);
    return { name, shape: [length], type: 0, bytes: new Uint8Array(values.buffer) };
  }

  #next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }
}
