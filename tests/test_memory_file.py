"""Files without a name."""

import numpy as np

from model.memory_file import MemoryFile


def test_a_file_holds_what_was_written_last() -> None:
    file = MemoryFile()
    for content in (b"a longer recording", b"short", b""):
        file.write(content)
        assert file.read() == content
    file.close()


def test_samples_come_back_to_the_bit() -> None:
    file = MemoryFile()
    samples = np.random.default_rng(0).normal(size=(2, 9_999)).astype(np.float32)
    file.write(bytes(10**6))
    file.write_samples(samples)
    assert np.array_equal(file.read_samples().reshape(2, -1), samples)
    file.clear()
    assert file.read_samples().size == 0
    file.close()
