"""What is freed goes back to the machine."""

import subprocess
import sys

SCRIPT = """
from model.heap import keep_few_arenas, return_free_memory
import os
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
keep_few_arenas()
# Blocks too small to be mapped by themselves, with one that stays at the end of the heap.
blocks = [bytearray(60_000) for _ in range(2_000)]
last = bytearray(60_000)
del blocks
kept = resident()
return_free_memory()
print(kept - resident())
"""


def test_freed_memory_is_given_back_though_something_behind_it_is_in_use() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    assert int(ended.stdout) > 50_000_000
