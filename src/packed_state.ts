/**
 * What became of the packed weights that a load was asked to keep on disk: `"off"`, none were asked
 * for; `"mapped"`, the weights are the file's pages; `"written"`, there were none that fit, and now
 * there are; `"unsaved"`, there were none that fit, and none could be written. In the last two the
 * weights are in memory, and `packedNote` says why.
 */
export type PackedState = "off" | "mapped" | "written" | "unsaved";
