"""async-batch-llm: `process_stream` over its own model for OpenAI-compatible servers.

Tuned as its documents advise for a limit that is known: a burst of 0.1 s, and a pause of 1 s after a
429, which is 300 s by default.
"""

import asyncio
import logging

from async_batch_llm import (
    CallableStrategy,
    CallOutcome,
    ProcessorConfig,
    RateLimitConfig,
    RetryConfig,
    TokenEstimate,
    process_stream,
)
from async_batch_llm.classifiers import OpenAIErrorClassifier
from openai import AsyncOpenAI

from harness import TRIES, Task


async def main(task):
    client = AsyncOpenAI(base_url=task.url, api_key="none", max_retries=0)

    async def invoke(prompt, *, attempt, timeout, state):
        answer = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": prompt}],
            max_tokens=task.max_tokens,
            timeout=timeout,
        )
        # The server keeps what it reserved, so this is what the answer used of the limit.
        charged = task.charge(prompt)
        usage = {
            "input_tokens": charged - task.max_tokens,
            "output_tokens": task.max_tokens,
            "total_tokens": charged,
        }
        return CallOutcome(answer.choices[0].message.content, token_usage=usage)

    def estimate(prompt, *, strategy, attempt, state):
        return TokenEstimate(len(prompt) // 4, task.max_tokens)

    config = ProcessorConfig(
        concurrency=task.in_flight,
        max_requests_per_minute=task.rpm,
        max_tokens_per_minute=int(task.tpm) if task.tpm else None,
        token_estimator=estimate if task.tpm else None,
        quota_burst_seconds=0.1 if task.rpm or task.tpm else None,
        retry=RetryConfig(max_attempts=TRIES, max_rate_limit_retries=TRIES - 1),
        rate_limit=RateLimitConfig(cooldown_seconds=1.0),
    )
    strategy = CallableStrategy(invoke, error_classifier=OpenAIErrorClassifier())
    async for result in process_stream(strategy, task.prompts, config=config):
        task.answered += result.success


logging.disable(logging.CRITICAL)
task = Task()
asyncio.run(main(task))
task.report()
