"""The openai package with as many workers as requests in flight and the same schedule of due times.

Retries are the package's own, which heed `retry-after`.
"""

import asyncio

import openai

from harness import TRIES, Pacer, Task, in_parallel


async def main(task):
    pacer = Pacer(task)
    client = openai.AsyncOpenAI(base_url=task.url, api_key="none", max_retries=TRIES - 1)

    async def send(body):
        await pacer.wait(body["messages"][0]["content"])
        try:
            answer = await client.chat.completions.create(**body)
        except openai.OpenAIError:
            return
        task.answered += bool(answer.choices)

    await in_parallel(task.in_flight, task.bodies, send)


task = Task()
asyncio.run(main(task))
task.report()
