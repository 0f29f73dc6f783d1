#!/usr/bin/env python3
"""Makes zig-src/quant/golden/quant.json: what other implementations make of given blocks.

The blocks are random bytes from splitmix64 with the format's id as seed, so that the test makes the
same ones and only results are committed: the values of the first block in full, and a SHA-256 of the
values of all of them, enough to meet every point of every codebook. Two readers are asked and must
agree bit for bit: the numpy one of the Python package `gguf` (which knows no Q8_1 and Q8_K), and the
C library ggml.

For the encoders the input is made from the same generator: sums of integers, so that they are the
same floats everywhere. What is recorded is ggml's root-mean-square error after a round trip.

    pip install gguf==0.19.0
    python tools/golden_quant.py path/to/libggml-base.so

The library can be taken from any build of llama.cpp; the committed values are from release 3.22.1 of
the npm package @node-llama-cpp/linux-x64.
"""

import ctypes
import hashlib
import json
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType, dequantize

OUT = pathlib.Path(__file__).parent.parent / "zig-src/quant/golden/quant.json"
BLOCKS = 1024

# name: (id, values a block, bytes a block, offsets of the upper byte of each floating-point scale).
# There bit 6 is cleared, which keeps the exponent from meaning infinity, NaN or an overflow.
FORMATS = {
    "f32": (0, 1, 4, [3]), "f16": (1, 1, 2, [1]), "bf16": (30, 1, 2, [1]), "f64": (28, 1, 8, [7]),
    "i8": (24, 1, 1, []), "i16": (25, 1, 2, []), "i32": (26, 1, 4, []), "i64": (27, 1, 8, []),
    "q4_0": (2, 32, 18, [1]), "q4_1": (3, 32, 20, [1, 3]),
    "q5_0": (6, 32, 22, [1]), "q5_1": (7, 32, 24, [1, 3]),
    "q8_0": (8, 32, 34, [1]), "q8_1": (9, 32, 36, [1]),
    "q2_k": (10, 256, 84, [81, 83]), "q3_k": (11, 256, 110, [109]),
    "q4_k": (12, 256, 144, [1, 3]), "q5_k": (13, 256, 176, [1, 3]),
    "q6_k": (14, 256, 210, [209]), "q8_k": (15, 256, 292, [3]),
    "iq2_xxs": (16, 256, 66, [1]), "iq2_xs": (17, 256, 74, [1]), "iq2_s": (22, 256, 82, [1]),
    "iq3_xxs": (18, 256, 98, [1]), "iq3_s": (21, 256, 110, [1]),
    "iq1_s": (19, 256, 50, [1]), "iq1_m": (29, 256, 56, [55]),
    "iq4_nl": (20, 32, 18, [1]), "iq4_xs": (23, 256, 136, [1]),
    "tq1_0": (34, 256, 54, [53]), "tq2_0": (35, 256, 66, [65]),
    "mxfp4": (39, 32, 17, []), "nvfp4": (40, 64, 36, []),
}
ENCODED = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k",
           "mxfp4", "nvfp4"]
EXACT = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl"]
# Encoded without a search for better codes, as ggml's own cache is.
PLAIN = ["iq4_nl", "mxfp4", "nvfp4"]


def splitmix(seed: int, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def blocks(name: str) -> np.ndarray:
    id_, _, size, clear = FORMATS[name]
    words = splitmix(id_, BLOCKS * size // 8)
    data = words.astype("<u8").view(np.uint8).reshape(BLOCKS, size).copy()
    data[:, clear] &= 0xBF
    return data


def plain(name: str, data: np.ndarray) -> np.ndarray | None:
    """The formats that are numbers, and the two that the Python package doesn't decode."""
    dtype = {"f32": "<f4", "f16": "<f2", "f64": "<f8",
             "i8": "<i1", "i16": "<i2", "i32": "<i4", "i64": "<i8"}.get(name)
    if dtype:
        return data.view(dtype).astype(np.float32).ravel()
    if name == "q8_1":
        return (data[:, :2].copy().view("<f2").astype(np.float32) * data[:, 4:].view(np.int8)).ravel()
    if name == "q8_k":
        return (data[:, :4].copy().view("<f4") * data[:, 4:260].view(np.int8).astype(np.float32)).ravel()
    return None


def ggml_decode(lib: ctypes.CDLL, name: str, data: np.ndarray) -> np.ndarray | None:
    symbol = "dequantize_row_" + name.replace("_k", "_K")
    if not hasattr(lib, symbol):
        return None
    out = np.empty(BLOCKS * FORMATS[name][1], np.float32)
    decode = getattr(lib, symbol)
    decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    decode(data.ctypes.data, out.ctypes.data, out.size)
    return out


def decoded(lib: ctypes.CDLL, name: str) -> dict:
    id_, block_len, size, clear = FORMATS[name]
    data = blocks(name)
    values = plain(name, data)
    if values is None:
        values = dequantize(data.copy(), GGMLQuantizationType(id_)).ravel()
    values = values.astype(np.float32) + np.float32(0)  # -0 becomes 0
    other = ggml_decode(lib, name, data)
    readers = 1 if other is None else 2
    if other is not None:
        differ = np.flatnonzero((other + np.float32(0)).view(np.uint32) != values.view(np.uint32))
        if differ.size:
            raise SystemExit(f"{name}: readers differ in {differ.size} values, first at {differ[0]}: "
                             f"{values[differ[0]]} and {other[differ[0]]}")
    print(f"{name:8} {readers} reader(s) agree on {values.size} values")
    return {
        "name": name, "id": id_, "block_len": block_len, "block_bytes": size, "clear": clear,
        "first": values[:block_len].astype("<f4").tobytes().hex(),
        "sha256": hashlib.sha256(values.astype("<f4").tobytes()).hexdigest(),
    }


def inputs() -> dict[str, np.ndarray]:
    """65536 values each. A sum of eight 16-bit integers is normal enough, and exact."""
    words = splitmix(7, 65536 * 2).astype("<u8").view("<u2").reshape(65536, 8)
    gaussian = ((words.astype(np.int64).sum(axis=1) - 262140).astype(np.float32) *
                np.float32(1 / 65536)).astype(np.float32)
    outliers = gaussian.copy()
    outliers[::61] *= np.float32(8)
    return {"gaussian": gaussian, "outliers": outliers, "shifted": gaussian + np.float32(1.5)}


def encoded(lib: ctypes.CDLL, name: str, values: np.ndarray) -> dict:
    id_, block_len, size, _ = FORMATS[name]
    data = np.zeros(values.size // block_len * size, np.uint8)
    if name in PLAIN:
        encode = getattr(lib, f"quantize_row_{name}_ref")
        encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        encode(values.ctypes.data, data.ctypes.data, values.size)
    else:
        lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        lib.ggml_quantize_chunk(id_, values.ctypes.data, data.ctypes.data, 0, values.size // 256, 256, None)
    back = dequantize(data, GGMLQuantizationType(id_)).ravel()
    error = back.astype(np.float64) - values
    found = {"rmse": float(np.sqrt(np.mean(error * error)))}
    if name in EXACT:
        found["sha256"] = hashlib.sha256(data.tobytes()).hexdigest()
    return found


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("expected the path of libggml-base.so as the only argument")
    lib = ctypes.CDLL(sys.argv[1])
    sets = inputs()
    golden = {
        "blocks": BLOCKS,
        "decode": [decoded(lib, name) for name in FORMATS],
        "encode": [{"name": name} | {key: encoded(lib, name, values) for key, values in sets.items()}
                   for name in ENCODED],
    }
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
