import type { PackedState } from "./packed_state.ts";

/** What a loaded model is, and how it runs. */
export interface ModelInfo {
  /** Family, as `general.architecture` names it. */
  readonly architecture: string;
  /** Path of the file. */
  readonly path: string;
  /** The compiled variant of the kernels that computes, such as `"avx2"`. */
  readonly cpuVariant: string;
  /** Threads that compute. */
  readonly threads: number;
  /** How activations are multiplied. */
  readonly precision: "int8" | "float";
  /** Number of tokens in the vocabulary. */
  readonly vocabulary: number;
  /** Length of a row of logits; some models have more of them than tokens. */
  readonly logits: number;
  /** Context length that the model was trained with, in tokens. */
  readonly contextTrain: number;
  readonly layers: number;
  /** Width of the hidden state. */
  readonly embedding: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** Values of one key of one head. */
  readonly keyLength: number;
  /** Values of one value of one head. */
  readonly valueLength: number;
  /** Memory that the weights take, or pages of the file that they are mapped from. */
  readonly weightsBytes: number;
  /** What became of the packed weights on disk. */
  readonly packed: PackedState;
  /** Why packed weights were not mapped, or not written; nothing when all went well. */
  readonly packedNote: string | undefined;
  /** Time from the call until the model could be used. */
  readonly loadMs: number;
  /** Token put at the beginning of a text, if there is one. */
  readonly bos: number | undefined;
  /** Token that ends a text, if there is one. */
  readonly eos: number | undefined;
}
