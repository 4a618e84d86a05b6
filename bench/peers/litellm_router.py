"""litellm: a `Router` with one deployment that knows its limits, and its own retries."""

import asyncio
import logging
import os

# Prices from the package itself, not from the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402

from harness import TRIES, Task, in_parallel  # noqa: E402


async def main(task):
    deployment = {"model": "openai/m", "api_base": task.url, "api_key": "none"}
    if task.rpm:
        deployment["rpm"] = int(task.rpm)
    if task.tpm:
        deployment["tpm"] = int(task.tpm)
    router = litellm.Router(
        model_list=[{"model_name": "m", "litellm_params": deployment}],
        num_retries=TRIES - 1,
        # A deployment in cooldown is one that no request may use: with only one, all would fail.
        disable_cooldowns=True,
        # Without it `rpm` and `tpm` only weigh one deployment against another. With it what is over
        # them within a minute of the clock is refused, not delayed.
        optional_pre_call_checks=["enforce_model_rate_limits"],
    )

    async def send(body):
        try:
            answer = await router.acompletion(**body)
        except Exception:
            return
        task.answered += bool(answer.choices)

    await in_parallel(task.in_flight, task.bodies, send)


logging.disable(logging.CRITICAL)
litellm.suppress_debug_info = True
task = Task()
asyncio.run(main(task))
task.report()
