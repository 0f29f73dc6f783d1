#!/usr/bin/env python3
"""Writes tests/golden/measures.json: what other implementations make of the measures in src/measures.

    pip install nltk==3.10.4 scipy==1.17.1 numpy==2.4.6 mauve-text==0.4.0
    python tools/golden_measures.py

Bootstrap intervals are scipy's, which is given the resamples of our generator, written down here again.
Self-BLEU is nltk's sentence_bleu with its first smoothing method, entropy and Zipf's slope are scipy's,
the divergence frontier is that of the authors of MAUVE. What is only counting is done here a second
time, with tuples and Counters from the sentence that defines it. Perplexity and coherence come from the
logits that transformers computed for the random model tests/golden/llama_gqa.golden.

The texts are numbers from splitmix64; a part of each is said again, so that no measure is trivial.
"""

import json
import math
import pathlib
import struct
from collections import Counter

import numpy as np
import scipy.special
import scipy.stats
import scipy.stats._resampling as resampling
from mauve.compute_mauve import (
    compute_area_under_curve,
    get_divergence_curve_for_multinomials,
    get_fronter_integral,
)
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

GOLDEN = pathlib.Path(__file__).parent.parent / "tests/golden"
MODEL = "llama_gqa"
PROMPT = 11
MASK = (1 << 64) - 1


def splitmix(seed: int):
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def text_of(seed: int, length: int, vocabulary: int) -> list[int]:
    """Tokens of which small ones are more frequent, with phrases from before, and a loop at some ends."""
    draw = splitmix(seed)
    tokens: list[int] = []
    while len(tokens) < length:
        if tokens and next(draw) % 5 == 0:
            at = next(draw) % len(tokens)
            tokens += tokens[at:at + 2 + next(draw) % 6]
        else:
            u = (next(draw) >> 11) * 2.0**-53
            tokens.append(int(vocabulary ** u) - 1)
    tokens = tokens[:length]
    if seed % 3 == 0 and length > 12:
        phrase = 1 + seed % 4
        tokens = (tokens + tokens[-phrase:] * (2 + seed % 3))[-length:]
    return tokens


def grams(text: list[int], n: int) -> list[tuple]:
    return [tuple(text[i:i + n]) for i in range(len(text) - n + 1)]


def self_bleu(texts: list[list[int]], n: int, epsilon: float) -> float:
    method = SmoothingFunction(epsilon=epsilon).method1
    return float(np.mean([
        sentence_bleu(texts[:i] + texts[i + 1:], text, weights=(1 / n,) * n, smoothing_function=method)
        for i, text in enumerate(texts)
    ]))


def zipf(texts: list[list[int]], ranks: int) -> float:
    counts = sorted(Counter(t for text in texts for t in text).values(), reverse=True)[:ranks]
    return -float(scipy.stats.linregress(np.log(np.arange(1, len(counts) + 1)), np.log(counts)).slope)


def repetition_rate(texts: list[list[int]], n: int) -> float:
    counts = [Counter(grams(text, n)) for text in texts]
    repeated = sum(sum(1 for c in count.values() if c > 1) for count in counts)
    return repeated / sum(len(count) for count in counts)


def seq_rep(texts: list[list[int]], n: int) -> float:
    whole = [grams(text, n) for text in texts if len(text) >= n]
    return float(np.mean([1 - len(set(g)) / len(g) for g in whole]))


def loop(text: list[int], phrase: int, times: int) -> dict | None:
    """The shortest phrase that stands at the end so often, tried by comparing lists."""
    for length in range(phrase, len(text) + 1):
        last = text[-length:]
        found = 0
        while text[len(text) - (found + 1) * length:len(text) - found * length] == last:
            found += 1
            if (found + 1) * length > len(text):
                break
        if found >= times:
            return {"length": length, "times": found, "from": len(text) - found * length}
    return None


def frontier(p: list[float], q: list[float], points: int, scale: float, smoothing: float) -> dict:
    a, b = (np.array(x) + smoothing for x in (p, q))
    a, b = a / a.sum(), b / b.sum()
    curve = get_divergence_curve_for_multinomials(a, b, np.linspace(1e-6, 1 - 1e-6, points), scale)
    # Sorted by x, as auc wants it; the curve falls, so that the order of the rows does it.
    area = compute_area_under_curve(curve[::-1, 0], curve[::-1, 1])
    return {"p": p, "q": q, "points": points, "scale": scale, "smoothing": smoothing, "area": float(area),
            "integral": float(get_fronter_integral(a, b)), "curve": curve.ravel().tolist()}


def logprobs() -> tuple[list[int], list[float]]:
    """The tokens, and the logarithm of the probability of each but the first."""
    data = (GOLDEN / f"{MODEL}.golden").read_bytes()
    tokens_n, layers, embedding, vocabulary, _ = struct.unpack("<5I", data[8:28])
    tokens = np.frombuffer(data, "<u4", tokens_n, 36)
    at = 36 + 4 * (tokens_n + (layers + 1) * tokens_n * embedding)
    logits = np.frombuffer(data, "<f4", tokens_n * vocabulary, at).reshape(tokens_n, vocabulary)
    rows = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
    return tokens.tolist(), [float(rows[i - 1, tokens[i]]) for i in range(1, tokens_n)]


def model() -> dict:
    tokens, scores = logprobs()
    stops = [token % 7 == 0 for token in tokens[1:]]
    begins = [0] + [i for i in range(1, len(stops)) if stops[i - 1] and not stops[i]]
    sentences = [{"tokens": to - at, "logprob": math.fsum(scores[at:to])}
                 for at, to in zip(begins, begins[1:] + [len(scores)])]
    judged = sentences[1:]
    return {
        "name": MODEL, "tokens": tokens, "prompt": PROMPT,
        "nll": -math.fsum(scores) / len(scores),
        "nll_after_prompt": -math.fsum(scores[PROMPT - 1:]) / len(scores[PROMPT - 1:]),
        # A token whose id 7 divides is a full stop, all others are words; a sentence ends behind its stops.
        "sentences": sentences,
        "coherence": math.fsum(s["logprob"] for s in judged) / sum(s["tokens"] for s in judged),
    }


def philox(counter: list[int], key: list[int]) -> list[int]:
    for r in range(10):
        k = [(key[0] + r * 0x9E3779B9) % 2**32, (key[1] + r * 0xBB67AE85) % 2**32]
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ k[0], b % 2**32, (a >> 32) ^ counter[3] ^ k[1], a % 2**32]
    return counter


def uniform(seed: int, sequence: int, position: int, draw: int) -> float:
    words = philox([position % 2**32, position >> 32, sequence, draw], [seed % 2**32, seed >> 32])
    return ((words[1] << 32 | words[0]) >> 11) * 2.0**-53


STATISTICS = {"mean": np.mean, "variance": lambda x, axis: np.var(x, axis=axis, ddof=1), "median": np.median}


def bootstrap(values: list[float], statistic: str, method: str, confidence: float, n: int, seed: int) -> dict:
    rows = [[int(len(values) * uniform(seed, r, i, 2**32 - 1)) for i in range(len(values))] for r in range(n)]
    resampling.rng_integers = lambda rng, low, high, size: np.array(rows)
    found = scipy.stats.bootstrap(
        (values,), STATISTICS[statistic], n_resamples=n, batch=n, vectorized=True, confidence_level=confidence,
        method=method)
    return {
        "values": values, "statistic": statistic, "method": method.lower(), "confidence": confidence,
        "resamples": n, "seed": str(seed), "low": float(found.confidence_interval.low),
        "high": float(found.confidence_interval.high), "error": float(found.standard_error),
    }


def main() -> None:
    lengths = [40, 3, 64, 64, 1, 90, 17, 128, 64, 33, 7, 64]
    texts = [text_of(seed, length, 60) for seed, length in enumerate(lengths)]
    every = [t for text in texts for t in text]
    windows = [every[at:at + 25 + at % 7] for at in range(0, 200, 9)]
    shares = [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 2.0], [7.0], [0.25] * 4, [1e-12, 1.0]]
    skewed = [0.3, 1.7, 0.2, 5.5, 0.9, 2.2, 0.4, 0.4, 9.1, 1.1, 3.0]
    logits = [[1.5, -2.0, 0.25, 1.5], [1000.0, 990.0, -5000.0]]
    counts = [[float(Counter(text)[t]) for t in range(60)] for text in (texts[5], texts[7])]
    golden = {
        "texts": texts, "windows": windows,
        "entropy": [{"weights": w, "nats": float(scipy.stats.entropy(w))} for w in shares],
        "entropy_of_logits": [
            {"logits": z, "nats": float(scipy.stats.entropy(scipy.special.softmax(z)))} for z in logits
        ],
        "distinct": [
            {"n": n, "per_grams": len(g) / sum(len(grams(t, n)) for t in texts), "per_tokens": len(g) / len(every)}
            for n in (1, 2, 3, 5) for g in [{x for t in texts for x in grams(t, n)}]
        ],
        "self_bleu": [
            {"of": name, "n": n, "epsilon": e, "score": self_bleu(of, n, e)}
            for name, of in (("texts", texts), ("windows", windows))
            for n, e in ((4, 0.1), (2, 0.1), (5, 0.01))
        ],
        "zipf": [{"ranks": r, "s": zipf(texts, r)} for r in (5000, 10)],
        "repetition_rate": [{"n": n, "rate": repetition_rate(texts, n)} for n in (1, 2, 4)],
        "seq_rep": [{"n": n, "rate": seq_rep(texts, n)} for n in (1, 2, 4)],
        "loops": [
            {"phrase": p, "times": t, "found": [loop(text, p, t) for text in texts]} for p, t in ((2, 3), (1, 2))
        ],
        "coverage": {"vocabulary": 100, "share": len(set(every)) / 100},
        "frontier": [
            frontier(counts[0], counts[1], 25, 5.0, 0.0), frontier(counts[0], counts[1], 10, 1.0, 0.5),
            frontier([0.5, 0.5, 0.0], [0.5, 0.5 - 1e-6, 1e-6], 25, 5.0, 0.0),
            frontier([1.0, 0.0], [0.0, 1.0], 25, 5.0, 0.0),
        ],
        "uniform": [
            {"key": [str(seed), *rest], "u": uniform(seed, *rest)}
            for seed, *rest in ((0, 0, 0, 0), (7, 0, 5, 0), (2**64 - 1, 2**32 - 1, 2**53 - 1, 2**32 - 1),
                                (2**40 + 3, 2, 2**33 + 1, 1))
        ],
        "normal": [
            {"x": x, "p": float(scipy.stats.norm.cdf(x)), "quantile": float(scipy.stats.norm.ppf(p)), "of": p}
            for x, p in ((-9.0, 1e-12), (-3.1, 0.025), (-2.9, 0.3), (-0.1, 0.5), (0.7, 0.6), (4.0, 0.999))
        ],
        "bootstrap": [
            bootstrap(skewed, "mean", "BCa", 0.95, 400, 0), bootstrap(skewed, "mean", "percentile", 0.95, 400, 0),
            bootstrap(skewed, "variance", "BCa", 0.9, 300, 2**64 - 5),
            bootstrap(skewed, "median", "BCa", 0.95, 300, 3),
        ],
        "model": model(),
    }
    (GOLDEN / "measures.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
