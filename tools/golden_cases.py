"""The tiny models of golden_transformers.py. A case names the family, the transformers classes and
their settings, and what its GGUF says beyond the common keys. Shapes are odd on purpose: rows that
are no multiple of 16, heads of 20 or 24, one KV head, sequences over more than one cache page."""
import math

LLAMA = {"config": "LlamaConfig", "model": "LlamaForCausalLM", "family": "llama"}
QWEN2 = {"config": "Qwen2Config", "model": "Qwen2ForCausalLM", "family": "qwen2"}
QWEN3 = {"config": "Qwen3Config", "model": "Qwen3ForCausalLM", "family": "qwen3"}
GEMMA3 = {"config": "Gemma3TextConfig", "model": "Gemma3ForCausalLM", "family": "gemma3"}
MISTRAL = {"config": "MistralConfig", "model": "MistralForCausalLM", "family": "llama"}

CASES = []


def case(name, base, embd, ff, layers, heads, kv_heads, metadata=(), factors=(), n_tokens=24,
         vocab=96, context=128, weights="f16", peer=True, **settings):
    """`metadata` are keys below the family's name, `factors` extra tensors, `peer` says whether
    llama.cpp can compute the case."""
    settings = {"hidden_size": embd, "intermediate_size": ff, "num_hidden_layers": layers,
                "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocab,
                "max_position_embeddings": context, "rms_norm_eps": 1e-5, "pad_token_id": None,
                "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False} | settings
    CASES.append(dict(base, name=name, settings=settings, metadata=dict(metadata), type=weights,
                      factors=dict(factors), n_tokens=n_tokens, peer=peer, seed=len(CASES) + 1))


def rope(kind="default", base=10000.0, **more):
    return {"rope_type": kind, "rope_theta": base} | more


def llama3_factors(head_dim, base, factor, low, high, original):
    """One divisor per frequency, as the converter computes them."""
    out = []
    for i in range(0, head_dim, 2):
        wave = 2 * math.pi * base ** (i / head_dim)
        if wave < original / high:
            out.append(1.0)
        elif wave > original / low:
            out.append(factor)
        else:
            smooth = (original / wave - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return out


plain_base = {"rope.freq_base": 10000.0}

case("llama_gqa", LLAMA, 40, 52, 2, 4, 2, plain_base, n_tokens=80, vocab=100, weights="f32",
     rope_parameters=rope())
case("llama_tied_mqa_bias", LLAMA, 48, 52, 2, 2, 1, plain_base, rope_parameters=rope(),
     tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
case("llama_head_dim", LLAMA, 42, 56, 2, 3, 3, {"rope.freq_base": 500000.0}, weights="bf16",
     head_dim=20, rope_parameters=rope(base=500000.0))
case("llama_one_layer", LLAMA, 64, 33, 1, 2, 1, plain_base, vocab=129, rope_parameters=rope())
case("llama_rope_linear", LLAMA, 48, 24, 1, 2, 1,
     plain_base | {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
     rope_parameters=rope("linear", factor=4.0))
case("llama_rope_llama3", LLAMA, 48, 24, 1, 2, 1, plain_base,
     {"rope_freqs.weight": llama3_factors(24, 10000.0, 8.0, 1.0, 4.0, 32)},
     rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=32))
case("llama_rope_yarn", LLAMA, 48, 24, 1, 2, 1,
     plain_base | {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                   "rope.scaling.original_context_length": 32},
     n_tokens=40, rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=32))
longrope_short = [1.0 + 0.05 * i for i in range(12)]
longrope_long = [1.0 + 0.7 * i for i in range(12)]
for name, context, peer in (("long", 64, True), ("short", 32, False)):
    # transformers goes by the tokens seen so far and llama.cpp by the size of the context; the two
    # agree here, because the tokens pass the original context exactly when the session could. (But
    # llama.cpp rounds contexts up to 256, so that it cannot be asked for the short ones.)
    case(f"llama_rope_longrope_{name}", LLAMA, 48, 24, 1, 2, 1,
         plain_base | {"rope.scaling.type": "longrope", "rope.scaling.original_context_length": 32,
                       "rope.scaling.attn_factor": 1.19},
         {"rope_factors_short.weight": longrope_short, "rope_factors_long.weight": longrope_long},
         n_tokens=40 if name == "long" else 24, context=context, peer=peer,
         rope_parameters=rope("longrope", factor=2.0, short_factor=longrope_short, attention_factor=1.19,
                              long_factor=longrope_long, original_max_position_embeddings=32))
case("mistral_sliding_window", MISTRAL, 48, 24, 2, 4, 1, plain_base | {"attention.sliding_window": 7},
     n_tokens=72, peer=False, sliding_window=7, rope_parameters=rope())
case("qwen2", QWEN2, 40, 36, 2, 4, 2, {"rope.freq_base": 1000000.0}, vocab=101, weights="f32",
     tie_word_embeddings=True, rope_parameters=rope(base=1000000.0))
case("qwen2_mha_untied", QWEN2, 40, 41, 2, 2, 2, plain_base, weights="bf16", rope_parameters=rope())
case("qwen3", QWEN3, 48, 40, 2, 3, 1, {"rope.freq_base": 1000000.0}, head_dim=32,
     tie_word_embeddings=True, rope_parameters=rope(base=1000000.0))
case("qwen3_gqa_untied", QWEN3, 40, 33, 3, 4, 2, plain_base, weights="bf16", n_tokens=70, head_dim=16,
     rope_parameters=rope())

gemma_rope = {"full_attention": rope(base=1000000.0), "sliding_attention": rope()}
case("gemma3", GEMMA3, 32, 36, 7, 2, 1, {"rope.freq_base": 1000000.0, "attention.sliding_window": 6},
     n_tokens=72, head_dim=24, query_pre_attn_scalar=24, sliding_window=6, tie_word_embeddings=True,
     rope_parameters=gemma_rope)
case("gemma3_scaled", GEMMA3, 48, 40, 3, 3, 3,
     {"rope.freq_base": 1000000.0, "attention.sliding_window": 9, "attention.sliding_window_pattern": 2,
      "rope.scaling.type": "linear", "rope.scaling.factor": 8.0, "final_logit_softcapping": 3.0},
     n_tokens=33, head_dim=16, query_pre_attn_scalar=16, sliding_window=9,
     sliding_window_pattern=2, final_logit_softcapping=3.0, tie_word_embeddings=True,
     rope_parameters=gemma_rope | {"full_attention": rope("linear", 1000000.0, factor=8.0)})
case("gemma3_caps", GEMMA3, 48, 40, 2, 2, 2,
     {"rope.freq_base": 1000000.0, "rope.freq_base_swa": 5000.0, "attention.sliding_window": 5,
      "attention.sliding_window_pattern": 2, "attention.scale": 40 ** -0.5,
      "attn_logit_softcapping": 2.0, "final_logit_softcapping": 4.0},
     peer=False, head_dim=20, query_pre_attn_scalar=40, sliding_window=5, sliding_window_pattern=2,
     attn_logit_softcapping=2.0, final_logit_softcapping=4.0, tie_word_embeddings=True,
     rope_parameters={"full_attention": rope(base=1000000.0), "sliding_attention": rope(base=5000.0)})
