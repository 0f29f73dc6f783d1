/**
 * The models of the benchmark: their shapes, and which format each tensor of a file has. Weights of
 * these shapes are generated (`generate.ts`), because speed depends on shapes and formats alone.
 *
 * The mixes that end in _M follow llama.cpp's quantiser (`llama-quant.cpp`): the output matrix, and
 * the value and down projections of about half of the layers, get six bits.
 *
 * @module
 */

/** Dimensions of a model of the llama family. */
export interface Shape {
  readonly embedding: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  readonly context: number;
}

const llama = { vocabulary: 32000, context: 8192 };

/** The shapes, by the names of the models that they are of; the tiny one is for trying things out. */
export const shapes: Readonly<Record<string, Shape>> = {
  "tiny": {
    ...llama,
    embedding: 256,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    feedForward: 512,
    vocabulary: 1000,
  },
  "tinyllama-1.1b": {
    ...llama,
    embedding: 2048,
    layers: 22,
    heads: 32,
    kvHeads: 4,
    feedForward: 5632,
  },
  "llama-2-7b": {
    ...llama,
    embedding: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 32,
    feedForward: 11008,
  },
  "mistral-7b": {
    ...llama,
    embedding: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    feedForward: 14336,
  },
  "llama-2-70b": {
    ...llama,
    embedding: 8192,
    layers: 80,
    heads: 64,
    kvHeads: 8,
    feedForward: 28672,
  },
};

/** Formats of tensors: number in the file, weights and bytes of a block. */
export const tensorFormats = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  Q4_K: { id: 12, block: 256, bytes: 144 },
  Q5_K: { id: 13, block: 256, bytes: 176 },
  Q6_K: { id: 14, block: 256, bytes: 210 },
} as const;
export type TensorFormat = keyof typeof tensorFormats;

/** Formats of files: that of most tensors, and the number of `general.file_type`. */
export const fileFormats = {
  Q4_0: { base: "Q4_0", id: 2 },
  Q4_K_M: { base: "Q4_K", id: 15 },
  Q5_K_M: { base: "Q5_K", id: 17 },
  Q6_K: { base: "Q6_K", id: 18 },
  Q8_0: { base: "Q8_0", id: 7 },
  F16: { base: "F16", id: 1 },
} as const satisfies Record<string, { base: TensorFormat; id: number }>;
export type FileFormat = keyof typeof fileFormats;

/** A tensor of a file. */
export interface Tensor {
  readonly name: string;
  /** The contiguous extent first, as in the file. */
  readonly shape: readonly number[];
  readonly format: TensorFormat;
}

/** Bytes that a tensor takes. */
export function tensorBytes(tensor: Tensor): number {
  const { block, bytes } = tensorFormats[tensor.format];
  return tensor.shape.reduce((product, extent) => product * extent, 1) / block * bytes;
}

/** Whether a layer is among those whose value and down projections the quantiser gives more bits. */
export function usesMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor(7 * layers / 8) || (layer - eighth) % 3 === 2;
}

/** The tensors of a file, in its order. */
export function tensorsOf(shape: Shape, format: FileFormat): Tensor[] {
  const { embedding, layers, heads, kvHeads, feedForward, vocabulary } = shape;
  const { base } = fileFormats[format];
  const kv = embedding / heads * kvHeads;
  const mixed = format.endsWith("_M");
  const tensors: Tensor[] = [];
  const matrix = (name: string, rows: number, columns: number, format: TensorFormat = base) =>
    void tensors.push({ name: `${name}.weight`, shape: [columns, rows], format });
  const norm = (name: string) =>
    void tensors.push({ name: `${name}.weight`, shape: [embedding], format: "F32" });
  matrix("token_embd", vocabulary, embedding);
  for (let i = 0; i < layers; i++) {
    const more = mixed && usesMoreBits(i, layers) ? "Q6_K" : base;
    // Eight heads share a value projection in the 70B model: four bits are raised to five.
    const value = layers === 80 && more === "Q4_K" ? "Q5_K" : more;
    norm(`blk.${i}.attn_norm`);
    matrix(`blk.${i}.attn_q`, embedding, embedding);
    matrix(`blk.${i}.attn_k`, kv, embedding);
    matrix(`blk.${i}.attn_v`, kv, embedding, value);
    matrix(`blk.${i}.attn_output`, embedding, embedding);
    norm(`blk.${i}.ffn_norm`);
    matrix(`blk.${i}.ffn_gate`, feedForward, embedding);
    matrix(`blk.${i}.ffn_up`, feedForward, embedding);
    matrix(`blk.${i}.ffn_down`, embedding, feedForward, more);
  }
  norm("output_norm");
  matrix("output", vocabulary, embedding, base === "F16" || base === "Q8_0" ? base : "Q6_K");
  return tensors;
}

/** What one pass through a model takes, counted on its tensors. */
export interface Work {
  /** Bytes of the file. */
  readonly fileBytes: number;
  /** Bytes of weights that every token reads: all but the embeddings. */
  readonly tokenBytes: number;
  /** Multiplications and additions with weights that a token of a prompt needs. */
  readonly layerOps: number;
  /** The same for the output matrix, which only tokens whose logits are wanted need. */
  readonly outputOps: number;
  /** Values that the KV cache gets for each token. */
  readonly cacheValues: number;
}

/** Counts the work of a model. */
export function workOf(shape: Shape, format: FileFormat): Work {
  let fileBytes = 0;
  let tokenBytes = 0;
  let layerOps = 0;
  for (const tensor of tensorsOf(shape, format)) {
    const bytes = tensorBytes(tensor);
    fileBytes += bytes;
    if (tensor.name === "token_embd.weight") continue;
    tokenBytes += bytes;
    const [columns = 0, rows = 0] = tensor.shape;
    if (tensor.name !== "output.weight") layerOps += 2 * columns * rows;
  }
  return {
    fileBytes,
    tokenBytes,
    layerOps,
    outputOps: 2 * shape.vocabulary * shape.embedding,
    cacheValues: 2 * shape.layers * shape.embedding / shape.heads * shape.kvHeads,
  };
}
