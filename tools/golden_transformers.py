#!/usr/bin/env python3
"""Make tiny random models and record their hidden states and logits with Hugging Face transformers.

usage: golden_transformers.py [CASE…] [--out tests/golden] [--check LIBRARIES]

Needs torch==2.9.1 transformers==5.23.0 gguf==0.19.0 numpy==2.4.6. Everything is computed in f64 on
the CPU with eager attention; only the rotary angles are f32, as transformers has them. For each case
two files are written:

CASE.gguf    the model, as the usual converter would write it: tensor names, the rows of q and k
             permuted for the `llama` family, 1 added to Gemma's norms, llama3's scaling as
             `rope_freqs.weight`, LongRoPE's as `rope_factors_{short,long}.weight`. Matrices are f32,
             or f16 or bf16 where the case says so (the values were rounded before the model ran, so
             that nothing is lost). The tokenizer is a dummy with one piece per id.
CASE.golden  little endian, without padding:
             char magic[8] = "VITGOLD1"
             u32 n_tokens, n_layers, n_embd, n_vocab, context
             f32 hidden_tolerance, logits_tolerance
             u32 tokens[n_tokens]
             f32 hidden[n_layers + 1][n_tokens][n_embd]
             f32 logits[n_tokens][n_vocab]

hidden[0] is what enters the first block: the embeddings, scaled where the family scales them.
hidden[i] is the residual stream behind block i, counted from 1, *before* the final norm, also for the
last block. The session must be made with `context`, because LongRoPE chooses its factors by it.

A value x passes when |x - golden| <= tolerance * (1 + |golden|). Tolerances are bounds for f32
arithmetic with f32 keys and values: the values are of the order of 1 to 10, sums of up to 100 terms
lose about 1e-6 of that, angles up to 80 radians another 5e-6, and a few blocks amplify both; 1e-4
leaves a factor of ten above what was measured and is far under what a wrong formula gives.

Not among the cases: "dynamic" NTK scaling, which GGUF cannot express.

--check runs llama.cpp over each file as well (decoded to f32, see llamacpp.py) and prints its largest
difference of a logit; it does so for the cases that llama.cpp can compute, and names the others.
"""
import argparse
import os
import struct
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from golden_cases import CASES  # noqa: E402

HIDDEN_TOLERANCE, LOGITS_TOLERANCE = 1e-4, 1e-4
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight", "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
ROUND = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def fill(model, case):
    """Random weights, large enough that every part of the model moves the result."""
    generator = torch.Generator().manual_seed(case["seed"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if name.endswith("norm.weight"):
                values = (0.2 * values + (0 if case["family"] == "gemma3" else 1)).to(torch.float32)
            elif name.endswith("bias"):
                values = (0.3 * values).to(torch.float32)
            else:
                # Gemma multiplies its embeddings by sqrt(n_embd), which are also the output matrix.
                scale = p.shape[1] ** -0.5 if "embed" not in name or case["family"] == "gemma3" else 0.5
                values = (scale * 1.3 * values).to(ROUND[case["type"]])
            p.copy_(values.to(torch.float64))


def with_attention_cap():
    """Gemma3Attention keeps `attn_logit_softcapping`, and its eager attention takes a `softcap`, but
    this version's forward pass doesn't hand the one to the other."""
    from transformers.models.gemma3 import modeling_gemma3
    eager = modeling_gemma3.eager_attention_forward

    def capped(module, *args, **kwargs):
        return eager(module, *args, **kwargs | {"softcap": module.attn_logit_softcapping})

    modeling_gemma3.eager_attention_forward = capped


def run(model, tokens):
    """Hidden states by hooks, because transformers applies the final norm to the last one it returns."""
    hidden = []
    layers = model.model.layers
    hooks = [layers[0].register_forward_pre_hook(lambda m, a, k: hidden.append(a[0]), with_kwargs=True)]
    hooks += [layer.register_forward_hook(
        lambda m, a, out: hidden.append(out[0] if isinstance(out, tuple) else out)) for layer in layers]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return np.stack([h[0].numpy() for h in hidden]), logits[0].numpy()


def gguf_name(name, family):
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    if module == "post_attention_layernorm":
        short = "post_attention_norm" if family == "gemma3" else "ffn_norm"
    else:
        short = NAMES[module]
    return f"blk.{layer}.{short}.{kind}"


def permuted(values, heads):
    """The rotary halves of each head interleaved: row i and row i + n/2 become neighbours."""
    rows = values.shape[0] // heads
    return values.reshape(heads, 2, rows // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def write_gguf(path, model, case):
    config, family = model.config, case["family"]
    w = gguf.GGUFWriter(path, family)
    w.add_name(f"random {case['name']}")
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_vocab_size(config.vocab_size)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if family in ("gemma3", "qwen3") or head_dim * config.num_attention_heads != config.hidden_size:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if family == "llama":
        w.add_rope_dimension_count(head_dim)
    for key, value in case["metadata"].items():
        add = w.add_string if isinstance(value, str) else w.add_uint32 if isinstance(value, int) else w.add_float32
        add(f"{family}.{key}", value)

    pieces = ["<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(3, config.vocab_size)]
    w.add_tokenizer_model("llama")
    w.add_token_list(pieces)
    w.add_token_scores([0.0] * len(pieces))
    w.add_token_types([2, 3, 3] + [1] * (len(pieces) - 3))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)

    for name, factors in case["factors"].items():
        w.add_tensor(name, np.array(factors, dtype=np.float32))
    for name, p in model.named_parameters():
        values = p.detach().to(torch.float32).numpy()
        if family == "llama" and ".q_proj." in name:
            values = permuted(values, config.num_attention_heads)
        elif family == "llama" and ".k_proj." in name:
            values = permuted(values, config.num_key_value_heads)
        elif family == "gemma3" and name.endswith("norm.weight"):
            values = values + np.float32(1)
        if values.ndim == 2 and case["type"] == "f16":
            w.add_tensor(gguf_name(name, family), values.astype(np.float16))
        elif values.ndim == 2 and case["type"] == "bf16":
            kind = gguf.GGMLQuantizationType.BF16
            w.add_tensor(gguf_name(name, family), gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            w.add_tensor(gguf_name(name, family), np.ascontiguousarray(values))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(case, out):
    config = getattr(transformers, case["config"])(**case["settings"], attn_implementation="eager")
    model = getattr(transformers, case["model"])(config).double().eval()
    fill(model, case)
    if case["family"] == "gemma3":
        # transformers adds 1 in the forward pass and the converter in f32 beforehand; round as it does.
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name.endswith("norm.weight"):
                    p.copy_((p.to(torch.float32) + 1).to(torch.float64) - 1)
    tokens = np.random.default_rng(case["seed"]).integers(3, config.vocab_size, case["n_tokens"]).tolist()
    tokens[0] = 1
    hidden, logits = run(model, tokens)
    write_gguf(os.path.join(out, case["name"] + ".gguf"), model, case)
    with open(os.path.join(out, case["name"] + ".golden"), "wb") as f:
        f.write(b"VITGOLD1" + struct.pack(
            "<5I2f", len(tokens), config.num_hidden_layers, config.hidden_size, config.vocab_size,
            config.max_position_embeddings, HIDDEN_TOLERANCE, LOGITS_TOLERANCE))
        f.write(np.array(tokens, "<u4").tobytes() + hidden.astype("<f4").tobytes() + logits.astype("<f4").tobytes())
    return tokens, hidden, logits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tests", "golden"))
    parser.add_argument("--check", metavar="LIBRARIES")
    args = parser.parse_args()
    with_attention_cap()
    torch.set_num_threads(1)
    library = None
    if args.check:
        import llamacpp
        library = llamacpp.Library(args.check)
    for case in CASES:
        if args.cases and case["name"] not in args.cases:
            continue
        tokens, hidden, logits = make(case, args.out)
        path = os.path.join(args.out, case["name"] + ".gguf")
        line = f"{case['name']}: {os.path.getsize(path)} bytes, hidden rms {np.sqrt((hidden ** 2).mean()):.2f}, " \
               f"logits rms {np.sqrt((logits ** 2).mean()):.2f}"
        if library and not case["peer"]:
            line += ", llama.cpp cannot compute it"
        elif library:
            context = case["settings"]["max_position_embeddings"]
            with tempfile.TemporaryDirectory() as folder:
                decoded = os.path.join(folder, "decoded.gguf")
                llamacpp.decoded_to_f32(path, decoded)
                peer = llamacpp.Model(library, decoded, context)
                rows = peer.decode(tokens, list(range(len(tokens))))
                peer.close()
            line += f", llama.cpp differs by at most {np.abs(rows - logits).max():.2e}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
