"""Embeddings without a model: the scripted LLM's, the same for the same text everywhere and always.

A text's words and the trigrams of its letters are counted in 256 boxes, and the counts are brought to length 1. So
texts that share words are close to each other, which is all that flow retrieval and search need in a demo.
"""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib

DIMENSIONS = 256


def embed(text: str) -> list[float]:
    """The embedding of a text, of length 1; a text without words points into the first dimension."""
    vector = [0.0] * DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        padded = f" {word} "
        trigrams = [padded[start : start + 3] for start in range(len(padded) - 2)]
        for feature in (word, *trigrams):
            vector[zlib.crc32(feature.encode()) % DIMENSIONS] += 1.0
    length = math.hypot(*vector)
    if not length:
        return [1.0, *vector[1:]]
    return [value / length for value in vector]


def to_base64(vector: list[float]) -> str:
    """A vector as OpenAI's API encodes it: little-endian floats of 32 bits, in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
