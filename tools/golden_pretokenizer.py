#!/usr/bin/env python3
"""Writes zig-src/tokenizer/golden/pretokenizer.txt: how the published patterns of each family of
pre-tokenizers split difficult text, by another engine than ours.

Needs the Python package `tokenizers==0.23.3`, whose pattern engine is the one that the models
were trained with.

    python tools/golden_pretokenizer.py [TEXTS [SEED]] > zig-src/tokenizer/golden/pretokenizer.txt

A line `text "…"` (escaped as JSON) begins a text; the lines `FAMILY LENGTHS` after it give the
lengths in bytes of its pieces, one character from 0-9a-z each, longer ones in parentheses.
"""

import json
import random
import sys

from tokenizers import Regex, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"


def cl100k(digits=r"\p{N}{1,3}", letters=r"\p{L}+", tail=r"[\r\n]*", blanks=BLANKS, begin=SUFFIX + "|", rest=r"\s\p{L}\p{N}"):
    return rf"{begin}[^\r\n\p{{L}}\p{{N}}]?{letters}|{digits}| ?[^{rest}]+{tail}{blanks}"


def o200k(digits=r"\p{N}{1,3}", suffix=SUFFIX + "?", tail=r"[\r\n/]*", without="", begin=""):
    upper = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{without}]"
    lower = rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{without}]"
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{begin}{before}{upper}*{lower}+{suffix}|{before}{upper}+{lower}*{suffix}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+{tail}{BLANKS}"
    )


SIGN = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
DEEPSEEK = SIGN + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + BLANKS
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
# Letters with case, as Unicode had them when DeepSeek's pattern was written.
CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"
    "\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
YOUTU = (
    "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
    "|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
)
AFMOE = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e00-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
JAIS2_BLANKS = (
    r"|\s*[\r\n]+" + "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
)

FAMILIES = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "gpt2": [GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "llama3": [cl100k()],
    "qwen2": [cl100k(r"\p{N}")],
    "qwen35": [cl100k(r"\p{N}", r"[\p{L}\p{M}]+", rest=r"\s\p{L}\p{M}\p{N}")],
    "ufakzeka": [cl100k(r"\p{N}", begin="")],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    ],
    "seed_coder": [cl100k(r"\p{N}{1}", tail="", rest=r"\s\p{L}\p{N}\r\n")],
    "minicpm5": [r"\p{N}{1,3}", cl100k(r"\p{N}+")],
    "exaone_moe": [
        cl100k(r"\p{N}", r"(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+", r"[\r\n/]?", r"|\s*[\r\n]|\s+(?!\S)|\s+")
    ],
    "laguna": [r"[^\n]+|[\n]+", cl100k(r"\p{N}")],
    "jais2": [cl100k(blanks=JAIS2_BLANKS)],
    "gpt4o": [o200k()],
    "tekken": [o200k(r"\p{N}", "")],
    "kimi_k2": [o200k(tail=r"[\r\n]*", without=r"&&[^\p{Han}]", begin=r"[\p{Han}]+|")],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", o200k()],
    "afmoe": [r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", AFMOE, DEEPSEEK],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "deepseek_v3": [r"\p{N}{1,3}", CJK, DEEPSEEK],
    "spark2_5": [
        r"\p{N}{1,3}",
        CJK,
        SIGN + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+",
        r"\p{N}",
    ],
    "deepseek_coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", ASIAN, r"\p{N}"],
    "deepseek_llm": [
        r"[\r\n]",
        rf"\s?[{CASED}]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
        r"\s+$",
        ASIAN,
        r"\p{N}+",
    ],
    "youtu": [YOUTU, o200k(r"\p{N}")],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "chameleon": [
        "<sentinel:[0-9]+>",
        "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
        r"([\t\n]|    |  )",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        GPT2,
    ],
    "gemma4": [r"[^\n]+|[\n]+"],
}

# Nothing that Unicode added lately: the engines' tables differ there.
PARTS = [
    list("aeiost"), list("AEIOST"), list("éèüñøß"), list("ÉÜÑØ"), list("яжш"), list("ЯЖШ"), list("αβς"), list("ΑΒΩ"),
    ["ǅ", "ǈ", "ſ", "K", "İ", "ª", "ʰ", "ˇ", "ﬁ", "Ａ", "ａ"], list("我想在中文"), list("々〇〻〆"), list("ひらカナー"),
    list("한국어ㄱㅏ"), ["ᄀ", "ᅡ"], list("กำไทย"), list("កាន់តែ"), list("مرحبا"), ["ह", "ि", "न्", "दी"], ["́", "̈", "⃝", "ः"],
    list("0123456789"), list("0123456789"), list("٠١٢३४"), ["½", "²", "Ⅷ", "〡", "①", "𝟙", "𐄇"],
    list(".,;:!?"), list("'\"`"), list("()[]{}<>"), list("-_/\\|"), list("@#$%^&*+=~"), list("…“”‘’—。，、！？：；（）"),
    list("।۔،؟"), ["€", "©", "→", "∑", "˚"], ["😀", "🚀", "👩‍💻", "🏳️‍🌈", "🦙"], [" "], [" "], ["  "], ["   "], ["        "], ["\t"],
    ["\n"], ["\n\n"], ["\r\n"], ["\r"], ["\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u000b", "\u1680"],
    ["\u0000", "\u001c", "\u007f", "\u200b", "\u200d", "\ufeff", "\u00ad"], ["\ue000", "\U000f0000", "\U000e0fff"],
    ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"], ["'S", "'T", "'RE", "'Ve", "'M", "'lL", "'D", "'ſ"],
    ["<sentinel:12>", "<sentinel:>", "IMGIMGABZ", "IMGIMGAZ", "IMGIMGABCDEZ"], ["hello", "world", "HELLO", "camelCase", "XMLHttp"],
    ["3.14", "1,000,000", "1314151", "12345678"], ["//", "/*", "https://", "==="],
]


def sample(rng: random.Random) -> str:
    focus = rng.sample(PARTS, rng.randint(2, 12))
    return "".join(rng.choice(rng.choice(focus)) for _ in range(rng.randint(1, 24)))


def spell(lengths: list[int]) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(digits[n] if n < len(digits) else f"({n})" for n in lengths)


def main() -> None:
    texts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    splitters = {
        name: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns])
        for name, patterns in FAMILIES.items()
    }
    for _ in range(texts):
        text = sample(rng)
        print("text", json.dumps(text))
        for name, splitter in splitters.items():
            pieces = [piece for piece, _ in splitter.pre_tokenize_str(text)]
            assert "".join(pieces) == text, (name, text, pieces)
            print(name, spell([len(piece.encode()) for piece in pieces]))


main()
