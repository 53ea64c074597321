"""Linear relations: Jacobians against torch's own, closed forms of map and inverse; items from files."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from interp.bundled.world.facts import facts
from interp.errors import UserError
from interp.lenses.answers import Answers, first_tokens
from interp.lenses.entities import EntityFile, WorldEntities
from interp.lenses.hops import HopFile, HopQuestion, WorldHops, hops_told_apart, others
from interp.lenses.languages import (
    TranslationFile,
    WordFile,
    WorldTranslations,
    told_apart_in,
)
from interp.lenses.linear_relation import LinearRelation, fit_relation, fit_relations, jacobians
from interp.lenses.patch import Patch
from interp.lenses.patchscopes import TargetPrompts, check_target_prompts, open_target_prompts, patchscope
from interp.lenses.prompt import Prompt, prompt_at
from interp.lenses.relations import (
    Relation,
    RelationFiles,
    WorldRelations,
    read_relation,
    told_apart_by_first,
    world_relation,
)
from interp.lenses.residual_stream import EMBEDDING, read_stream, stream_site
from interp.subject import Subject
from tests.shared_data import shared_data
from tests.subjects import pydoc_subject
from tests.unit.linear_subject import linear_subject

ASKED = ("france", "spain", "germany", "italy", "japan")


@pytest.fixture(scope="module")
def world(each_backend: Subject) -> Subject:
    return each_backend


def prompts_of(subject: Subject, names: Sequence[str]) -> list[Prompt]:
    """Of different lengths, so that a batch is padded."""
    ends = [" is", " , as we know , is"]
    return [prompt_at(subject, f"the capital of {name}{ends[i % 2]}", name) for i, name in enumerate(names)]


@pytest.mark.parametrize("layer", [EMBEDDING - 1, 7, 8])
def test_where_no_relation_leads_to_the_last_layer(world: Subject, layer: int) -> None:
    with pytest.raises(UserError, match=r"-1 \(the embedding\) to 6"):
        fit_relation(world, prompts_of(world, ASKED), layer)


@pytest.mark.parametrize("layer", [EMBEDDING, 3])
def test_batched_jacobians_are_torch_s_own(world: Subject, layer: int) -> None:
    prompts = prompts_of(world, ASKED)
    weights, outputs, inputs = jacobians(world, prompts, layer, rows_per_batch=3)
    for place in (0, 3):
        prompt = prompts[place]
        tokens, _ = world.pad([prompt.tokens])

        def forward(vector: Tensor, tokens: Tensor = tokens, prompt: Prompt = prompt) -> Tensor:
            ends: list[Tensor] = []

            def put(activation: Tensor) -> Tensor:
                column = torch.tensor([activation.shape[1] + prompt.position])
                return activation.index_put((torch.tensor([0]), column), vector[None])

            def keep(activation: Tensor) -> Tensor:
                ends.append(activation[0, -1])
                return activation

            last = stream_site(world.n_layers - 1)
            with world.edited({stream_site(layer): put, last: keep}):
                world.logits(tokens)
            return ends[0]

        wanted = jacobian(forward, inputs[place])
        assert isinstance(wanted, Tensor)
        assert torch.allclose(weights[place], wanted, atol=1e-4)
        assert torch.allclose(outputs[place], forward(inputs[place]), atol=1e-4)
    read = read_stream(world, prompts)
    assert torch.allclose(inputs, read[layer], atol=1e-5)
    ends = read_stream(world, [prompt.at(-1) for prompt in prompts])
    assert torch.allclose(outputs, ends[world.n_layers - 1], atol=1e-3)


def test_the_relations_of_all_layers_are_those_of_each(world: Subject) -> None:
    prompts = prompts_of(world, ASKED[:3])
    together = fit_relations(world, prompts, [5, 2])
    for layer, found in together.items():
        weights, outputs, inputs = jacobians(world, prompts, layer)
        assert found.layer == layer and torch.allclose(found.weight, weights.mean(0), atol=1e-5)
        rest = outputs - (weights @ inputs[:, :, None])[:, :, 0]
        assert torch.allclose(found.bias, rest.mean(0), atol=1e-4)


def test_in_a_linear_model_the_relation_is_exact() -> None:
    subject = linear_subject()
    prompts = [prompt_at(subject, f"the capital of {name} is", name) for name in ASKED]
    relation = fit_relation(subject, prompts[:3], EMBEDDING)
    own = read_stream(subject, prompts)[EMBEDDING]
    ends = read_stream(subject, [prompt.at(-1) for prompt in prompts])[subject.n_layers - 1]
    # at the embedding nothing but the subject's own token differs between these prompts
    assert torch.allclose(relation(own), ends, atol=1e-3)


def test_the_inverse_of_full_rank_turns_one_object_into_another() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 12, generator=generator)
    relation = LinearRelation(0, weight, torch.randn(12, generator=generator))
    subjects, targets = (torch.randn(4, 12, generator=generator) for _ in range(2))
    wanted, present = relation(targets), relation(subjects)
    assert torch.allclose(relation.edited(subjects, wanted, present, 12), targets, atol=1e-3)
    low = relation.inverse(3)
    assert torch.linalg.matrix_rank(low) == 3
    left, singular, right = torch.linalg.svd(weight)
    best = (left[:, :3] * singular[:3]) @ right[:3]
    assert torch.allclose(low, torch.linalg.pinv(best, rtol=1e-4), atol=1e-4)


def test_beta_scales_the_linear_part_alone() -> None:
    relation = LinearRelation(0, torch.eye(3), torch.ones(3), beta=2.0)
    assert torch.equal(relation(torch.full((1, 3), 5.0)), torch.full((1, 3), 11.0))


def test_an_edit_by_a_relation_changes_the_answer(world: Subject) -> None:
    prompts = prompts_of(world, ASKED)
    relation = fit_relation(world, prompts[:3], 1)
    own = read_stream(world, prompts)[1]
    ends = read_stream(world, [prompt.at(-1) for prompt in prompts])[world.n_layers - 1]
    wanted = [1, 2, 3, 4, 0]
    edited = relation.edited(own, ends[wanted], ends, 32)
    capitals = dict(world_relation("capital").samples)
    answers = Answers.of(world, [capitals[ASKED[place]] for place in wanted])
    assert answers.right(world, prompts, Patch(stream_site(1), edited)).mean() >= 0.8
    assert not answers.right(world, prompts).any()


class TestRelationFiles:
    """Relations from files and from the world, and what is refused."""

    def test_every_published_file_is_read(self) -> None:
        folder = shared_data("evandez+relations")
        files = sorted((folder / "data").rglob("*.json"))
        assert len(files) > 25
        found = {file.stem: read_relation(file) for file in files}
        for relation in found.values():
            assert relation.samples and all(template.count("{}") == 1 for template in relation.templates)
        assert not any("\\u" in word for r in found.values() for pair in r.samples for word in pair)
        capitals = dict(found["country_capital_city"].samples)
        assert "Brasília" in capitals.values()
        assert found["country_capital_city"].kind == "factual"

    def test_others_are_shown_and_never_itself(self) -> None:
        relation = world_relation("capital")
        text = relation.ask("france", [("spain", "madrid"), ("france", "paris")])
        assert text == (
            "the capital of spain , as we know , is madrid . the capital of france , as we know , is"
        )

    def test_other_braces_are_text(self, tmp_path: Path) -> None:
        file = tmp_path / "r.json"
        samples = [{"subject": "f(x)", "object": "y"}]
        relation = json.dumps({"name": "a", "prompt_templates": ["{x} of {} is"], "samples": samples})
        file.write_text(relation, encoding="utf-8-sig")  # a byte-order mark is no part of the text
        assert read_relation(file).ask("f(x)") == "{x} of f(x) is"

    def test_what_is_no_relation(self, tmp_path: Path, subject: Subject) -> None:
        file = tmp_path / "r.json"
        for content, says in (
            ("nothing", "not valid JSON"),
            ("[]", "no JSON object"),
            ('{"name": "a", "prompt_templates": "is {}", "samples": []}', "`prompt_templates` should be"),
            ('{"name": "a", "prompt_templates": [], "samples": [{"subject": 1}]}', "`samples.0.object` is"),
            ('{"name": "a", "prompt_templates": ["{} \\\\ud800"], "samples": []}', "half a character"),
            ('{"name": "a", "prompt_templates": ["is"], "samples": []}', "not one"),
            ('{"name": "a", "prompt_templates": [], "samples": []}', "no template or no sample"),
        ):
            file.write_text(content)
            with pytest.raises(UserError, match=says):
                read_relation(file)
        with pytest.raises(UserError, match="no file"):
            RelationFiles(paths=(tmp_path / "none.json",)).check(subject.info)
        with pytest.raises(UserError, match="no relation 'mayor'"):
            WorldRelations(relations=("mayor",)).check(subject.info)
        with pytest.raises(UserError, match="may not know"):
            WorldRelations().open(pydoc_subject())
        file.write_text(json.dumps({
            "name": "capital", "prompt_templates": ["the capital of {} is"],
            "samples": [{"subject": "france", "object": "paris"}],
        }))  # fmt: skip
        (relation,) = RelationFiles(paths=(file,), separator=" . ").open(subject)
        assert relation.samples == (("france", "paris"),) and relation.separator == " . "


class TestItems:
    """Entities, two-hop questions and translations, from the world and from lines of JSON."""

    def test_entities_of_the_world_are_none_that_the_prompts_name(self, subject: Subject) -> None:
        scopes = open_target_prompts("world")
        found = WorldEntities(most=30).open(subject, scopes)
        shown = set(f"{scopes.identity} {scopes.description}".split())
        for entity in found:
            assert subject.token_strings([entity.prompt.tokens[entity.prompt.position]])[0] not in shown
            assert not set(entity.described[0].split()) & shown
        groups = [entity.group for entity in found]
        assert all(groups.count(group) <= 30 for group in groups)
        bridge = next(entity for entity in found if entity.group == "bridge")
        assert bridge.name != bridge.described

    def test_entities_of_a_file(self, subject: Subject, tmp_path: Path) -> None:
        file = tmp_path / "entities.jsonl"
        scopes = open_target_prompts("world")
        row = {"prompt": "near paris , we saw", "entity": "paris", "description": ["france"], "group": "city"}
        file.write_text(json.dumps(row) + "\n\n")
        (entity,) = EntityFile(path=file).open(subject, scopes)
        assert entity.prompt.position == -4 and entity.described == ("france",) and entity.group == "city"
        for line, says in (
            ("{}", "missing"),
            ("", "no entity"),
        ):
            file.write_text(line)
            with pytest.raises(UserError, match=says):
                EntityFile(path=file).open(subject, scopes)
        file.write_text(json.dumps(row | {"entity": "rome"}))
        with pytest.raises(UserError, match="does not hold 'rome'"):
            EntityFile(path=file).open(subject, scopes)

    def test_two_hop_questions(self, subject: Subject, tmp_path: Path) -> None:
        found = WorldHops().open(subject)
        assert {q.group for q in found} >= {"spouse of performer", "capital of country"}
        taken = others(found, range(50), 0)
        for own, other in zip(found[:50], (found[place] for place in taken), strict=True):
            assert own.group == other.group and own.bridge != other.bridge and own.answer != other.answer
        file = tmp_path / "hops.jsonl"
        row = {
            "question": "the capital of the country of paris is", "entity": "paris", "bridge": "france",
            "answer": ["paris"], "first": "the country of paris is", "second": "the capital of france is",
        }  # fmt: skip
        file.write_text(json.dumps(row))
        (question,) = HopFile(path=file).open(subject)
        assert question.answer == ("paris",) and question.shortcuts == ()
        with pytest.raises(UserError, match="no other question"):
            others([question], [0], 0)
        for changed, says in (({"answer": 3}, "no two-hop question"), ({"entity": "rome"}, "does not hold")):
            file.write_text(json.dumps(row | changed))
            with pytest.raises(UserError, match=says):
                HopFile(path=file).open(subject)
        with pytest.raises(UserError, match="may not know"):
            WorldHops().open(pydoc_subject())

    def test_translations(self, subject: Subject, tmp_path: Path) -> None:
        found = WorldTranslations(most=20).open(subject)
        assert {item.group for item in found} == {"zorvic to tamric", "tamric to zorvic"}
        item = found[0]
        source = item.source.tokens[item.source.position]
        assert source in item.words["zorvic"] and source not in item.words["english"]
        file = tmp_path / "words.jsonl"
        row = {"prompt": "zorvic : team ; it is :", "source": "team", "words": {"english": "team"}}
        file.write_text(json.dumps(row))
        (own,) = TranslationFile(path=file).open(subject)
        assert own.source.position == -5 and own.group == ""
        other = row | {"words": {"zorvic": "pepeka"}}
        file.write_text(f"{json.dumps(row)}\n{json.dumps(other)}")
        with pytest.raises(UserError, match="same languages"):
            TranslationFile(path=file).open(subject)
        with pytest.raises(UserError, match="no language 'latin'"):
            WorldTranslations(directions=(("latin", "zorvic"),)).check(subject.info)

    def test_words_in_several_languages(self, subject: Subject, tmp_path: Path) -> None:
        file = tmp_path / "words.jsonl"
        words = {"team": "pepeka", "country": "bopang", "doctor": "bekaka"}
        file.write_text("\n".join(json.dumps({"english": e, "zorvic": m}) for e, m in words.items()))
        directions = (("english", "zorvic"), ("zorvic", "english"))
        asked = WordFile(
            path=file,
            directions=directions,
            pair="{source} : {question} ; it is : {answer}",
            separator=" . ",
            shots=2,
        )
        items = asked.open(subject)
        assert [item.group for item in items] == ["english to zorvic"] * 3 + ["zorvic to english"] * 3
        text = subject.decode(items[0].prompt.tokens)
        assert text.endswith("english : team ; it is :") and text.count("it is") == 3
        assert text.index("country") < text.index("bopang") and "pepeka" not in text
        assert subject.decode([items[0].source.tokens[items[0].source.position]]) == "team"
        assert items[0].words["english"] == first_tokens(subject, "team")
        for wrong, says in (
            ({"pair": "{question}"}, "and then {answer}"),
            ({"shots": 3}, "3 words are too few"),
            ({"directions": (("english", "latin"),)}, "no word in 'latin'"),
        ):
            with pytest.raises(UserError, match=says):
                asked.model_copy(update=wrong).open(subject)
        for line, says in (
            ({"english": "king"}, "not those of the first"),
            ({"english": " "}, "has no word"),
        ):
            with file.open("a") as added:
                added.write("\n" + json.dumps(line))
            with pytest.raises(UserError, match=says):
                asked.open(subject)
            file.write_text(file.read_text().rpartition("\n")[0])

    def test_no_item_of_the_world_is_left_out(self, subject: Subject) -> None:
        translations, hops = WorldTranslations().open(subject), WorldHops().open(subject)
        assert told_apart_in(translations) == (tuple(range(len(translations))), ())
        assert hops_told_apart(hops, subject) == (tuple(range(len(hops))), ())
        for name in facts().relations:
            assert told_apart_by_first(world_relation(name), subject) == (world_relation(name), ())

    def test_words_that_begin_alike_in_two_languages_are_left_out(
        self, subject: Subject, tmp_path: Path
    ) -> None:
        file = tmp_path / "words.jsonl"
        words = [("team", "pepeka"), ("team", "team"), ("country", "bopang")]
        rows = [
            {"prompt": "zorvic : team ; it is :", "source": "team", "words": {"english": e, "zorvic": z}}
            for e, z in words
        ]
        file.write_text("\n".join(map(json.dumps, rows)))
        kept, notes = told_apart_in(TranslationFile(path=file).open(subject))
        assert kept == (0, 2)
        assert notes == (
            "1 of 3 words are left out: they begin with the same token in two of the languages.",
        )

    def test_objects_and_answers_that_begin_alike_are_left_out(self) -> None:
        pydoc = pydoc_subject()
        samples = (("a", "setattr"), ("b", "setdefault"), ("c", "True"), ("d", "the United States"))
        relation = Relation("word", ("{} is",), samples)
        left, notes = told_apart_by_first(relation, pydoc)
        assert left.samples == (("c", "True"),) and len(notes) == 2
        assert "1 of 4 samples of word" in notes[0] and "2 of 4 samples of word" in notes[1]
        with pytest.raises(UserError, match="2 of 2 samples of word are left out"):
            told_apart_by_first(replace(relation, samples=samples[:2]), pydoc)
        asked = [
            HopQuestion("it is", "it", (bridge,), (answer,), "", "", "group")
            for bridge, answer in (("True", "None"), ("False", "setattr"), ("int", "setdefault"))
        ]
        kept, said = hops_told_apart(asked, pydoc)
        assert kept == (0,) and "2 of 3 questions (by their answers)" in said[0]

    def test_a_patchscope_says_what_an_activation_holds(self, subject: Subject) -> None:
        shown = "leman > about : singer from china ; the > about :"
        asked = subject, "the spouse of zudil is", "zudil", 2, shown, "the"
        assert patchscope(*asked, new_tokens=6) == "singer from england , spouse fivesh"
        with pytest.raises(UserError, match=r"-1 \(the embedding\) to 7"):
            patchscope(*asked, into=8, new_tokens=6)
        with pytest.raises(UserError, match="do not fit the context"):
            patchscope(*asked, new_tokens=5_000)

    def test_target_prompts(self, subject: Subject) -> None:
        scopes = open_target_prompts("world")
        prompt = scopes.prompt(subject, scopes.identity)
        assert subject.token_strings([prompt.tokens[prompt.position]]) == ["the"] and prompt.position == -4
        assert scopes.prompt(subject, scopes.next_token).position == -1
        assert open_target_prompts("published").identity.endswith("x ->")
        own = TargetPrompts(placeholder="the", identity="a ; the", description="none", next_token="the")
        with pytest.raises(UserError, match=r"scopes\.description"):
            check_target_prompts(own)
        with pytest.raises(UserError, match=r"is 2 tokens: \[near\] \[dekax\]"):
            two = TargetPrompts(placeholder="dekax kanav", identity="", description="", next_token="")
            two.prompt(subject, "near dekax kanav")
        special = subject.token_strings([min(subject.special_ids)])[0]
        with pytest.raises(UserError, match="special token"):
            odd = TargetPrompts(
                placeholder=special, identity=f"a {special} :", description=special, next_token=special
            )
            odd.prompt(subject, odd.identity)
