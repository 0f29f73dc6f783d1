/**
 * What a stage has beside its numbers: a text, a list of texts, or tokens with a number each. It is plain
 * JSON, which has no infinity: `false` stands for -Infinity.
 */
export type StageData =
  | string
  | readonly string[]
  | readonly (readonly [token: number, value: number | false])[];
