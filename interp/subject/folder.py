"""Model folders: resolves names, and reads what is known of a model before its weights."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.bundled import bundled_models
from interp.bundled.gemma import GEMMA
from interp.bundled.world.vocabulary import vocabulary
from interp.errors import UserError, quoted
from interp.subject.gguf_folder import gemma_folder, gguf_folder
from interp.subject.model_files import COPY, check_folder, check_weights, read_object, stored_shapes
from interp.subject.quiet import first_line, quiet
from interp.subject.site import SITE_KINDS, Site
from interp.subject.sizes import check_numbers

_LEAST_CONTEXT = 4
"""The smallest context, in tokens, that a model may have."""


@dataclass(frozen=True)
class SubjectInfo:
    """What `config.json` says about a model: names and widths, no weights.

    `parallel` is true where attention and MLP read the same residual stream: there is no `resid_mid`.
    `d_mlp` is the width of a dense MLP, four times `d_model` where the configuration leaves it out. `end_ids`
    are the tokens that end generation, by `generation_config.json` and `config.json`; a tokenizer
    may add its own.
    """

    name: str
    folder: Path
    architecture: str
    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    d_head: int
    d_vocab: int
    n_ctx: int
    parallel: bool
    end_ids: frozenset[int]

    @property
    def speaks_world(self) -> bool:
        """Whether its vocabulary is that of the bundled world (also of a retrained one)."""
        if self.d_vocab != len(vocabulary()):
            return False
        try:
            words = read_object(self.folder / "tokenizer.json")["model"]["vocab"]
            return tuple(sorted(words, key=words.get)) == vocabulary()
        except (UserError, KeyError, TypeError, AttributeError):
            return False

    def site_width(self, site: Site) -> int:
        """Size of the last axis of the activation at a site (of one head for `head_out`).

        Raises:
            UserError: the layer does not exist, or this architecture has no such site.
        """
        if site.layer >= self.n_layers:
            raise UserError(
                f"layer {site.layer} does not exist in {self.name}, which has {self.n_layers} layers",
                f"site {site}",
                f"use a layer from 0 to {self.n_layers - 1}",
            )
        if site.kind == "embed" and site.layer != 0:
            raise UserError("the embedding has no layers", f"site embed.{site.layer}", "write it as `embed`")
        if site.kind == "resid_mid" and self.parallel:
            possible = ", ".join(kind for kind in SITE_KINDS if kind != "resid_mid")
            raise UserError(
                f"{self.name} has no resid_mid: its attention and MLP run side by side",
                f"site {site}",
                f"use one of {possible}",
            )
        if site.kind == "mlp_post":
            return self.d_mlp
        return self.d_head if site.kind == "head_out" else self.d_model


def find_folder(name: str | Path) -> Path:
    """Finds the folder of a bundled name, `gemma-3-270m`, a GGUF file, a folder or a cached hub name.

    Raises:
        UserError: there is nothing of that name, or the folder is not a Hugging Face model folder; or as
            `gemma_folder` and `gguf_folder`, which make a folder at the first call.
    """
    known = bundled_models()
    if str(name) in known:
        return _checked(known[str(name)].folder)
    if str(name) == GEMMA:
        return _checked(gemma_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if folder.suffix == ".gguf":
        return _checked(gguf_folder(folder))
    text = str(name)
    if text.count("/") != 1 or text.startswith(("/", ".", "~")) or folder.exists():
        raise UserError(
            f"{text!r} is neither a bundled model nor a folder",
            "model",
            f"give one of {', '.join([*known, GEMMA])}, a Hugging Face folder, a GGUF file, or a hub name "
            "like org/model",
        )
    return _checked(_from_hub(text))


def subject_info(name: str | Path) -> SubjectInfo:
    """Reads only a model's `config.json`, which is fast enough to check an experiment's config.

    Raises:
        UserError: as `find_folder`; or the configuration is not one that `transformers` can read.
    """
    folder = find_folder(name)
    return info_of(folder, given_name(name, folder))


def info_of(folder: Path, name: str) -> SubjectInfo:
    """Reads a folder's `config.json`; the folder needs no weights.

    Raises:
        UserError: the configuration is not one that `transformers` can read.
    """
    config = read_config(folder)
    n_heads = int(_field(config, folder, "num_attention_heads"))
    d_model = int(_field(config, folder, "hidden_size"))
    n_ctx = int(getattr(config, "max_position_embeddings", None) or 2048)
    if n_ctx < _LEAST_CONTEXT:
        raise UserError(
            f"max_position_embeddings is {n_ctx}: no text fits", str(folder), "correct config.json"
        )
    return SubjectInfo(
        name=name,
        folder=folder,
        architecture=architecture_name(config),
        n_layers=int(_field(config, folder, "num_hidden_layers")),
        d_model=d_model,
        d_mlp=mlp_width(config),
        n_heads=n_heads,
        d_head=int(getattr(config, "head_dim", None) or d_model // n_heads),
        d_vocab=int(_field(config, folder, "vocab_size")),
        n_ctx=n_ctx,
        parallel=_is_parallel(config),
        end_ids=_end_ids(folder),
    )


def given_name(given: str | Path, folder: Path) -> str:
    """What a model is called: as it was given, but the last part of a path."""
    path = Path(given)
    if path.is_dir() and str(given) not in (*bundled_models(), GEMMA):
        return folder.name
    return path.stem if path.suffix == ".gguf" else str(given)


def read_config(folder: Path) -> Any:
    """The language model's configuration as `transformers` reads it; never runs code from the folder.

    Where a model also sees or hears, its language model is the part under `text_config`.

    Raises:
        UserError: it cannot be read, or `transformers` cannot run the language model alone.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    values, place = read_object(folder / "config.json"), str(folder / "config.json")
    check_numbers(values, place)
    for key, kind in {"architectures": list, "text_config": dict, "model_type": str}.items():
        if not isinstance(values.get(key), kind | None):
            raise UserError(f"{key} is {quoted(values[key])}, no {kind.__name__}", place, COPY)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises many kinds of exceptions for a file that it cannot read
        raise UserError(
            f"transformers cannot read config.json: {first_line(error)}",
            str(folder),
            "use an architecture that the installed transformers knows",
        ) from error
    inner = getattr(config, "text_config", None)
    if inner is None:
        return config
    if inner.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"the language model in {architecture_name(config)} ({inner.model_type}) cannot be run by itself",
            str(folder),
            "use a causal language model",
        )
    inner.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[inner.model_type]]
    return inner


def architecture_name(config: Any) -> str:
    """The class of `transformers` that a configuration belongs to."""
    return str((getattr(config, "architectures", None) or [config.model_type])[0])


def mlp_width(config: Any) -> int:
    """The neurons of a dense MLP; 4 * d_model if no field gives them, as in GPT-1, GPT-2, BLOOM and MPT."""
    names = ("intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner")
    known = (value for name in names if isinstance(value := getattr(config, name, None), int))
    return next(known, 4 * int(config.hidden_size))


def _end_ids(folder: Path) -> frozenset[int]:
    """Reads every `eos_token_id` of the folder's files, one or a list; ignores defaults of the library.

    Chat models end a turn with a token of its own that only `generation_config.json` lists (Gemma, Llama 3).
    """
    found: set[int] = set()
    for file in (folder / "generation_config.json", folder / "config.json"):
        values = read_object(file) if file.is_file() else {}
        inner = values.get("text_config")
        for part in (values, inner if isinstance(inner, dict) else {}):
            ids = part.get("eos_token_id")
            ids = ids if isinstance(ids, list) else [] if ids is None else [ids]
            if not all(type(one) is int for one in ids):
                raise UserError(f"eos_token_id is {quoted(ids)}, no ids of tokens", str(file), COPY)
            found.update(ids)
    return frozenset(found)


def _is_parallel(config: Any) -> bool:
    for field in ("use_parallel_residual", "parallel_attn"):
        if hasattr(config, field):
            return bool(getattr(config, field))
    return config.model_type in {"gptj", "codegen", "phi", "cohere", "cohere2"}


def _field(config: Any, folder: Path, name: str) -> Any:
    value = getattr(config, name, None)
    if value is None:
        raise UserError(
            f"config.json does not say {name}",
            str(folder),
            "use the configuration of a causal language model",
        )
    return value


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise UserError(
            "the folder has no config.json",
            str(folder),
            "give a Hugging Face model folder: config.json, model.safetensors and a tokenizer",
        )
    check_weights(folder)
    check_folder(folder)
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"],
                ignore_patterns=["*/*", "consolidated*"],
            )
        )
    except Exception as error:  # offline, unknown or gated
        raise UserError(
            f"{name!r} is not bundled, not a folder, and the hub did not give it ({first_line(error)})",
            "model",
            "go online once so that it is cached, or download the model yourself and give its folder",
        ) from error


def count_parameters(folder: Path) -> int:
    """Counts the numbers in the weight files; a model object may have more, untied or added by a library."""
    return sum(map(math.prod, stored_shapes(folder).values()))
