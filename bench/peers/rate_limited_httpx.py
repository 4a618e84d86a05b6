"""rate_limited with httpx: a `Runner` with the limit as a `Resource` of one second.

A window of one second is the one of its windows that is nearest to how the server counts, and waiters
are woken 20 times a second instead of once.
"""

import logging

import httpx
from rate_limited.resources import Resource
from rate_limited.runner import Runner

from harness import TRIES, Task


def main(task):
    client = httpx.AsyncClient(
        limits=httpx.Limits(max_connections=task.in_flight), timeout=60
    )

    async def send(body):
        response = await client.post(f"{task.url}/chat/completions", json=body)
        response.raise_for_status()
        answer = response.json()
        task.answered += bool(answer["choices"])
        return answer

    resources = []
    if task.rpm:
        resources.append(
            Resource(
                "requests",
                quota=task.rpm / 60,
                time_window_seconds=1,
                arguments_usage_extractor=lambda call: 1,
            )
        )
    if task.tpm:
        resources.append(
            Resource(
                "tokens",
                quota=task.tpm / 60,
                time_window_seconds=1,
                arguments_usage_extractor=lambda call: task.charge(
                    call.get_argument("body")["messages"][0]["content"]
                ),
            )
        )
    runner = Runner(
        send,
        resources,
        max_concurrent=task.in_flight,
        max_retries=TRIES - 1,
        progress_interval=0.05,
    )
    for body in task.bodies:
        runner.schedule(body)
    runner.run()


logging.disable(logging.CRITICAL)
task = Task()
main(task)
task.report()
