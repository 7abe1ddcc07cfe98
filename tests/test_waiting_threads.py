import threading

from service.waiting_threads import NUM_THREADS, waiting_threads


def test_all_threads_are_there_from_the_start_and_none_comes_later() -> None:
    before = set(threading.enumerate())
    with waiting_threads() as pool:
        started = set(threading.enumerate()) - before
        assert len(started) == NUM_THREADS
        named = set(pool.map(lambda _: threading.current_thread(), range(100)))
        assert named <= started
