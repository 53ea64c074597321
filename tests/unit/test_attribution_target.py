"""Targets: words to tokens, what is measured, and what is refused before the model runs."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import interp
from interp.attribution import Target
from interp.attribution.passes import laid_out, target_values
from interp.errors import UserError
from interp.subject import Subject
from tests.subjects import pydoc_subject

PROMPTS = ["the capital of france is", "the capital of england is the capital of"]


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


@pytest.fixture(scope="module")
def byte_pair(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A model whose tokenizer knows " paris" as one token, and "paris" only by letters."""
    folder = tmp_path_factory.mktemp("byte_pair")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "p"), ("Ġp", "a"), ("Ġpa", "r"), ("Ġpar", "i"), ("Ġpari", "s")]
    pieces = ["<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(
        folder
    )
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return interp.load(folder, device="cpu")


@pytest.mark.parametrize("position", [-1, 2, -3])
def test_a_target_is_what_all_logits_say_at_its_position(subject: Subject, position: int) -> None:
    paris, london = (subject.single_token(word) for word in ("paris", "london"))
    targets = {
        "logit": Target.of(subject, "paris", position=position),
        "log_prob": Target.of(subject, "paris", kind="log_prob", position=position),
        "probability": Target.of(subject, "paris", kind="probability", position=position),
        "logit_difference": Target.of(subject, "paris", distractor="london", position=position),
    }
    for prompt in PROMPTS:
        tokens = subject.to_tokens(prompt)
        logits = subject.logits(tokens)[0, position].double()
        expected = {
            "logit": logits[paris],
            "log_prob": logits.log_softmax(-1)[paris],
            "probability": logits.softmax(-1)[paris],
            "logit_difference": logits[paris] - logits[london],
        }
        for kind, target in targets.items():
            assert target.kind == kind
            found = target_values(subject, laid_out(subject, prompt), target)
            torch.testing.assert_close(found[0].double(), expected[kind], atol=1e-5, rtol=1e-5)


def test_each_prompt_of_a_padded_batch_has_its_own_token(subject: Subject) -> None:
    target = Target.of(subject, ["paris", "london"], distractor="rome", position=3)
    together = target_values(subject, laid_out(subject, PROMPTS), target)
    for row, (prompt, word) in enumerate(zip(PROMPTS, ["paris", "london"], strict=True)):
        alone = Target.of(subject, word, distractor="rome", position=3)
        single = target_values(subject, laid_out(subject, prompt), alone)
        torch.testing.assert_close(together[row], single[0], atol=1e-4, rtol=1e-4)


def test_a_word_of_several_tokens_is_refused_with_its_tokens(subject: Subject) -> None:
    with pytest.raises(UserError, match="'capital of' is not one token but 2: 'capital', 'of'"):
        Target.of(subject, "capital of")
    with pytest.raises(UserError, match="does not know the word 'parris'"):
        Target.of(subject, "parris")


def test_a_byte_pair_target_without_its_space_is_told_of_it(byte_pair: Subject) -> None:
    with pytest.raises(UserError, match="not one token but 5: 'p', 'a'") as caught:
        Target.of(byte_pair, "paris")
    assert caught.value.fix == "give ' paris', which is one token"
    assert Target.of(byte_pair, " paris").token_ids == (262,)


@pytest.mark.parametrize("position", [-1, 1])
def test_a_word_is_the_token_that_continues_each_prompt(position: int) -> None:
    pydoc = pydoc_subject()
    texts = ["the function will", "def find(the"]
    prompts = laid_out(pydoc, texts)
    ids = [pydoc.to_tokens(text)[0].tolist() for text in texts]
    cut = [pydoc.decode(row[1:] if position == -1 else row[1:2]) for row in ids]
    expected = [pydoc.tokenizer(text + " be", add_special_tokens=False)["input_ids"][-1] for text in cut]
    target = Target.of(pydoc, "be", prompts=prompts, position=position)
    assert target.token_ids == (expected[0],) and expected[0] == expected[1]
    assert target.said == "' be' (not 'be')"
    bare = pydoc.tokenizer("(be", add_special_tokens=False)["input_ids"][-1]
    mixed = laid_out(pydoc, ["the function will", "def find("])
    both = Target.of(pydoc, "be", prompts=mixed)
    assert both.token_ids == (expected[0], bare) and both.said == "' be' (not 'be'), 'be' (not ' be')"
    found = interp.attribute(pydoc, texts[0], "be", [interp.MlpNeurons(pydoc, 0)], distractor="not")
    assert found.target.said == "' be' (not 'be') less ' not' (not 'not')"
    with pytest.raises(UserError, match="depends on the prompt"):
        Target.of(pydoc, "be")


def test_a_token_is_no_distractor_of_itself(subject: Subject) -> None:
    with pytest.raises(UserError, match="the same token"):
        Target.of(subject, ["paris", "london"], distractor="london")


def test_what_does_not_fit_is_refused_before_the_model_runs(subject: Subject) -> None:
    ran: list[str] = []
    prompts = laid_out(subject, PROMPTS)
    with subject.edited({interp.Site("embed"): lambda x: ran.append("ran") or x}):
        for target, message in [
            (Target("logit", (1,), position=6), "position 6 is past the prompt, which has 6 tokens"),
            (Target("logit", (1,), position=-7), "position -7"),
            (Target("logit", (1041,)), "1041 is not in the vocabulary"),
            (Target("logit_difference", (1,), (-1,)), "-1 is not in the vocabulary"),
            (Target("logit", (1, 2, 3)), "3 tokens do not fit 2 prompts"),
        ]:
            with pytest.raises(UserError, match=message):
                target_values(subject, prompts, target)
    assert not ran


def test_a_target_that_contradicts_itself_is_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match="distractor"):
        Target("logit", (1,), (2,))
    with pytest.raises(UserError, match="distractor"):
        Target("logit_difference", (1,))
    with pytest.raises(UserError, match="no token"):
        Target("logit", ())


def test_prompts_of_the_wrong_shape_are_refused(subject: Subject) -> None:
    with pytest.raises(UserError, match="are no prompts"):
        laid_out(subject, torch.tensor([1, 2, 3]))
