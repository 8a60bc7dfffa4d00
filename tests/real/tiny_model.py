"""A small llama model with random weights, for tests of a real engine; its answers are noise.

It needs an interpreter with gguf: `python tiny_model.py FILE`.
"""

import sys

import numpy as np
from gguf import GGUFWriter, TokenType

WIDTH, HIDDEN, HEADS, CONTEXT = 64, 128, 2, 512
WORDS = [b" the", b" queue", b" was", b" short", b" and", b" users", b" came", b" again"]


def main(path: str) -> None:
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256)), *WORDS]
    tokens = [token.replace(b" ", "\u2581".encode()) for token in tokens]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    types += [TokenType.NORMAL] * len(WORDS)
    writer = GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    dice = np.random.default_rng(0)
    for name, shape in shapes(len(tokens)).items():
        norm = name.endswith("norm.weight")
        weights = np.ones(shape) if norm else dice.normal(0, 0.1, shape)
        writer.add_tensor(name, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    square, wide = (WIDTH, WIDTH), (HIDDEN, WIDTH)
    block = {
        "attn_norm": (WIDTH,), "attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square,
        "ffn_norm": (WIDTH,), "ffn_gate": wide, "ffn_up": wide, "ffn_down": (WIDTH, HIDDEN),
    }  # fmt: skip
    ends = {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,)}
    return (
        ends | {"output.weight": (vocabulary, WIDTH)} | {f"blk.0.{name}.weight": shape for name, shape in block.items()}
    )


if __name__ == "__main__":
    main(sys.argv[1])
