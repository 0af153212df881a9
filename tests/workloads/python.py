"""Python code with known answers: `python.py KIND SECONDS`. The log is that of work.h."""

import hashlib
import json
import os
import re
import sys
import threading
import time


def log(line):
    with open(os.environ["WORKLOAD_LOG"], "a") as out:
        out.write(line + "\n")


def burn(steps):
    total = 0
    for step in range(steps):
        total += step & 7
    return total


def take_seventy():
    burn(70_000)


def take_thirty():
    burn(30_000)


def split():
    take_seventy()
    take_thirty()


def first_thread(until):
    while time.monotonic() < until:
        burn(10_000)


def second_thread(until):
    while time.monotonic() < until:
        burn(10_000)


def without_the_lock(until):
    """Works in C, and lets others run Python code meanwhile."""
    data = bytes(1 << 20)
    while time.monotonic() < until:
        hashlib.sha256(data)


def produce(count):
    for _ in range(count):
        yield burn(10_000)


def transform(values):
    for value in values:
        yield value + 1


class Consumer:
    def consume(self):
        return sum(value for value in transform(produce(10)))


def dive(depth):
    if depth == 0:
        return bottom()
    return dive(depth - 1)


def bottom():
    burn(100_000)


def key_of(item):
    return burn(500) + item


def replacement(match):
    return str(burn(500))


def hook(pairs):
    return burn(500)


def natives():
    """Native functions that call back, each under a function of its own."""
    by_sorting()
    by_matching()
    by_parsing()


def by_sorting():
    sorted(range(100), key=key_of)


def by_matching():
    re.sub("a", replacement, "a" * 100)


def by_parsing():
    json.loads("[" + ",".join(["{}"] * 100) + "]", object_hook=hook)


def fresh(number):
    """Runs code that nobody keeps: the next takes its place in memory."""
    source = "def outer():\n    inner()\n\ndef inner():\n    burn(20_000)\n\nouter()\n"
    source = source.replace("outer", f"outer_{number % 1000}").replace("inner", f"inner_{number % 1000}")
    exec(compile(source, f"fresh_{number % 1000}.py", "exec"), {"burn": burn})


def renamed(name):
    code = take_thirty.__code__
    changes = {"co_name": name, "co_filename": name}
    if hasattr(code, "co_qualname"):
        changes["co_qualname"] = name
    return type(take_thirty)(code.replace(**changes), globals())


ODD_NAMES = ["", "new\nline;and \x1b[31mred", "кириллица", "\U0001f40d", "é", "long" * 1000, "<b>&\"'"]
ODD = [renamed(name) for name in ODD_NAMES]


def odd():
    for function in ODD:
        function()


def threads(seconds):
    until = time.monotonic() + seconds
    running = [threading.Thread(target=target, args=(until,)) for target in (first_thread, second_thread, without_the_lock)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def burn_until(until):
    while time.monotonic() < until:
        burn(1_000)


def gil(seconds):
    """Three threads that all want to run."""
    until = time.monotonic() + seconds
    running = [threading.Thread(target=burn_until, args=(until,)) for _ in range(3)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


FIRST, SECOND, BOTH = threading.Lock(), threading.Lock(), threading.Barrier(2)


def wants_second():
    with FIRST:
        BOTH.wait()
        SECOND.acquire()


def wants_first():
    with SECOND:
        BOTH.wait()
        FIRST.acquire()


def hang():
    """Two threads, of which each waits for the lock that the other has."""
    hanging = [threading.Thread(target=target, daemon=True) for target in (wants_second, wants_first)]
    for thread in hanging:
        thread.start()
    hanging[0].join()


def main():
    kind, seconds = sys.argv[1], float(sys.argv[2])
    sys.setrecursionlimit(10_000)
    numbers = iter(range(1 << 60))
    kinds = {
        "split": split,
        "generators": Consumer().consume,
        "deep": lambda: dive(230),
        "deeper": lambda: dive(2000),
        "natives": natives,
        "fresh": lambda: fresh(next(numbers)),
        "odd": odd,
        "hang": hang,
    }
    log(f"ready {os.getpid()}")
    whole = {"threads": threads, "gil": gil}
    if kind in whole:
        whole[kind](seconds)
    until = time.monotonic() + seconds
    while kind not in whole and time.monotonic() < until:
        kinds[kind]()
    log(f"cpu_ns {time.process_time_ns()}")


main()
