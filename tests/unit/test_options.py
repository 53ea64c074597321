"""Options and arguments take the same values as configs: what cannot be is a message."""

import math
from typing import Any

import pytest

from interp.cli.loading import load_config
from interp.errors import UserError
from tests.command_line import command
from tests.subjects import world_subject


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "no store", "x", "-k", "-1"], "-k should be greater"),
        (["search", "no store", "x", "--recall", "nan"], "--recall should be"),
        (["search", "no store", "x", "--min-score", "inf"], "--min-score should be"),
        (["search", "no store", "x", "--polarity", "7"], "--polarity should be"),
        (["configs", "--estimate", "quickstart", "--tokens", "-1"], "--tokens should be"),
        (["configs", "--estimate", "quickstart", "--tokens", str(10**30)], "--tokens should be"),
        (["configs", "--estimate", "quickstart", "--tflops", "nan"], "--tflops should be"),
        (["configs", "--estimate", "quickstart", "--tflops", "0"], "--tflops should be"),
        (["generate", "the", "--seed", "-1"], "--seed should be"),
        (["generate", "the", "--temperature", "nan"], "--temperature"),
        (["generate", "the", "--tokens", str(10**12)], "--tokens should be"),
    ],
)
def test_an_option_that_cannot_be_is_a_message(arguments: list[str], says: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2 and says in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    "given",
    [{"temperature": math.nan}, {"temperature": -1.0}, {"temperature": math.inf}, {"seed": -1},
     {"temperature": 1.0, "seed": 2**32}, {"max_new_tokens": 0}, {"max_new_tokens": -3}],
)  # fmt: skip
def test_generating_with_what_cannot_be_is_a_user_error(given: dict[str, Any]) -> None:
    subject = world_subject()
    with pytest.raises(UserError, match="should be"):
        subject.generate("the", **{"max_new_tokens": 2} | given)
    assert subject.generate("the", 2, 1.0, seed=2**32 - 1)


@pytest.mark.parametrize(
    ("config", "override", "says"),
    [
        ("linear_relations", "ranks=[1000000]", "no rank is possible"),
        ("logit_lens", "texts=[{text: the, targets: [99999999]}]", "has no token 99999999"),
        ("logit_lens", "jacobian={held_out_documents: 20}", "tested on different text"),
        ("quickstart", "sae.n_latents=1000000000", "and this machine has"),
        ("quickstart", "corpus.documents=1000000000000000", "TB"),
    ],
)
def test_what_a_model_or_a_machine_cannot_have_is_said_by_the_check(
    config: str, override: str, says: str
) -> None:
    with pytest.raises(UserError) as caught:
        experiment, settings = load_config(config, [override])
        experiment.check(settings)
    assert says in caught.value.thing


def test_an_override_of_one_split_keeps_the_others() -> None:
    _, settings = load_config("quickstart", ["mining.top_windows.report=20"])
    assert settings.mining.top_windows.model_dump() == {"explain": 20, "select": 10, "report": 20}
