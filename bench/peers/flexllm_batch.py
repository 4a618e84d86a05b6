"""flexllm: `LLMClient.chat_batch` with its limit on queries a second. It has none on tokens."""

import asyncio

from flexllm import LLMClient

from harness import TRIES, Task


async def main(task):
    async with LLMClient(
        base_url=task.url,
        model="m",
        api_key="none",
        concurrency_limit=task.in_flight,
        # Without a value it is 1,000; nothing stands for no limit.
        max_qps=task.rpm / 60 if task.rpm else None,
        retry_times=TRIES - 1,
    ) as client:
        messages = [body["messages"] for body in task.bodies]
        async for _, result in client.chat_batch_iter(
            messages, show_progress=False, max_tokens=task.max_tokens
        ):
            task.answered += result.ok


task = Task()
asyncio.run(main(task))
task.report()
