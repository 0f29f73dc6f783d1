/**
 * Vitrine: an engine for language models that you can see into.
 *
 * @module
 */
export type { Activation, Hook } from "./src/activation.ts";
export { adaptiveP } from "./src/adaptive_p.ts";
export type { AttentionOptions, AttentionRows } from "./src/attention_rows.ts";
export {
  type AttentionStatistics,
  attentionStatistics,
  type AttentionStatisticsOptions,
} from "./src/attention_statistics.ts";
export type { ChatMessage } from "./src/chat_message.ts";
export type { ChatTemplateOptions } from "./src/chat_template_options.ts";
export {
  compareKv,
  type CompareKvOptions,
  type KvCandidate,
  type KvComparison,
  type KvMeasure,
} from "./src/compare_kv.ts";
export { customStage, type StageCandidates, type StageFunction } from "./src/custom_stage.ts";
export {
  diffKv,
  type DiffKvOptions,
  type KvDiff,
  type KvDifference,
  type KvSource,
} from "./src/diff_kv.ts";
export { dry, type DryOptions } from "./src/dry.ts";
export { contrastiveSearch, type ContrastiveSearchOptions } from "./src/contrastive_search.ts";
export { customDraft } from "./src/custom_draft.ts";
export type { Draft, DraftedText, Drafter, DraftFunction, DraftPass } from "./src/draft.ts";
export { dynamicTemperature } from "./src/dynamic_temperature.ts";
export {
  compareSamplers,
  type CompareSamplersOptions,
  type SampledText,
  type SamplerChain,
  type SamplerComparison,
  type SamplerFigure,
  type SamplerReference,
  type SamplerRow,
} from "./src/compare_samplers.ts";
export { encodeNpy, type NpyValues } from "./src/encode_npy.ts";
export { engineInfo } from "./src/engine_info.ts";
export { EngineError, type EngineErrorCode } from "./src/engine_error.ts";
export { epsilonCutoff } from "./src/epsilon_cutoff.ts";
export { etaCutoff } from "./src/eta_cutoff.ts";
export { estimate, type EstimateOptions, type MemoryEstimate } from "./src/estimate.ts";
export {
  type CachedTokens,
  evictBy,
  type EvictByOptions,
  type EvictFunction,
} from "./src/evict_by.ts";
export type { EvictPolicy } from "./src/evict_policy.ts";
export { formatSampler } from "./src/format_sampler.ts";
export { frequencyPenalty } from "./src/frequency_penalty.ts";
export type { GenerateOptions, TapeOptions, TraceOptions } from "./src/generate_options.ts";
export { Generation } from "./src/generation.ts";
export { grammar } from "./src/grammar.ts";
export { greedy } from "./src/greedy.ts";
export { h2o } from "./src/h2o.ts";
export { guidance } from "./src/guidance.ts";
export { jsonSchema } from "./src/json_schema.ts";
export {
  type JsonSchema,
  jsonSchemaGrammar,
  type JsonSchemaOptions,
} from "./src/json_schema_grammar.ts";
export { type GrammarMatch, matchGrammar } from "./src/match_grammar.ts";
export { KvCache } from "./src/kv_cache.ts";
export { type KvEventColumns, type KvEventKind, KvEvents } from "./src/kv_events.ts";
export { type KvFormat, kvFormats, kvGroupFormats } from "./src/kv_format.ts";
export type { KvBytes, KvLedger } from "./src/kv_ledger.ts";
export { type KvLedgerColumns, KvLedgerLog } from "./src/kv_ledger_log.ts";
export type { KvPart, KvRaw, KvView } from "./src/kv_part.ts";
export { kvLevels, type KvSample } from "./src/kv_levels.ts";
export type {
  KvBlock,
  KvFunction,
  KvQuantiser,
  KvScheme,
  KvSimulation,
} from "./src/kv_simulation.ts";
export type { KvPages } from "./src/kv_pages.ts";
export { KvPool } from "./src/kv_pool.ts";
export type { KvPoolOptions } from "./src/kv_pool_options.ts";
export type { KvPoolStats } from "./src/kv_pool_stats.ts";
export type { KvPolicy, KvRule, KvShape, KvStored } from "./src/kv_policy.ts";
export type { KvMoments, KvStatistics, KvStatisticsOptions } from "./src/kv_statistics.ts";
export { loadModel } from "./src/load_model.ts";
export type { LoadOptions } from "./src/load_options.ts";
export type { LoadProgress } from "./src/load_progress.ts";
export { logitBias } from "./src/logit_bias.ts";
export {
  LogitTape,
  type OrderResult,
  readTape,
  type TapeComparison,
  type TapeDifference,
  type TapeHeader,
  type TapeRow,
  type TapeSampleOptions,
} from "./src/logit_tape.ts";
export { LogitsView } from "./src/logits_view.ts";
export type { MachineLimits } from "./src/machine_limits.ts";
export { measureLimits } from "./src/measure_limits.ts";
export { type MemoryAccess, MemoryMeter } from "./src/memory_meter.ts";
export {
  type BootstrapInterval,
  bootstrapInterval,
  type BootstrapOptions,
} from "./src/measures/bootstrap_interval.ts";
export {
  type Coherence,
  coherence,
  type CoherenceOptions,
  type ScoredSentence,
} from "./src/measures/coherence.ts";
export { distinctN } from "./src/measures/distinct_n.ts";
export { entropy } from "./src/measures/entropy.ts";
export {
  type FrontierArea,
  frontierArea,
  type FrontierAreaOptions,
} from "./src/measures/frontier_area.ts";
export { type Perplexity, perplexity, type PerplexityOptions } from "./src/measures/perplexity.ts";
export { type RepetitionLoop, repetitionLoop } from "./src/measures/repetition_loop.ts";
export { repetitionRate } from "./src/measures/repetition_rate.ts";
export { selfBleu, type SelfBleuOptions } from "./src/measures/self_bleu.ts";
export { seqRep } from "./src/measures/seq_rep.ts";
export { tokenHistogram } from "./src/measures/token_histogram.ts";
export type { TokenSequence } from "./src/measures/token_sequence.ts";
export { vocabularyCoverage } from "./src/measures/vocabulary_coverage.ts";
export { zipfCoefficient } from "./src/measures/zipf_coefficient.ts";
export type { MetadataArray } from "./src/metadata_array.ts";
export type { MetadataValue } from "./src/metadata_value.ts";
export { minK } from "./src/min_k.ts";
export { minP } from "./src/min_p.ts";
export { mirostat } from "./src/mirostat.ts";
export { mirostatV2 } from "./src/mirostat_v2.ts";
export { Model } from "./src/model.ts";
export { modelDraft } from "./src/model_draft.ts";
export type { ModelInfo } from "./src/model_info.ts";
export { noRepeatNgram } from "./src/no_repeat_ngram.ts";
export { pLess } from "./src/p_less.ts";
export { ngramDraft, type NgramDraftOptions } from "./src/ngram_draft.ts";
export type { PackedState } from "./src/packed_state.ts";
export { parseSampler } from "./src/parse_sampler.ts";
export { philox } from "./src/philox.ts";
export type { Precision } from "./src/precision.ts";
export type { PrefillOptions } from "./src/prefill_options.ts";
export { presencePenalty } from "./src/presence_penalty.ts";
export type { PromptToken } from "./src/prompt_token.ts";
export { Recording } from "./src/recording.ts";
export { repetitionPenalty } from "./src/repetition_penalty.ts";
export type { SampleManyOptions } from "./src/sample_many_options.ts";
export { type Sample, type SampledStep, Samples } from "./src/samples.ts";
export { samplerChart } from "./src/sampler_chart.ts";
export { samplerTable } from "./src/sampler_table.ts";
export { sampleLogits } from "./src/sample_logits.ts";
export type { SamplerStage } from "./src/sampler_stage.ts";
export type { StageData } from "./src/stage_data.ts";
export { type PullProgress, resolveModel, type ResolveOptions } from "./src/store.ts";
export { type KvPoint, type KvSearch, searchKv, type SearchKvOptions } from "./src/search_kv.ts";
export { Session } from "./src/session.ts";
export type { SessionOptions } from "./src/session_options.ts";
export type { SessionStats } from "./src/session_stats.ts";
export { slidingWindow, type SlidingWindowOptions } from "./src/sliding_window.ts";
export { snapKv } from "./src/snap_kv.ts";
export {
  readSnapshot,
  type Snapshot,
  type SnapshotPart,
  type SnapshotSequence,
} from "./src/snapshot.ts";
export type {
  RestoreOptions,
  SaveOptions,
  SessionRestoreOptions,
  SnapshotProgress,
} from "./src/snapshot_options.ts";
export type { Step } from "./src/step.ts";
export type { StepOptions } from "./src/step_options.ts";
export type { StopReason } from "./src/stop_reason.ts";
export { tailFree } from "./src/tail_free.ts";
export { temperature } from "./src/temperature.ts";
export type { TensorInfo } from "./src/tensor_info.ts";
export type { TokenLogprob } from "./src/token_logprob.ts";
export type { TokenizeOptions } from "./src/tokenize_options.ts";
export { topA } from "./src/top_a.ts";
export { topK } from "./src/top_k.ts";
export { topNSigma } from "./src/top_n_sigma.ts";
export { topP } from "./src/top_p.ts";
export { tova } from "./src/tova.ts";
export { Trace, type TracePlace, type TraceStage, type TraceSteps } from "./src/trace.ts";
export { typical } from "./src/typical.ts";
export { uniform, type UniformKey } from "./src/uniform.ts";
export { xtc } from "./src/xtc.ts";
