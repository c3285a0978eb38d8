"""A model's tokens of a prompt are those that transformers, and so every server built on it, makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasa_ft_ext.doctor.chat_template import prompt_tokens
from rasa_ft_ext.doctor.findings import Unknown
from tests.doctor.patients import CHAT_TEMPLATE, make_model

PROMPT = "  The last message:\n'Zürich & <Basel>'  \n\n"
TEMPLATES = {
    "plain": CHAT_TEMPLATE,
    "special tokens": "{{ bos_token }}{% for m in messages %}{{ m['content'] | trim }}{{ eos_token }}{% endfor %}",
    "date": "{% if not day %}{% set day = strftime_now('%d %B') %}{% endif %}{{ day }}{{ messages[0].content }}",
    "answers marked": """
        {%- for m in messages %}
        {% if m.role == 'user' %}
            {{- m.content }}
        {% else %}
            {% generation %}{{ m.content }}{% endgeneration %}
        {% endif %}
        {%- endfor %}
        {% if add_generation_prompt %}
        go {% generation %}on{% endgeneration %}
        {% endif %}""",
    "loop controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}",
    "tools": "{% if tools is none and not documents %}{{ messages | tojson(indent=2) }}{% endif %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_tokens_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    make_model(tmp_path / "merged", template=TEMPLATES[name])
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
        tmp_path / "merged", bos_token="<s>", eos_token=transformers.AddedToken("</s>", special=True)
    )
    tokenizer.save_pretrained(tmp_path / "merged")
    messages = [{"role": "user", "content": PROMPT}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    assert prompt_tokens(tmp_path / "merged", PROMPT) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_template_in_the_tokenizers_settings_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "merged"
    make_model(folder)
    expected = prompt_tokens(folder, PROMPT)
    (folder / "chat_template.jinja").unlink()
    for found in (CHAT_TEMPLATE, [{"name": "tools", "template": ""}, {"name": "default", "template": CHAT_TEMPLATE}]):
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": found}))

        assert prompt_tokens(folder, PROMPT) == expected


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("tokenizer.json", None, "there is no"),
        ("tokenizer.json", "{}", "cannot be used"),
        ("tokenizer_config.json", None, "cannot be read"),
        ("chat_template.jinja", None, "has no chat template"),
        ("chat_template.jinja", "{% for %}", "cannot be rendered here"),
        ("chat_template.jinja", "{{ raise_exception('no users') }}", "no users"),
        ("chat_template.jinja", "{{ messages.__class__.__mro__ }}", "cannot be rendered here"),
    ],
)
def test_what_keeps_tokens_from_being_made_is_said(file: str, content: str | None, reason: str, tmp_path: Path) -> None:
    make_model(tmp_path / "merged")
    (tmp_path / "merged" / file).unlink()
    if content is not None:
        (tmp_path / "merged" / file).write_text(content)

    with pytest.raises(Unknown, match=reason):
        prompt_tokens(tmp_path / "merged", PROMPT)
