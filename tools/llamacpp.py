"""A thin view of llama.cpp's C API, for the scripts that record reference values.

The shared libraries are those of the npm package @node-llama-cpp/linux-x64@3.22.1 (llama.cpp
v0.5.0, CPU). The structures below follow `include/llama.h` of that version; another version needs
them checked again. Nothing of the product uses this file.

Numbers: keys and values are cached as f32 and attention is computed without the fused path, so that
the only rounding left is llama.cpp's own, which quantises activations to 8 bits in front of every
quantised matrix. `decoded_to_f32` writes the same weights as f32, for which it does not.
"""
import ctypes as c
import os

import numpy as np

PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"


class ModelParams(c.Structure):
    _fields_ = [("devices", c.c_void_p), ("tensor_buft_overrides", c.c_void_p),
                ("n_gpu_layers", c.c_int32), ("split_mode", c.c_int32), ("load_mode", c.c_int32),
                ("lazy_mode", c.c_int32), ("main_gpu", c.c_int32), ("tensor_split", c.c_void_p),
                ("progress_callback", c.c_void_p), ("progress_callback_user_data", c.c_void_p),
                ("kv_overrides", c.c_void_p)] + [
                (name, c.c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts",
                                              "no_host", "no_alloc", "load_mtp")]


class ContextParams(c.Structure):
    _fields_ = [(name, c.c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq",
                                                "n_outputs_max", "n_outputs_max_per_seq")] + [
                (name, c.c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type",
                                               "rope_scaling_type", "pooling_type", "attention_type",
                                               "flash_attn_type")] + [
                (name, c.c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor",
                                               "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")] + [
                ("yarn_orig_ctx", c.c_uint32), ("defrag_thold", c.c_float),
                ("cb_eval", c.c_void_p), ("cb_eval_user_data", c.c_void_p),
                ("type_k", c.c_int32), ("type_v", c.c_int32),
                ("abort_callback", c.c_void_p), ("abort_callback_data", c.c_void_p)] + [
                (name, c.c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload",
                                              "swa_full", "kv_unified")] + [
                ("samplers", c.c_void_p), ("n_samplers", c.c_size_t), ("ctx_other", c.c_void_p)]


class Batch(c.Structure):
    _fields_ = [("n_tokens", c.c_int32), ("token", c.POINTER(c.c_int32)), ("embd", c.c_void_p),
                ("pos", c.POINTER(c.c_int32)), ("n_seq_id", c.POINTER(c.c_int32)),
                ("seq_id", c.POINTER(c.POINTER(c.c_int32))), ("logits", c.POINTER(c.c_int8))]


class Library:
    """The functions that are used, loaded from the folder with the shared libraries."""

    def __init__(self, folder):
        base, ggml, llama = (c.CDLL(os.path.join(folder, name), mode=c.RTLD_GLOBAL) for name in (
            "libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so"))
        self.silence = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda level, text, data: None)
        llama.llama_log_set(self.silence, None)
        base.ggml_log_set(self.silence, None)
        ggml.ggml_backend_load_all_from_path(folder.encode())
        llama.llama_backend_init()
        self.llama = llama
        p = c.c_void_p
        signatures = {
            "llama_model_default_params": (ModelParams,), "llama_context_default_params": (ContextParams,),
            "llama_model_load_from_file": (p, c.c_char_p, ModelParams), "llama_model_free": (None, p),
            "llama_init_from_model": (p, p, ContextParams), "llama_free": (None, p),
            "llama_get_memory": (p, p), "llama_memory_clear": (None, p, c.c_bool),
            "llama_memory_seq_rm": (c.c_bool, p, c.c_int32, c.c_int32, c.c_int32),
            "llama_model_get_vocab": (p, p), "llama_vocab_n_tokens": (c.c_int32, p),
            "llama_vocab_is_eog": (c.c_bool, p, c.c_int32),
            "llama_tokenize": (c.c_int32, p, c.c_char_p, c.c_int32, p, c.c_int32, c.c_bool, c.c_bool),
            "llama_token_to_piece": (c.c_int32, p, c.c_int32, c.c_char_p, c.c_int32, c.c_int32, c.c_bool),
            "llama_batch_init": (Batch, c.c_int32, c.c_int32, c.c_int32), "llama_batch_free": (None, Batch),
            "llama_decode": (c.c_int32, p, Batch),
            "llama_get_logits_ith": (c.POINTER(c.c_float), p, c.c_int32),
            "llama_version": (c.c_char_p,),
        }
        for name, (result, *arguments) in signatures.items():
            function = getattr(llama, name)
            function.restype, function.argtypes = result, arguments


class Model:
    """A model with one sequence of at most `context` tokens."""

    def __init__(self, library, path, context=1024, threads=1):
        self.llama = library.llama
        params = self.llama.llama_model_default_params()
        # Repacked weights come with other kernels, whose rounding differs from machine to machine.
        params.use_extra_bufts = False
        self.model = self.llama.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = self.llama.llama_model_get_vocab(self.model)
        self.n_vocab = self.llama.llama_vocab_n_tokens(self.vocab)
        params = self.llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = context
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = 0
        params.type_k = params.type_v = 0  # GGML_TYPE_F32
        params.swa_full = True
        self.context = self.llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot make a context for {path}")
        self.batch = self.llama.llama_batch_init(context, 0, 1)
        self.n_context = context
        self.position = 0

    def close(self):
        self.llama.llama_batch_free(self.batch)
        self.llama.llama_free(self.context)
        self.llama.llama_model_free(self.model)

    def tokenize(self, text, add_special=True, parse_special=True):
        raw = text.encode()
        out = (c.c_int32 * (len(raw) + 16))()
        n = self.llama.llama_tokenize(self.vocab, raw, len(raw), out, len(out), add_special, parse_special)
        if n < 0:
            raise SystemExit(f"llama.cpp cannot tokenise: {n}")
        return list(out[:n])

    def piece(self, token):
        out = c.create_string_buffer(512)
        n = self.llama.llama_token_to_piece(self.vocab, token, out, len(out), 0, True)
        return out.raw[:max(n, 0)]

    def is_end(self, token):
        return bool(self.llama.llama_vocab_is_eog(self.vocab, token))

    def clear(self):
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        self.position = 0

    def decode(self, tokens, rows=None):
        """Appends `tokens`; returns the logits of the rows named (default: the last) as f64."""
        if not 0 < len(tokens) <= self.n_context - self.position:
            raise SystemExit(f"{len(tokens)} tokens do not fit")
        wanted = [len(tokens) - 1] if rows is None else rows
        self.batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            self.batch.token[i] = token
            self.batch.pos[i] = self.position + i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = 1 if i in wanted else 0
        status = self.llama.llama_decode(self.context, self.batch)
        if status != 0:
            raise SystemExit(f"llama.cpp cannot decode: status {status}")
        self.position += len(tokens)
        get = self.llama.llama_get_logits_ith
        return np.array([np.ctypeslib.as_array(get(self.context, i), (self.n_vocab,)).astype(np.float64)
                         for i in wanted])


def log_softmax(logits):
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def decoded_to_f32(path, out):
    """Writes the GGUF at `path` again with every tensor as f32, decoded by the gguf package."""
    import gguf
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        if name == "general.file_type":
            writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        elif kind == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(name, field.contents(), kind, field.types[-1])
        else:
            writer.add_key_value(name, field.contents(), kind)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape(tuple(int(n) for n in reversed(tensor.shape))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
