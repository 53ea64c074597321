"""Keys and passwords in every form in which a text may hold them, and the places where they do not belong."""

import base64
import html
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from interp.cli import app
from interp.cli.loading import load_config
from interp.errors import UserError, printable, quoted
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.secrets import HIDDEN, Secret, keep_secret
from interp.track.run import open_run
from tests.asking import client_of, question
from tests.endpoint_server import Act, Script, answers, chooses, refusal, says, serving

KEY = 'sk-live/+"<é>&7f31c0ffee'
PLAIN = "sk-live-7f31c0ffee99"
PASSWORD = "p/w@7f31c0ffee"
PASTED = (
    "sk-proj-7f31c0ffee99",
    "gsk_7f31c0ffee99abcd",
    "7f31c0ffee997f31c0ffee99",
    "a b",
    "hf_7f31c0ffee",
    "",
)


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe=""),
        quote_plus(KEY).lower().replace("%", "%"),
        json.dumps(KEY)[1:-1],
        json.dumps(KEY, ensure_ascii=False)[1:-1].replace("/", r"\/"),
        html.escape(KEY),
        repr(KEY)[1:-1],
        KEY.encode().hex(),
        *(base64.b64encode(b"x" * n + KEY.encode() + b"yy").decode() for n in range(4)),
        base64.urlsafe_b64encode(b"user:" + KEY.encode()).decode(),
        KEY[:15],
    ],
)
def test_no_form_of_a_secret_stays_in_a_text(form: str) -> None:
    hidden = Secret(KEY).hidden(f"it is {form}, and {form}{form}.")
    assert hidden.startswith("it is ")
    assert hidden.endswith(".")
    for part in ("7f31c0ffee", base64.b64encode(KEY.encode()).decode()[6:18], form[4:16]):
        assert part not in hidden


@pytest.mark.parametrize("word", ["", "a", "none", "EMPTY", "password", "postgres"])
def test_what_cannot_be_told_from_words_is_left(word: str) -> None:
    assert keep_secret(word).hidden(f"banana {word}s") == f"banana {word}s"
    assert printable("a banana of postgres") == "a banana of postgres"


def test_a_text_that_is_full_of_a_key_is_cleaned_at_once() -> None:
    assert Secret(PLAIN).hidden(PLAIN * 50_000) == HIDDEN * 50_000


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:pw1@h/db",
        "where: postgresql+psycopg://me:a:b@c@h:5432/db, and so on",
        "http://h/v1?x=1&api-key=pw1&y=2",
        "command line: endpoints.main.api_key=pw1",
        "postgresql://h/db?password=pw1",
    ],
)
def test_a_password_in_a_url_is_hidden_however_short(text: str) -> None:
    for shown in (printable(text, guessed=True), str(UserError(text, text, text)), quoted(text)):
        assert "pw1" not in shown
        assert "a:b" not in shown
        assert HIDDEN in shown


def test_keys_and_tokens_of_the_environment_are_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", PLAIN)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert printable(f"{PLAIN} and {PASSWORD} of SOME_SERVICE_TOKEN") == "*** and *** of SOME_SERVICE_TOKEN"


def test_a_key_with_a_line_break_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (f"{PLAIN}\n{PLAIN[::-1]}", f"{PLAIN}\x00", f"{PLAIN}\ré", "x" * 10_000):
        monkeypatch.setenv("OPENAI_API_KEY", key.replace("\x00", "\x01"))
        with pytest.raises(UserError, match="line break") as error:
            Client(Endpoint(model="m"))
        assert PLAIN not in str(error.value)
        assert PLAIN[::-1] not in printable(key)


@pytest.mark.parametrize("pasted", PASTED)
def test_a_key_in_the_place_of_a_variables_name_is_refused_and_not_shown(pasted: str) -> None:
    with pytest.raises(UserError, match="the name of an environment variable") as error:
        Endpoint(model="m", api_key_env=pasted)
    assert not pasted or pasted not in str(error.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "key", "my_key_2", "HF_TOKEN", "SK_TEST", "_K"])
def test_names_of_variables_are_taken(name: str) -> None:
    assert Endpoint(model="m", api_key_env=name).api_key_env == name


@pytest.mark.parametrize(
    "address",
    [
        f"https://{PLAIN}@host/v1",
        f"https://me:{PLAIN}@host/v1",
        f"https://host/v1?key={PLAIN}",
        f"https://host/v1#{PLAIN}",
        f"https://host/{PLAIN}/v1",
    ],
)
def test_a_key_in_an_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(UserError, match="may hold no key") as error:
        Endpoint(model="m", base_url=address)
    assert PLAIN not in str(error.value)
    assert "host" in printable("the host is kept")


def test_the_key_itself_in_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "0a1b2c3d4e5f")
    with pytest.raises(UserError, match="may hold no key") as error:
        Client(Endpoint(model="m", base_url="https://host/0a1b2c3d4e5f/v1"))
    assert "0a1b2c3d4e5f" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        f"endpoints.main={{model: m, base_url: 'http://127.0.0.1:1/v1', api_key_env: {PLAIN}}}",
        f"endpoints.main={{model: m, base_url: 'http://me:{PLAIN}@127.0.0.1:1/v1'}}",
        f"endpoints.main={{model: m, api_key: {PLAIN}}}",
        f"endpoints.main={{model: m, timeout_seconds: no, api_key_env: {PLAIN}}}",
        f"store.embedder={{kind: endpoint, endpoint: {{model: m, api_key_env: {PLAIN}}}}}",
        f"store.where=postgresql://me:{PLAIN}@host/db",
        f"store.where=postgresql://host/db?password={PLAIN}",
        "store.where=postgresql://me:pw@host/db",
    ],
)
def test_a_secret_in_a_config_is_refused_before_anything_is_written_and_not_shown(
    override: str, tmp_path: Path
) -> None:
    found = CliRunner().invoke(app, ["run", "configs/describe.yaml", override, "--runs-dir", str(tmp_path)])
    assert found.exit_code == 2, found.output
    assert PLAIN not in found.output
    assert ":pw@" not in found.output
    assert list(tmp_path.iterdir()) == []


def test_words_about_secrets_in_a_config_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "purpose-of-the-run")
    purpose = "password: a purpose-of-the-run like another"
    _, config = load_config("configs/quickstart.yaml", [f"purpose='{purpose}'"])
    assert config.purpose == purpose


def test_a_store_may_be_named_without_its_password() -> None:
    _, config = load_config("configs/describe.yaml", ["store.where=postgresql://me@host/db"])
    assert "me@host" in str(config)


def test_a_url_of_a_store_with_a_password_is_used_and_not_shown() -> None:
    url = f"postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:9/db"
    for command in (["search", url, "dates"], ["store", "info", url], ["store", "import", url, "tests"]):
        found = CliRunner().invoke(app, command)
        assert found.exit_code != 0
        for secret in (PASSWORD, quote(PASSWORD, safe=""), "7f31c0ffee"):
            assert secret not in found.output + str(found.exception)


ECHOES: dict[str, Act] = {
    "text": says(f"the key is {PLAIN}"),
    "text, escaped": says(json.dumps({"note": "".join(f"\\u{ord(c):04x}" for c in PLAIN)})),
    "base 64": says(base64.b64encode(f"Bearer {PLAIN}".encode()).decode()),
    "reason": chooses(finish_reason=PLAIN),
    "field": answers(system_fingerprint=PLAIN, **{PLAIN: PLAIN}),
    "token": chooses(logprobs={"content": [{"token": PLAIN, "logprob": -1}]}),
    "error": refusal(400, f"bad {quote(PLAIN)} {PLAIN[:15]}", {"www-authenticate": PLAIN}),
    "redirect": refusal(307, "", {"location": f"http://h/{PLAIN}"}),
}


@pytest.mark.parametrize("act", ECHOES.values(), ids=ECHOES.keys())
def test_a_key_that_a_server_gives_back_is_nowhere(
    act: Act, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", PLAIN)
    said = []
    with serving(Script().then(act)) as script:
        client = client_of(script, tmp_path)
        for _ in range(2):
            try:
                said.append(repr(run_with(client.chat(question(top_logprobs=1)), [client])))
            except UserError as error:
                said.append(str(error))
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    forms = (PLAIN, PLAIN[:15], base64.b64encode(PLAIN.encode()).decode()[4:20])
    assert not [form for form in forms if form in "".join(said) or form.encode() in written]


def test_the_log_of_a_bug_has_no_key_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", PLAIN)

    def fails(step: object) -> None:
        try:
            raise ValueError(f"Illegal header value b'Bearer {PLAIN}\ud83d'")
        except ValueError as error:
            raise KeyError(f"{PLAIN} in postgresql://me:pw1@host/db") from error

    _, config = load_config("configs/quickstart.yaml", ["name=bug"])
    with pytest.raises(KeyError), open_run(config, "bug", tmp_path) as run:
        run.step("fails", fails)
    log = (tmp_path / "bug" / "error.log").read_text()
    assert "Illegal header" in log
    assert PLAIN not in log
    assert ":pw1@" not in log


def test_what_pydantic_says_of_an_endpoint_has_no_values_in_it() -> None:
    with pytest.raises(ValidationError) as error:
        Endpoint.model_validate({"model": "m", "api_key": PLAIN})
    assert PLAIN not in str(error.value)


def test_what_a_model_writes_is_shown_though_it_looks_like_a_password() -> None:
    assert printable("the password: hunter2") == "the password: hunter2"
    assert "hunter2" not in UserError("password: hunter2", "here", "mend it").thing
