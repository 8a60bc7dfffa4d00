"""A small llama model with random weights, for tests of a real engine; its answers are noise.

It needs an interpreter with gguf: `python tiny_model.py FILE [WIDTH BLOCKS CONTEXT]`. A wider one with more blocks is slower.
"""

import sys

import numpy as np
from gguf import GGUFWriter, TokenType

WIDTH, BLOCKS, CONTEXT = 64, 1, 512
HEAD_WIDTH = 32
WORDS = [b" the", b" queue", b" was", b" short", b" and", b" users", b" came", b" again"]


def main(path: str, width: int = WIDTH, blocks: int = BLOCKS, context: int = CONTEXT) -> None:
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256)), *WORDS]
    tokens = [token.replace(b" ", "\u2581".encode()) for token in tokens]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    types += [TokenType.NORMAL] * len(WORDS)
    writer = GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(width // HEAD_WIDTH)
    writer.add_head_count_kv(width // HEAD_WIDTH)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    dice = np.random.default_rng(0)
    for name, shape in shapes(len(tokens), width, blocks).items():
        norm = name.endswith("norm.weight")
        weights = np.ones(shape) if norm else dice.normal(0, 0.1, shape)
        writer.add_tensor(name, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def shapes(vocabulary: int, width: int, blocks: int) -> dict[str, tuple[int, ...]]:
    square, wide = (width, width), (2 * width, width)
    block = {
        "attn_norm": (width,), "attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square,
        "ffn_norm": (width,), "ffn_gate": wide, "ffn_up": wide, "ffn_down": (width, 2 * width),
    }  # fmt: skip
    ends = {"token_embd.weight": (vocabulary, width), "output_norm.weight": (width,)}
    of_blocks = {f"blk.{n}.{name}.weight": shape for n in range(blocks) for name, shape in block.items()}
    return ends | {"output.weight": (vocabulary, width)} | of_blocks


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
