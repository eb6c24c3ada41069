from __future__ import annotations

import asyncio
import threading

from airflow_provider.scriptrun.triggers.mailbox import Mailbox

LONG = 60.0


def test_what_other_threads_say_comes_once_and_in_order() -> None:
    async def read() -> list[int]:
        mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop())
        speaker = threading.Thread(target=lambda: [mailbox.put(number) for number in range(100)])
        speaker.start()
        heard = [await mailbox.get(LONG) for _ in range(100)]
        assert await mailbox.get(0.01) is None
        speaker.join()
        return [number for number in heard if number is not None]

    assert asyncio.run(read()) == list(range(100))


def test_a_reader_that_is_stopped_while_it_waits_loses_nothing_of_what_comes_next() -> None:
    async def read() -> int | None:
        mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop())
        reader = asyncio.ensure_future(mailbox.get(LONG))
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])
        mailbox.put(1)
        return await mailbox.get(LONG)

    assert asyncio.run(read()) == 1


def test_nothing_happens_to_whoever_speaks_after_the_end_of_the_loop() -> None:
    async def make() -> Mailbox[int]:
        return Mailbox(asyncio.get_running_loop())

    asyncio.run(make()).put(1)
