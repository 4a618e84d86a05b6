"""What every client script shares: the task, pacing for clients without a limiter, the report.

The bench starts `SCRIPT --url URL --input BATCH.jsonl --in-flight N [--rpm N] [--tpm N]` and reads
one line of JSON from standard output. SIGTERM is the end of the time that a run may take: the line
is then printed with what there is.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import time

TRIES = 6


class Task:
    """The command line, the requests, and how many of them were answered."""

    def __init__(self):
        parser = argparse.ArgumentParser()
        parser.add_argument("--url", required=True)
        parser.add_argument("--input", required=True)
        parser.add_argument("--in-flight", type=int, required=True)
        parser.add_argument("--requests", type=int, required=True)
        parser.add_argument("--rpm", type=float)
        parser.add_argument("--tpm", type=float)
        arguments = parser.parse_args()
        self.url = arguments.url
        self.in_flight = arguments.in_flight
        self.rpm = arguments.rpm
        self.tpm = arguments.tpm
        with open(arguments.input, encoding="utf-8") as lines:
            bodies = [json.loads(line)["body"] for line, _ in zip(lines, range(arguments.requests))]
        self.bodies = bodies
        self.prompts = [body["messages"][0]["content"] for body in bodies]
        self.max_tokens = bodies[0]["max_tokens"]
        self.answered = 0
        # Reading the input and importing packages is not the work that is compared.
        self.cpu_before = cpu_s()
        signal.signal(signal.SIGTERM, lambda *_: self.report())

    def charge(self, prompt):
        """What the server takes for it: characters / 4 and all of max_tokens."""
        return len(prompt) // 4 + self.max_tokens

    def report(self):
        """Prints the line and ends the process, whatever else still runs in it."""
        line = {
            "answered": self.answered,
            "cpu_s": cpu_s() - self.cpu_before,
            "peak_bytes": peak_bytes(),
        }
        print(json.dumps(line), flush=True)
        os._exit(0)


class Pacer:
    """A schedule of due times; a late client catches up on half a second at most."""

    def __init__(self, task):
        if task.tpm:
            self.rate_per_s = task.tpm / 60
        elif task.rpm:
            self.rate_per_s = task.rpm / 60
        else:
            self.rate_per_s = None
        self.by_tokens = task.tpm is not None
        self.charge = task.charge
        self.due = None

    async def wait(self, prompt):
        if self.rate_per_s is None:
            return
        now = time.monotonic()
        due = now if self.due is None else max(self.due, now - 0.5)
        self.due = due + (self.charge(prompt) if self.by_tokens else 1) / self.rate_per_s
        if due > now:
            await asyncio.sleep(due - now)


async def in_parallel(workers, items, work):
    """Calls `work` for each item, `workers` of them at a time."""
    pending = iter(items)

    async def drain():
        for item in pending:
            await work(item)

    await asyncio.gather(*(drain() for _ in range(workers)))


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_bytes():
    try:
        # Linux: of this program alone. What getrusage tells began with the process before exec.
        with open("/proc/self/status", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024)
