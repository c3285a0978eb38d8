"""What is trained is what a server sees, token by token."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.errors import ConfigError, RasaFtError
from rasa_ft_ext.rows import read_rows
from rasa_ft_ext.train.data import tokenize

transformers = pytest.importorskip("transformers")

from rasa_ft_ext.train.chat import DEFAULT_TEMPLATE, Chat, UnlearnableError, load_chat  # noqa: E402

COMPLETIONS = [
    "start flow rent_car",
    "start flow book_flight\nset slot from Malmö\nset slot to Genève",
    "set slot name Ærøskøbing ß",
    "set slot city 東京",
    "set slot mood 🚗👩‍👩‍👧",
    "provide info\n",
    "\nprovide info",
    "  cancel flow ",
    "\n\n two\tthree\r\n",
]
PROMPT = "# Flows\n\nrent_car: rents a car\n\nUSER: ich möchte ein Auto in 東京\nYour commands: "

# Short equivalents of what well-known models have: the same turns, in our own words.
LLAMA_3 = """\
{{- bos_token }}
{%- if date_string is not defined %}{% set date_string = %DATE% %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday is ' + date_string + '\\n\\n<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
LLAMA_3_FIXED = LLAMA_3.replace("%DATE%", "'26 Jul 2024'")
LLAMA_3_TODAY = LLAMA_3.replace("%DATE%", 'strftime_now("%d %b %Y")')

QWEN_3 = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

LLAMA_2 = """\
{%- for message in messages %}
{%- if message.role == 'user' %}{{- bos_token + '[INST] ' + message.content | trim + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{- ' ' + message.content | trim + ' ' + eos_token }}
{%- else %}{{- raise_exception('Only user and assistant!') }}{% endif %}
{%- endfor %}"""

MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'user' %}{{- '[INST]' + message.content + '[/INST]' }}
{%- elif message.role == 'assistant' %}{{- message.content + eos_token }}
{%- else %}{{- raise_exception('Only user and assistant!') }}{% endif %}
{%- endfor %}"""

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""


def make_base(
    folder: Path,
    template: str | None,
    *,
    special: Sequence[str] = (),
    bos: str | None = "<s>",
    eos: str | None = "</s>",
    stops: Sequence[str] = (),
    pad: str | None = None,
    spaces_as_words: bool = False,
) -> Path:
    """A folder with a tokenizer of this kind, and the configs that say where a server stops."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=spaces_as_words, unk_token="<unk>" if spaces_as_words else None))
    if spaces_as_words:  # as SentencePiece does it: a space belongs to the word after it, and the first word gets one
        spaces = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "isolated"), spaces])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        named = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = ["▁"]
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        named, alphabet = [], sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=named, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([PROMPT, *COMPLETIONS[:2]], trainer)
    if spaces_as_words:  # the bytes are plain tokens, not special ones
        state = json.loads(tokenizer.to_str())
        state["added_tokens"] = []
        tokenizer = Tokenizer.from_str(json.dumps(state))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        unk_token="<unk>" if spaces_as_words else None,
        extra_special_tokens=list(special),
        chat_template=template,
    )
    fast.save_pretrained(folder)
    config = transformers.LlamaConfig(vocab_size=len(fast), bos_token_id=None, eos_token_id=fast.eos_token_id)
    config.save_pretrained(folder)
    if stops:
        ids = fast.convert_tokens_to_ids(list(stops))
        transformers.GenerationConfig(eos_token_id=ids).save_pretrained(folder)
    return folder


def llama_3(folder: Path, template: str = LLAMA_3_FIXED, **options: Any) -> Path:
    special = ["<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|finetune_right_pad_id|>"]
    return make_base(
        folder,
        template,
        special=special,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        stops=["<|end_of_text|>", "<|eot_id|>"],
        **options,
    )


def qwen_3(folder: Path) -> Path:
    special = ["<|im_start|>", "<|endoftext|>"]
    stops = ["<|im_end|>", "<|endoftext|>"]
    return make_base(folder, QWEN_3, special=special, bos=None, eos="<|im_end|>", pad="<|endoftext|>", stops=stops)


def llama_2(folder: Path) -> Path:
    return make_base(folder, LLAMA_2, spaces_as_words=True)


def mistral(folder: Path) -> Path:
    return make_base(folder, MISTRAL, special=["[INST]", "[/INST]"], spaces_as_words=True)


def plain(folder: Path) -> Path:
    return make_base(folder, None)


def plain_words(folder: Path) -> Path:
    return make_base(folder, None, spaces_as_words=True)


KINDS = [llama_3, qwen_3, llama_2, mistral, plain, plain_words]


def server_ids(folder: Path, messages: Sequence[dict[str, str]]) -> list[int]:
    """What vLLM computes for a chat request: the tokenizer in the folder renders, and no special token is added."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def served(chat: Chat, folder: Path) -> Path:
    """The folder that would be served: what the chat saves."""
    chat.tokenizer.save_pretrained(folder)
    for name in ("config.json",):
        shutil.copy(Path(chat.tokenizer.name_or_path) / name, folder)
    return folder


# --- tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_is_the_servers_prompt_then_the_answer_then_one_end(kind: Any, tmp_path: Path) -> None:
    chat = load_chat(str(kind(tmp_path / "base")))
    folder = served(chat, tmp_path / "served")
    server = transformers.AutoTokenizer.from_pretrained(folder)

    for completion in COMPLETIONS:
        ids, length = chat.example_ids(user(PROMPT), completion)

        assert ids[:length] == server_ids(folder, user(PROMPT))
        assert ids[-1] == chat.end_id
        assert not {*ids[length:-1]} & {*chat.stop_ids}
        said = server.decode(ids[length - 8 :], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert said.endswith(completion)
        read = chat.decode(ids[:length], ids[length:])
        assert read == completion or (kind in (llama_2, mistral) and read == f" {completion}")


def test_the_tiny_base_is_trained_on_what_it_is_served_with(tiny_base: Path, tiny_rows: Path) -> None:
    chat = load_chat(str(tiny_base))
    rows = read_rows(tiny_rows)
    server = transformers.AutoTokenizer.from_pretrained(tiny_base)

    kept, dropped = tokenize(rows, chat, max_length=512)

    assert (len(kept), dropped, chat.notes) == (len(rows), {}, ())
    for row, example in zip(rows, kept, strict=True):
        prompt, answer = list(example.ids[: example.prompt_length]), list(example.ids[example.prompt_length :])
        assert prompt == server_ids(tiny_base, row.messages)
        assert answer[-1] == server.eos_token_id
        assert server.decode(answer, skip_special_tokens=True) == row.completion == example.completion
        whole = server.apply_chat_template(
            [*row.messages, {"role": "assistant", "content": row.completion}], return_dict=False
        )
        assert whole == [*prompt, *answer]


@pytest.mark.parametrize("kind", [llama_3, qwen_3, mistral])
def test_an_answer_has_the_tokens_that_the_whole_conversation_has(kind: Any, tmp_path: Path) -> None:
    kwargs = {"enable_thinking": False} if kind is qwen_3 else {}
    chat = load_chat(str(kind(tmp_path)), chat_template_kwargs=kwargs)
    original = transformers.AutoTokenizer.from_pretrained(tmp_path)

    ids, _ = chat.example_ids(user(PROMPT), COMPLETIONS[1])

    conversation = [*user(PROMPT), {"role": "assistant", "content": COMPLETIONS[1]}]
    whole = original.apply_chat_template(conversation, return_dict=False, **kwargs)
    assert whole[: len(ids)] == ids
    assert original.decode(whole[len(ids) :]).strip() == ""


def test_no_space_is_learned_where_the_prompt_ends_a_line(tmp_path: Path) -> None:
    """The answer alone would begin with a space in SentencePiece."""
    chat = load_chat(str(plain_words(tmp_path)))

    ids, length = chat.example_ids(user(PROMPT), "start flow x")

    assert chat.decode(ids[:length], ids[length:]) == "start flow x"
    assert chat.tokenizer.convert_ids_to_tokens(ids[length])[0] != "▁"


def test_tokens_that_reach_from_the_prompt_into_the_answer_are_not_used(tmp_path: Path) -> None:
    """A server goes on from the prompt's tokens: two line feeds and a third are no single token of three."""
    chat = load_chat(str(plain(tmp_path)))
    chat.tokenizer.add_tokens(["Assistant:\n\n"])

    ids, length = chat.example_ids(user("x"), "\ncancel flow")

    assert ids[:length] == chat.prompt_ids(user("x"))
    assert chat.decode(ids[:length], ids[length:]) == "\ncancel flow"


def test_an_answer_that_would_end_early_is_refused(tmp_path: Path) -> None:
    chat = load_chat(str(llama_3(tmp_path)))

    for text in ("a <|eot_id|> b", "<|end_of_text|>", "<|start_header_id|>"):
        with pytest.raises(UnlearnableError, match=r"the completion contains <\|"):
            chat.example_ids(user("x"), text)


def test_an_answer_that_the_tokenizer_cannot_write_is_refused(tmp_path: Path) -> None:
    from tokenizers import normalizers

    folder = plain(tmp_path / "base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained(folder)
    chat = load_chat(str(folder))

    with pytest.raises(UnlearnableError, match="would be read as 'set slot city basel'"):
        chat.example_ids(user("x"), "set slot city Basel")


def test_messages_that_the_template_refuses_are_named(tmp_path: Path) -> None:
    chat = load_chat(str(llama_2(tmp_path)))

    with pytest.raises(UnlearnableError, match=r"the chat template refuses it: .*Only user and assistant"):
        chat.prompt_ids([{"role": "system", "content": "s"}, *user("x")])


def test_a_system_message_is_rendered_as_a_server_does(tmp_path: Path) -> None:
    chat = load_chat(str(qwen_3(tmp_path)))
    messages = [{"role": "system", "content": "Be brief."}, *user("x")]

    assert chat.prompt_ids(messages) == server_ids(tmp_path, messages)


# --- the end of an answer ----------------------------------------------------------------------------------------


def test_the_end_is_what_the_template_writes_if_the_model_stops_there(tmp_path: Path) -> None:
    special, stops = ["<|im_start|>", "<|im_end|>"], ["<|im_end|>"]
    stopping = load_chat(str(make_base(tmp_path / "a", CHATML, special=special, stops=stops)))
    deaf = load_chat(str(make_base(tmp_path / "b", CHATML, special=special)))

    assert stopping.tokenizer.convert_ids_to_tokens(stopping.end_id) == "<|im_end|>"
    assert stopping.notes == ()
    assert deaf.tokenizer.convert_ids_to_tokens(deaf.end_id) == "</s>"
    assert "writes '<|im_end|>', at which the model does not stop" in deaf.notes[0]
    assert deaf.stop_ids == (deaf.tokenizer.eos_token_id,)


def test_a_space_before_the_end_is_not_learned(tmp_path: Path) -> None:
    chat = load_chat(str(llama_2(tmp_path)))

    ids, length = chat.example_ids(user("x"), "cancel flow")

    assert chat.tokenizer.convert_ids_to_tokens(ids[-2]) != "▁"
    assert chat.decode(ids[:length], ids[length:]) == " cancel flow"


def test_a_tokenizer_that_has_no_end_is_refused(tmp_path: Path) -> None:
    folder = make_base(tmp_path, CHATML, special=["<|im_start|>", "<|im_end|>"], eos=None)

    with pytest.raises(ConfigError, match="no token that ends an answer"):
        load_chat(str(folder))


def test_batches_are_filled_with_a_token_that_no_answer_ends_with_if_there_is_one(tmp_path: Path) -> None:
    def pad_of(folder: Path) -> str:
        chat = load_chat(str(folder))
        assert chat.pad_id == chat.tokenizer.pad_token_id
        return str(chat.tokenizer.pad_token)

    assert pad_of(llama_3(tmp_path / "a")) == "<|finetune_right_pad_id|>"
    assert pad_of(llama_3(tmp_path / "b", pad="<|end_of_text|>")) == "<|end_of_text|>"
    assert pad_of(llama_2(tmp_path / "c")) == "<unk>"
    assert pad_of(plain(tmp_path / "d")) == "</s>"


# --- chat templates ----------------------------------------------------------------------------------------------


def test_a_base_without_a_template_gets_a_plain_one_that_is_saved(tmp_path: Path) -> None:
    chat = load_chat(str(plain(tmp_path / "base")))
    folder = served(chat, tmp_path / "served")

    text = chat.tokenizer.decode(chat.prompt_ids([*user("a"), {"role": "assistant", "content": "b"}, *user("c")]))

    assert text == "<s>### User:\na\n\n### Assistant:\nb</s>\n### User:\nc\n\n### Assistant:\n"
    assert "has no chat template; a plain one was added" in chat.notes[0]
    assert load_chat(str(folder)).notes == ()
    assert load_chat(str(folder)).template == DEFAULT_TEMPLATE
    assert len(chat.tokenizer) == len(transformers.AutoTokenizer.from_pretrained(tmp_path / "base"))


def test_a_template_file_takes_the_place_of_the_models_own(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    file.write_text(turns + "{% if add_generation_prompt %}<assistant>{% endif %}")
    chat = load_chat(str(qwen_3(tmp_path / "base")), chat_template=file)
    folder = served(chat, tmp_path / "served")

    assert chat.tokenizer.decode(chat.prompt_ids(user("x"))) == "<user>x<|im_end|><assistant>"
    assert server_ids(folder, user("x")) == chat.prompt_ids(user("x"))


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{% for", "does not render a user's message: TemplateSyntaxError"),
        ("{{ raise_exception('never') }}", "does not render a user's message: TemplateError: never"),
        ("{{ messages[0].nothing.more }}", "does not render a user's message: UndefinedError"),
        ("Assistant:", "renders the user's message not at all"),
        ("{{ messages[0].content | upper }}", "renders the user's message not at all"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "renders the user's message 2 times"),
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}",
            "does not begin the answer when it is asked to",
        ),
        (" \n", "The file is empty"),
    ],
)
def test_a_template_that_is_none_is_refused(tmp_path: Path, template: str, part: str) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(template)
    folder = plain(tmp_path / "base")

    with pytest.raises(ConfigError) as error:
        load_chat(str(folder), chat_template=file)

    assert error.value.where == f"The chat template {file}"
    assert part in error.value.problems[0]


def test_several_templates_without_a_default_are_refused(tmp_path: Path) -> None:
    folder = make_base(tmp_path, {"tools": CHATML, "rag": CHATML})  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"There are several \((tools|rag), (tools|rag)\) and none is the default"):
        load_chat(str(folder))


def test_todays_date_in_the_prompt_is_noted_and_an_argument_fixes_it(tmp_path: Path) -> None:
    folder = str(llama_3(tmp_path / "base", LLAMA_3_TODAY))
    today = datetime.now().strftime("%d %b %Y")

    (note,) = load_chat(folder).notes
    fixed = load_chat(folder, chat_template_kwargs={"date_string": "01 Jan 2025"})

    assert f"writes today's date ({today})" in note
    assert "date_string" in note
    assert fixed.notes == ()
    assert "Today is 01 Jan 2025" in fixed.tokenizer.decode(fixed.prompt_ids(user("x")))
    assert server_ids(served(fixed, tmp_path / "served"), user("x")) == fixed.prompt_ids(user("x"))


def test_a_date_that_stays_the_same_is_no_matter(tmp_path: Path) -> None:
    assert load_chat(str(llama_3(tmp_path))).notes == ()


def test_a_thinking_block_that_a_server_does_not_write_is_not_trained(tmp_path: Path) -> None:
    chat = load_chat(str(qwen_3(tmp_path)))

    ids, length = chat.example_ids(user("x"), "cancel flow")

    assert chat.tokenizer.decode(ids) == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\ncancel flow<|im_end|>"
    assert chat.tokenizer.decode(ids[length:]) == "cancel flow<|im_end|>"
    assert '{"enable_thinking": false}' in chat.notes[0]


def test_arguments_are_written_into_the_template_so_that_a_server_needs_none(tmp_path: Path) -> None:
    chat = load_chat(str(qwen_3(tmp_path / "base")), chat_template_kwargs={"enable_thinking": False, "é": 'a"\n🚗'})
    folder = served(chat, tmp_path / "served")

    assert chat.notes == ()
    assert chat.tokenizer.decode(chat.prompt_ids(user("x"))).endswith("<think>\n\n</think>\n\n")
    assert server_ids(folder, user("x")) == chat.prompt_ids(user("x"))


def test_arguments_that_a_template_cannot_hold_are_noted_for_the_server(tmp_path: Path) -> None:
    chat = load_chat(str(plain(tmp_path)), chat_template_kwargs={"bos_token": "<s>", "not-a-name": 1})

    assert any("has to be started with the chat template arguments" in note for note in chat.notes)
    assert chat.example_ids(user("x"), "cancel flow")


def test_a_template_that_renders_a_list_of_parts_otherwise_is_noted(tmp_path: Path) -> None:
    parts = CHATML.replace(
        "message.content + '<|im_end|>\\n'",
        "(message.content if message.content is string else 'parts') + '<|im_end|>\\n'",
    )
    parts += "{%- for m in messages %}{% for part in m.content %}{% endfor %}{% endfor %}"
    folder = make_base(tmp_path, parts, special=["<|im_start|>", "<|im_end|>"], stops=["<|im_end|>"])

    assert "--chat-template-content-format string" in load_chat(str(folder)).notes[0]


def test_a_tokenizer_without_templates_is_loaded_as_one_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With mistral_common installed, transformers gives its tokenizer for models of Mistral."""
    folder = mistral(tmp_path)
    backend = type("MistralCommonBackend", (), {})
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: backend())

    assert load_chat(str(folder)).notes == ()


# --- getting the base --------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    no_tokenizer = tmp_path / "no_tokenizer"
    transformers.LlamaConfig().save_pretrained(no_tokenizer)

    for name, part in [("empty", "holds no config.json"), ("adapter", "holds an adapter"), ("no_tokenizer", "token")]:
        with pytest.raises(RasaFtError) as error:
            load_chat(str(tmp_path / name))
        assert part in str(error.value), name


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does for models of these names."""

    def do_HEAD(self) -> None:
        owner, name = self.path.split("/")[1:3]
        signed_in = self.headers.get("Authorization") == "Bearer hf_good"
        status, code, message = {
            "gated": (403 if signed_in else 401, "GatedRepo", "Access is restricted."),
            "missing": (404 if signed_in else 401, "RepoNotFound", "Repository not found"),
            "old": (404, "RevisionNotFound", "Invalid rev id"),
            "bare": (404, "EntryNotFound", "Entry not found"),
            "token": (401, "", "Invalid credentials in Authorization header"),
            "down": (503, "", "Maintenance"),
        }[name]
        assert owner == "org"
        self.send_response(status)
        for header, value in (("X-Error-Code", code), ("X-Error-Message", message), ("Content-Length", "0")):
            if value:
                self.send_header(header, value)
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


ASK = """
import json, sys, time
time.sleep = lambda seconds: None  # huggingface_hub asks again and again
from rasa_ft_ext.errors import RasaFtError
from rasa_ft_ext.train.chat import load_chat
said = {}
for base in json.loads(sys.argv[1]):
    try:
        load_chat(base, revision="v9" if base == "org/old" else None)
    except RasaFtError as error:
        said[base] = str(error)
print(json.dumps(said))
"""


def ask(bases: list[str], home: Path, **environment: str) -> dict[str, str]:
    """What is said of bases on a hub, in a process of its own: addresses and tokens are read when it starts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(bases)],
        env={**kept, **proxies, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_what_the_hub_refuses_is_told_with_what_to_do(hub: str, tmp_path: Path) -> None:
    said = ask([f"org/{name}" for name in ("gated", "missing", "old", "bare", "token")], tmp_path, HF_ENDPOINT=hub)

    assert "The base model org/gated cannot be loaded" in said["org/gated"]
    assert "accept the licence at https://huggingface.co/org/gated" in said["org/gated"]
    assert "no valid token was sent" in said["org/gated"]
    assert "set HF_TOKEN" in said["org/gated"]
    assert "neither a folder nor a model of the hub" in said["org/missing"]
    assert "no revision 'v9'" in said["org/old"]
    assert "not a model that transformers can load" in said["org/bare"]
    assert "does not accept the token" in said["org/token"]


def test_a_token_without_access_is_told_apart_from_none_and_is_never_shown(hub: str, tmp_path: Path) -> None:
    said = ask(["org/gated", "org/missing"], tmp_path, HF_ENDPOINT=hub, HF_TOKEN="hf_good")

    assert "the token's account has no access" in said["org/gated"]
    assert "neither a folder nor a model" in said["org/missing"]
    assert "hf_good" not in str(said)


def test_a_hub_that_is_out_of_reach_or_down_or_forbidden_is_told(hub: str, tmp_path: Path) -> None:
    unreachable = ask(["org/any"], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    down = ask(["org/down"], tmp_path, HF_ENDPOINT=hub)
    offline = ask(["org/any", "not a name"], tmp_path, HF_HUB_OFFLINE="1")

    assert "http://127.0.0.1:9 cannot be reached" in unreachable["org/any"]
    assert "answered with status 503" in down["org/down"]
    assert "HF_HUB_OFFLINE forbids to download it" in offline["org/any"]
    assert "names such as org/model" in offline["not a name"]
