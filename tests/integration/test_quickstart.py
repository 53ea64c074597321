"""The main job on a small budget: killed and continued, its folder, report and W&B run, its bad inputs."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import interp
import saes
from interp.mining.store import load_mined
from tests.command_line import command, process
from tests.wandb_file import read_back

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SMALL = [
    "corpus.documents=1200",
    "mining.sampled_tokens=1024",
    "sae.training_tokens=16384",
    "sae.buffer_tokens=8192",
    "sae.n_latents=256",
    "describe.sample=4",
    "describe.random_windows=10",
    "wandb.mode=offline",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is killed after the SAE was trained, and continued; `test_kills` compares such runs."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = ["run", str(CONFIG), "--runs-dir", str(runs), *SMALL]
    killed = subprocess.Popen(
        [sys.executable, "-m", "interp.cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not (runs / "quickstart" / "steps" / "train_sae").exists() and time.monotonic() < deadline:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = process(*arguments)
    assert done.returncode == 0, done.stderr
    assert "step train_sae: finished before" in done.stdout + done.stderr
    assert "score/latents_minus_neurons" in done.stdout and "report.html" in done.stdout
    return runs / "quickstart"


def test_the_folder_holds_what_was_promised(folder: Path) -> None:
    for name in ("config.yaml", "manifest.json", "metrics.json", "report.html"):
        assert (folder / name).stat().st_size > 0
    assert (folder / "figures" / "scores.svg").exists()
    features = pd.read_parquet(folder / "tables" / "features.parquet")
    assert features["kind"].value_counts().to_dict() == {"neuron": 4, "latent": 4}
    assert (features["both_null_low"] <= features["both_null_high"]).all()
    page = (folder / "report.html").read_text()
    assert all(key in page for key in features["feature"])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["score/neuron/both"] > metrics["score/neuron/null"]
    mined = load_mined(folder / "steps" / "mine_neurons" / "exemplars")
    assert sorted(mined) == [f"mlp.{layer}" for layer in range(8)]


def test_the_offline_wandb_run_holds_the_numbers(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    logged = read_back(folder)
    for name in ("sae/explained_variance", "score/latent/both", "concepts/latents/mean_auroc"):
        assert logged["summary"][name] == pytest.approx(metrics[name])


def test_the_trained_latents_load_as_a_feature_space(folder: Path) -> None:
    subject = interp.load("world")
    latents = saes.load(subject, folder / "sae")
    neurons = interp.MlpNeurons(subject, layer=3)
    out = subject.run("the capital of france is", read=[neurons, latents])
    assert out.features["mlp.3"].shape[-1] == 320
    assert out.features[latents.name].shape[-1] == 256
    assert subject.decode(out.logits[0, -1:].argmax(-1)) == "paris"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sae_site=resid_post.8", "0 to 7"),
        ("sae_site=resid_pots.4", "resid_post"),
        ("mining.context_size=1000", "256"),
        ("corpus={kind: text, path: nowhere.txt}", "nowhere.txt"),
        ("subject.name=wrold", "world"),
        ("subject.backend=hoked", "hooked"),
        ("describe.smaple=3", "sample"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(tmp_path: Path, override: str, says: str) -> None:
    done = command("run", str(CONFIG), "--runs-dir", str(tmp_path / "runs"), *SMALL, override)
    assert done.exit_code == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/quickstart/**/*"))
