"""The driver of llama.cpp as llama-cpp-python builds it, through the package's own declarations.

usage: llama_cpp_python.py MODEL.gguf THREADS REPACK

Speaks the lines of main.c, of which it knows `context`, `prefill`, `decode`, `truncate`, `chat` and
`batch`. What Python adds to a token is some microseconds.
"""

import ctypes
import sys
import time

import llama_cpp
import numpy

path, threads, repack = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"


@llama_cpp.llama_log_callback
def silence(level, text, data):
    pass


llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
begun = time.perf_counter()
llama_cpp.llama_backend_init()
model_params = llama_cpp.llama_model_default_params()
model_params.n_gpu_layers = 0
model_params.use_extra_bufts = repack
model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
if not model:
    sys.exit("llama.cpp can't load the model")
vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
print(f"ready {(time.perf_counter() - begun) * 1000:.3f}", flush=True)

context = None
batch = llama_cpp.llama_batch_init(2048, 0, 1)
positions = [0] * 64
following = [0] * 64


def make_context(length, sequences, key, value, flash):
    global context
    if context:
        llama_cpp.llama_free(context)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = length * sequences
    params.n_batch = 2048
    params.n_seq_max = sequences
    params.n_threads = params.n_threads_batch = threads
    params.type_k, params.type_v = key, value
    params.flash_attn_type = flash
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        sys.exit("llama.cpp can't make such a context")
    positions[:] = [0] * 64


def best(row):
    logits = llama_cpp.llama_get_logits_ith(context, row)
    return int(numpy.argmax(numpy.ctypeslib.as_array(logits, shape=(vocabulary,))))


def feed(tokens, sequences, wanted):
    """One token a place; `wanted` are the places whose next token is chosen."""
    batch.n_tokens = len(tokens)
    for i, (token, sequence) in enumerate(zip(tokens, sequences)):
        batch.token[i] = token
        batch.pos[i] = positions[sequence]
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = i in wanted
        positions[sequence] += 1
    if llama_cpp.llama_decode(context, batch) != 0:
        sys.exit("llama_decode failed")
    for i in wanted:
        following[sequences[i]] = best(i)


def prompt(count, sequence):
    return [(1000 + 37 * i + 7919 * sequence) % vocabulary for i in range(count)]


def read(sequence, tokens):
    for at in range(0, len(tokens), 2048):
        part = tokens[at : at + 2048]
        last = {len(part) - 1} if at + len(part) == len(tokens) else set()
        feed(part, [sequence] * len(part), last)


def generate(sequences, count):
    """Returns the hash of the first sequence's tokens (FNV-1a over ids)."""
    state = 2166136261
    for _ in range(count):
        tokens = following[:sequences]
        state = (state ^ tokens[0]) * 16777619 & 0xFFFFFFFF
        feed(tokens, list(range(sequences)), range(sequences))
    return state


def truncate(sequence, length):
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_seq_rm(memory, sequence, length, -1)
    positions[sequence] = length


def timed(work):
    begun = time.perf_counter()
    result = work()
    return f"{(time.perf_counter() - begun) * 1000:.6f} {result or 0}"


def run(command, n):
    if command == "context":
        make_context(*n)
        return "0"
    if command == "prefill":
        truncate(0, 0)
        return timed(lambda: read(0, prompt(n[0], 0)))
    if command == "decode":
        return timed(lambda: generate(1, n[0]))
    if command == "truncate":
        truncate(0, n[0] - 1)
        read(0, prompt(n[0], 0)[-1:])
        return "0"
    if command == "chat":
        turns, count, tokens = n
        truncate(0, 0)

        def talk():
            for turn in range(turns):
                read(0, prompt(count, turn))
                generate(1, tokens)

        return timed(talk)
    if command == "batch":
        sequences, count, tokens = n
        for sequence in range(sequences):
            truncate(sequence, 0)
            read(sequence, prompt(count, sequence))
        return timed(lambda: generate(sequences, tokens))
    sys.exit(f"no such command: {command}")


for line in sys.stdin:
    words = line.split()
    if words:
        print(run(words[0], [int(word) for word in words[1:]]), flush=True)
