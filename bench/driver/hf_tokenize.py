"""The driver of Hugging Face tokenizers. Speaks the lines of main.c, of which it knows `tokenize`.

usage: hf_tokenize.py VOCABULARY.json     {"tokens": […], "merges": ["a b", …]} of a byte-level BPE
"""

import json
import sys
import time

from tokenizers import Tokenizer, models, pre_tokenizers

with open(sys.argv[1], encoding="utf8") as file:
    found = json.load(file)
begun = time.perf_counter()
tokenizer = Tokenizer(
    models.BPE(
        vocab={token: i for i, token in enumerate(found["tokens"])},
        merges=[tuple(merge.split(" ")) for merge in found["merges"]],
    )
)
# As SmolLM2 has it: single digits, then the expression of GPT-2.
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
)
print(f"ready {(time.perf_counter() - begun) * 1000:.3f}", flush=True)
for line in sys.stdin:
    _, length, path = line.rstrip("\n").split(" ", 2)
    with open(path, "rb") as file:
        text = file.read(int(length)).decode("utf8")
    begun = time.perf_counter()
    count = len(tokenizer.encode(text, add_special_tokens=False).ids)
    print(f"{(time.perf_counter() - begun) * 1000:.6f} {count}", flush=True)
