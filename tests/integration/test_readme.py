"""Every Python example of the README and of docs/, in order, as a reader would type them; on less text."""

import re
import runpy
from pathlib import Path

import pytest

import interp
import saes

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *(f"docs/{name}.md" for name in (
    "features", "descriptions", "monitor", "vectors", "lenses", "circuits", "elicit", "world", "dictionaries"
)))  # fmt: skip
SMALLER = {
    "n_documents=2000": "n_documents=200",
    "n_documents=20_000": "n_documents=200",
    "n_tokens=10_000": "n_tokens=1000",
    "features=8": "features=2",
    "prompts=16, context_size=32": "prompts=2, context_size=16",
    "saes.SaeTraining(": "saes.SaeTraining(**SMALL, ",
}
SMALL = {"training_tokens": 1024, "batch_tokens": 128, "buffer_tokens": 512, "n_latents": 64}


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_run_in_order_with_few_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subject = interp.load("world")
    training = saes.SaeTraining(**SMALL)
    saes.train(
        subject, interp.Site("resid_post", 4), interp.WorldCorpus(1, 200), training, "runs/quickstart/sae"
    )
    text = "\n".join(example for page in PAGES for example in examples(page))
    imports = re.findall(r"^(?:import|from) .*$", text, re.MULTILINE)
    assert len(imports) <= 6, imports
    for one, less in SMALLER.items():
        text = text.replace(one, less)
    Path("examples.py").write_text(text)
    found = runpy.run_path("examples.py", {"SMALL": SMALL})
    assert found["found"].target.said
    assert (tmp_path / "language.safetensors").exists()
    assert set(found["mined"]) == {"mlp.3", "sae.resid_post.4"}
    assert len(found["described"].table()) == 4


def test_the_examples_of_the_docstrings_name_what_there_is() -> None:
    for name in re.findall(r"(?:interp|saes)\.(\w+)", interp.__doc__ or ""):
        assert hasattr(interp, name) or hasattr(saes, name), name


def test_every_public_name_is_there() -> None:
    assert all(hasattr(interp, name) for name in interp.__all__)
    assert set(interp.__all__) <= set(dir(interp))
