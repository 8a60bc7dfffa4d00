"""A small llama model with random weights and its tokenizer, in Hugging Face's format; its answers are noise.

It needs an interpreter with transformers and torch: `python tiny_hf_model.py FOLDER`.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH, BLOCKS, HEADS, VOCABULARY, CONTEXT = 256, 4, 4, 2048, 4096
SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEXTS = Path(__file__).parents[2] / "docs"


def main(folder: str) -> None:
    tokenizer = tokenizer_of(sorted(map(str, TEXTS.glob("*.md"))))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    configuration = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS // 2, max_position_embeddings=CONTEXT,
        bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=False, torch_dtype="bfloat16",
    )  # fmt: skip
    LlamaForCausalLM(configuration).to(torch.bfloat16).save_pretrained(folder)


def tokenizer_of(files: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train(
        files, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>",
        model_max_length=CONTEXT,
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    return fast


if __name__ == "__main__":
    main(sys.argv[1])
