"""What a person is asked by MCP elicitation, in both forms of the protocol: only a yes is a yes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.types import ElicitResult
from support.rentals.clouds import simulated

from gpunb import paths
from gpunb.mcp import elicitation, server
from gpunb.mcp.elicitation import ANSWER_S, Questions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.sim.cloud import Cloud

WISH = {"gpu": "4090", "cloud": "vast", "hours": 1, "budget": 2}
ANSWERS: dict[str, Any] = {
    "the answer was no": {"action": "decline"},
    "put away without an answer": {"action": "cancel"},
    "neither yes nor no": {"action": "accept", "content": {"yes": "certainly"}},
}


@pytest.fixture
def vast(home: Path) -> Iterator[Cloud]:
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[agent]\nconfirm = 'rent'\n")
    with simulated(["vast"], real=False) as sim:
        yield sim["vast"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_only_a_yes_is_a_yes(vast: Cloud, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def work() -> None:
        given: list[Any] = []

        async def ask(context: Any, params: Any) -> ElicitResult:
            asked.append(params)
            if given[0] is None:
                await anyio.sleep_forever()
            return ElicitResult(**given[0])

        async with Client(server.build("coder"), mode=mode, elicitation_callback=ask) as client:
            for words, answer in ANSWERS.items():
                given[:] = [answer]
                result = await client.call_tool("rent", WISH)
                text = result.content[0].text  # type: ignore[union-attr]
                assert result.is_error
                assert words in text, (answer, text)
                assert "nothing was changed" in text
                assert "a person can type: gpunb rent --budget=2.00" in text
            assert len(asked) == len(ANSWERS), "each was put once"
            if mode == "legacy":  # later the client alone waits: nothing here does
                monkeypatch.setattr(elicitation, "ANSWER_S", 0.2)
                given[:] = [None]
                result = await client.call_tool("rent", WISH)
                assert "no answer in ten minutes" in result.content[0].text  # type: ignore[union-attr]
        async with Client(server.build("coder"), mode=mode) as client:
            result = await client.call_tool("rent", WISH)
            assert "this client can't ask" in result.content[0].text  # type: ignore[union-attr]

    anyio.run(work)
    (shown,) = {one.message for one in asked}
    assert "$" in shown, "the verb's own question, with its price"
    schema = asked[0].requested_schema
    assert schema["properties"]["yes"]["type"] == "boolean"
    assert schema["required"] == ["yes"]
    assert vast.billed_now() == []


def test_a_yes_is_of_one_call_and_of_the_question_that_was_shown() -> None:
    questions = Questions()
    mark = questions.put("rent at $1?", 0.0)
    assert questions.take(mark, "rent at $1?", 1.0) is True
    assert questions.take(mark, "rent at $1?", 1.0) is None, "sent twice, asked again"
    mark = questions.put("rent at $1?", 0.0)
    assert questions.take(mark, "rent at $2?", 1.0) is None, "another price, another question"
    assert questions.take("of another server", "rent at $1?", 1.0) is None
    mark = questions.put("rent at $1?", 0.0)
    assert questions.take(mark, "rent at $1?", ANSWER_S + 1.0) is False, "too late"
