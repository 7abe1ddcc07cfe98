"""Any BERT of transformers in, an ONNX sentence encoder out: what ``model.sentence.OnnxEncoder`` runs."""

import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from model.sentence import SentenceConfig

Pooling = Literal["cls", "mean"]


class _PooledBert(nn.Module):
    def __init__(self, bert: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.bert = bert
        self.pooling = pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.bert(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]
        if self.pooling == "cls":
            return hidden[:, 0]
        mask = attention_mask[..., None].to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)


def export_bert(model: str | Path, out: Path, *, pooling: Pooling = "cls", max_tokens: int = 128) -> SentenceConfig:
    """Export a BERT folder (or hub name) to ``out`` and return the configuration that names it.

    The paper's choice is the last layer's [CLS] of bert-base-chinese (768-d).

    Raises:
        ValueError: the model has no fast tokenizer.
    """
    tokenizer = AutoTokenizer.from_pretrained(model)
    if not tokenizer.is_fast:
        raise ValueError(f"{model} has no fast tokenizer; serving reads tokenizer.json")
    bert = AutoModel.from_pretrained(model, attn_implementation="eager").eval()
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))
    example = tokenizer(["你好", "今天天气很好"], padding=True, return_tensors="pt")
    with warnings.catch_warnings():
        # Same exporter as the network's, for the same reason (training/export.py).
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _PooledBert(bert, pooling),
            (example["input_ids"], example["attention_mask"]),
            str(out / "model.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence"],
            dynamic_axes={
                "input_ids": {0: "batch", 1: "tokens"},
                "attention_mask": {0: "batch", 1: "tokens"},
                "sentence": {0: "batch"},
            },
            opset_version=17,
            dynamo=False,
        )
    return SentenceConfig(
        kind="onnx", name=Path(str(model)).name, dimension=int(bert.config.hidden_size), max_tokens=max_tokens
    )
