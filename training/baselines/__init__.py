"""The systems that VCEMO is compared with, each from its own paper, on our corpora, protocol and trainer."""
