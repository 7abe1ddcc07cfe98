"""A BERT of two layers with random weights, written as transformers writes any BERT."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

DIMENSION = 32
CHARACTERS = "今天气很好我不高兴下雨也去你请留言"


def write_tiny_bert(folder: Path) -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CHARACTERS]
    BertTokenizer(vocab={token: index for index, token in enumerate(tokens)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
