"""Engines: their section of a config, and what travels between processes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from interp import MlpNeurons
from interp.cli.loading import load_config
from interp.engine.asking import AskedElsewhere, Question
from interp.engine.config import EngineConfig
from interp.engine.packed import Unpacker, packed
from interp.engine.same_code import code, differences
from interp.errors import UserError
from interp.llm.budget import BudgetSpent
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.request import Message, Reply, Request, Usage
from interp.llm.transport import GaveUp
from interp.subject import Subject
from interp.subject.model import Loaded
from interp.track.folder import check_same_config
from interp.track.progress import Progress, silent


def there(value: Any, clients: Any = ()) -> Any:
    """The value as another process has it."""
    sent = packed(value)
    return Unpacker().open(sent.content, sent.buffers, clients)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], EngineConfig()),
        (["engine=ray"], EngineConfig(kind="ray")),
        (["engine.address=auto"], EngineConfig(kind="ray", address="auto")),
        (["engine=ray", "engine.workers=4"], EngineConfig(kind="ray", workers=4)),
    ],
)
def test_the_section_may_be_a_word(overrides: list[str], expected: EngineConfig) -> None:
    assert load_config("describe", overrides)[1].engine == expected


def test_where_it_is_computed_changes_no_result_but_the_shards_do(tmp_path: Path) -> None:
    import yaml

    run = tmp_path / "run"
    run.mkdir()
    config = load_config("describe", ["engine.shards=4", "name=run"])[1].model_dump(mode="json")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    check_same_config(run, config | {"engine": config["engine"] | {"kind": "ray", "address": "auto"}})
    with pytest.raises(UserError, match=r"engine\.shards: 4 then, 8 now"):
        check_same_config(run, config | {"engine": config["engine"] | {"shards": 8}})


def test_kept_activations_and_several_processes_are_refused() -> None:
    experiment, config = load_config("describe", ["engine=ray", "activations={keep: 1 GB}"])
    with pytest.raises(UserError, match="kept by one process"):
        experiment.check(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 2)])
def test_tensors_travel_whole(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape).to(dtype)
    found = there({"a": [tensor.mT if tensor.ndim == 2 else tensor]})["a"][0]
    assert found.dtype == dtype and torch.equal(found, tensor.mT if tensor.ndim == 2 else tensor)


def test_a_subject_is_loaded_there_and_everything_else_travels(subject: Subject) -> None:
    neurons, again, shown = there((MlpNeurons(subject, 3), MlpNeurons(subject, 2), silent()))
    assert neurons.name == "mlp.3" and isinstance(shown, Progress)
    own, other = subject, neurons._subject
    assert other is again._subject and other is not own
    tokens = own.to_tokens("the capital of france is")
    assert torch.equal(own.logits(tokens), other.logits(tokens))


def test_a_subject_that_was_not_loaded_cannot_travel(subject: Subject) -> None:
    made = Loaded(subject._backend, subject.info, subject.device, subject.dtype)
    with pytest.raises(UserError, match=r"not loaded by interp\.load"):
        packed(Subject(made, subject._text))


@pytest.mark.parametrize(
    "error",
    [UserError("a", "b", "c"), BudgetSpent("a", "b", "c"), GaveUp("a", "b", "c", 3)],
)
def test_errors_come_back_whole(error: UserError) -> None:
    found = there(error)
    assert type(found) is type(error) and vars(found) == vars(error) and str(found) == str(error)


def test_a_client_travels_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "sk-secret-value-of-a-test")
    endpoint = Endpoint(base_url="https://example.com/v1", model="m", api_key_env="KEY_OF_A_TEST")
    client = Client(endpoint, purpose="p")
    sent = packed([client, client])
    assert b"sk-secret" not in sent.content and list(sent.clients) == [client]

    async def ask(question: Question) -> Reply:
        assert (question.client, question.purpose, question.method) == (0, "explain", "chat")
        return Reply("yes", "stop", Usage(1, 1))

    asked = AskedElsewhere(0, endpoint, "p", 1, ask)
    one, other = Unpacker().open(sent.content, (), [asked])
    assert one is other is asked
    reply = asyncio.run(one.named("explain").chat(Request((Message("user", "?"),))))
    assert reply.text == "yes"


def test_other_code_is_told_apart() -> None:
    assert not differences(code(), code())
    assert "torch 1.0 there" in differences(code(), code() | {"torch": "1.0"})
