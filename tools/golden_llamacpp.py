#!/usr/bin/env python3
"""Record reference values of real models with llama.cpp: tokens, greedy text, next-token rows, nll.

usage: golden_llamacpp.py LIBRARIES NAME=MODEL.gguf… [--out tests/golden] [--work FOLDER]

LIBRARIES is the folder `bins/linux-x64` of the npm package @node-llama-cpp/linux-x64@3.22.1.
Needs numpy and gguf==0.19.0. The prompts are those of OUT/prompts.json; for every model are written
OUT/llamacpp_NAME.json and OUT/llamacpp_NAME.rows. WORK receives the model with f32 weights.

Two references, because llama.cpp rounds the inputs of every quantised matrix to 8 bits:

  float  llama.cpp over the same weights decoded to f32 beforehand (by the gguf package): no rounding
         of activations. What is left is f32 summation order, and a GELU that llama.cpp looks up in
         an f16 table.
  plain  llama.cpp over the file as it is. `plain_kl` is KL(float || plain) of the next token: what
         llama.cpp's own rounding costs. An engine without that rounding cannot be nearer to `plain`.

NAME.json: {model, sha256, library, n_vocab, text_nll: {tokens, float, plain}, prompts: [{name,
  tokens, tokens_plain (no special tokens added, markup taken as text), greedy: {float, plain}: {tokens,
  gaps}, plain_kl, rows: [{reference, consumed}]}]}.
  tokens: with the special tokens that the metadata asks for, markup recognised. `gaps[i]` is the
  difference of the best two log-probabilities (nats) where greedy token i was chosen; the list ends
  after 32 tokens or with the token that ends generation. `consumed`: the row follows after that many
  tokens of `tokens` + the greedy tokens of `float`. text_nll: mean over tokens 1… of the text, given
  all before it, in nats.

NAME.rows: for every entry of `rows`, in order, 2056 bytes, little endian:
  u32 n_top = 128; f32 tail: the mass outside the top;
  u32 ids[256]: the 128 best, best first; then 128 drawn from the rest in proportion to their
  probability (systematic sampling over the rest, sorted); f32 logprobs[256], natural.
  So KL(p || q) = sum of g over the top + tail / 128 * sum of g / p over the drawn ones, with
  g = p ln(p / q) - p + q >= 0, which sums to the same as p ln(p / q). The drawn part has a
  relative error of about a tenth.
"""
import argparse
import hashlib
import json
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import llamacpp  # noqa: E402

N_TOP, N_DRAWN, N_GREEDY = 128, 128, 32
FORCED = (0, 8, 24)  # greedy tokens appended before a row is taken


def row_bytes(logprobs, rng):
    order = np.argsort(-logprobs, kind="stable")
    rest = order[N_TOP:]
    mass = np.cumsum(np.exp(logprobs[rest]))
    points = (rng.random() + np.arange(N_DRAWN)) / N_DRAWN * mass[-1]
    drawn = rest[np.minimum(np.searchsorted(mass, points), len(rest) - 1)]
    ids = np.concatenate([order[:N_TOP], drawn]).astype("<u4")
    return struct.pack("<If", N_TOP, mass[-1]) + ids.tobytes() + logprobs[ids].astype("<f4").tobytes()


def greedy(model, tokens):
    """The greedy continuation, its gaps, and the log-probabilities at each of its steps."""
    model.clear()
    steps, chosen, gaps = [llamacpp.log_softmax(model.decode(tokens))[0]], [], []
    while True:
        best = np.argpartition(-steps[-1], 2)[:2]
        best = best[np.argsort(-steps[-1][best])]
        chosen.append(int(best[0]))
        gaps.append(round(float(steps[-1][best[0]] - steps[-1][best[1]]), 4))
        if len(chosen) == N_GREEDY or model.is_end(chosen[-1]):
            return {"tokens": chosen, "gaps": gaps}, steps
        steps.append(llamacpp.log_softmax(model.decode([chosen[-1]]))[0])


def text_nll(model, tokens, chunk=16):
    model.clear()
    total = 0.0
    for at in range(0, len(tokens) - 1, chunk):
        part = tokens[at:min(at + chunk, len(tokens) - 1)]
        logprobs = llamacpp.log_softmax(model.decode(part, list(range(len(part)))))
        total -= sum(row[tokens[at + i + 1]] for i, row in enumerate(logprobs))
    return round(total / (len(tokens) - 1), 6)


def record(library, name, path, inputs, out, work):
    decoded = os.path.join(work, os.path.basename(path).removesuffix(".gguf") + ".f32.gguf")
    if not os.path.exists(decoded):
        llamacpp.decoded_to_f32(path, decoded)
    exact, plain = llamacpp.Model(library, decoded), llamacpp.Model(library, path)
    rng = np.random.default_rng(1)
    rows, prompts = [], []
    for prompt in inputs["prompts"]:
        tokens = plain.tokenize(prompt["text"])
        greedy_float, steps = greedy(exact, tokens)
        greedy_plain, plain_steps = greedy(plain, tokens)
        p, q = steps[0], plain_steps[0]
        entry = {
            "name": prompt["name"], "tokens": tokens,
            "tokens_plain": plain.tokenize(prompt["text"], add_special=False, parse_special=False),
            "greedy": {"float": greedy_float, "plain": greedy_plain},
            "plain_kl": round(float((np.exp(p) * (p - q)).sum()), 6), "rows": [],
        }
        for forced in FORCED:
            if forced < len(steps):
                entry["rows"].append({"reference": "float", "consumed": len(tokens) + forced})
                rows.append(row_bytes(steps[forced], rng))
        entry["rows"].append({"reference": "plain", "consumed": len(tokens)})
        rows.append(row_bytes(q, rng))
        prompts.append(entry)
        print(f"{name} {prompt['name']}: {len(tokens)} tokens, plain_kl {entry['plain_kl']:.5f}", flush=True)
    text = plain.tokenize(inputs["perplexity_text"])
    document = {
        "model": os.path.basename(path), "sha256": hashlib.sha256(open(path, "rb").read()).hexdigest(),
        "library": llamacpp.PACKAGE, "n_vocab": plain.n_vocab,
        "text_nll": {"tokens": len(text), "float": text_nll(exact, text), "plain": text_nll(plain, text)},
        "prompts": prompts,
    }
    exact.close()
    plain.close()
    with open(os.path.join(out, f"llamacpp_{name}.rows"), "wb") as f:
        f.write(b"".join(rows))
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in document.pop("prompts"))
    head = json.dumps(document)[:-1]
    with open(os.path.join(out, f"llamacpp_{name}.json"), "w") as f:
        f.write(f'{head}, "prompts": [\n{lines}\n]}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.gguf")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "tests", "golden"))
    parser.add_argument("--work", default="/tmp")
    args = parser.parse_args()
    library = llamacpp.Library(args.libraries)
    with open(os.path.join(args.out, "prompts.json"), encoding="utf-8") as f:
        inputs = json.load(f)
    for model in args.models:
        name, path = model.split("=", 1)
        record(library, name, path, inputs, args.out, args.work)


if __name__ == "__main__":
    main()
