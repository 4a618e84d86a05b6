"""The best hand-made asyncio: aiohttp, a schedule of due times, retries that heed `retry-after`.

Not a product, but the least that a serious tool must clear.
"""

import asyncio

import aiohttp

from harness import TRIES, Pacer, Task, in_parallel


async def main(task):
    pacer = Pacer(task)
    connector = aiohttp.TCPConnector(limit=task.in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(body):
            prompt = body["messages"][0]["content"]
            for attempt in range(TRIES):
                await pacer.wait(prompt)
                try:
                    async with session.post(f"{task.url}/chat/completions", json=body) as response:
                        answer = await response.json()
                        if response.status == 200 and answer["choices"]:
                            task.answered += 1
                            return
                        pause = float(response.headers.get("retry-after", 2**attempt))
                except (aiohttp.ClientError, asyncio.TimeoutError):
                    pause = 2**attempt
                await asyncio.sleep(pause)

        await in_parallel(task.in_flight, task.bodies, send)


task = Task()
asyncio.run(main(task))
task.report()
