"""Projects that are written in every way that YAML allows: name, config.yml, endpoints.yml, and the lines that go.

All of them mean the same, a Compact generator whose model is in a group, or in config.yml.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.connect.connect_builders import CONFIG, ENDPOINTS, INLINE


class Odd(NamedTuple):
    """A project's files as bytes. `gone` are parts of the lines that are not the same any more, all others stay."""

    name: str
    config: bytes
    endpoints: bytes | None
    gone: tuple[str, ...]


GROUP = ("model_group: teacher",)
INLINE_KEYS = ("prompt: prompts/mine.jinja2", "provider: openai", "model: gpt-4-0613", "request_timeout: 7")

ANCHORS = (
    """\
language: en
defaults: &defaults   # used below
  timeout: 7
pipeline:
  - name: CompactLLMCommandGenerator
    llm: {model_group: teacher}
    flow_retrieval: &retrieval {active: false}
  - name: KeywordIntentClassifier
    settings: *retrieval
policies:
  - name: FlowPolicy
    more:
      <<: *defaults
      other: 1
""",
    """\
shared: &shared
  provider: openai
  timeout: 15
model_groups:
  - id: teacher
    models: [{<<: *shared, model: gpt-4}]
  - id: search
    models:
      - <<: *shared
        model: gpt-5
""",
)
FLOW = (
    "language: en\n"
    "pipeline: [{name: CompactLLMCommandGenerator, llm: {model_group: teacher}, flow_retrieval: {active: false}}] # 1\n"
    "policies: [{name: FlowPolicy}]\n",
    "# one line\n"
    'model_groups: [{id: teacher, models: [{provider: openai, model: "gpt-4", timeout: 15}]}]  # groups\n'
    "action_endpoint: {actions_module: actions}\n",
)
JSON = (
    '{"language": "en",\n "pipeline": [\n  {"name": "CompactLLMCommandGenerator",\n'
    '   "llm": {"model_group": "teacher"}, "flow_retrieval": {"active": false}}\n ],\n'
    ' "policies": [{"name": "FlowPolicy"}]\n}\n',
    '{"model_groups": [{"id": "teacher", "models": [{"provider": "openai", "model": "gpt-4"}]}]}\n',
)
MARKERS = (
    f"---\n{CONFIG}...\n# after the end\n",
    "# before\n--- # here it begins\n"
    "model_groups:\n- id: teacher\n  models:\n  - provider: openai\n    model: gpt-4\n...\n",
)
NO_GROUPS = (
    f"---\n{CONFIG}...",
    "--- # here it begins\naction_endpoint:\n  actions_module: actions\n... # and ends\n",
)
QUOTED = (
    """\
"language": en
"pipeline":
  - 'name': "CompactLLMCommandGenerator"
    "llm": {'model_group': 'teacher'}
    'prompt_template': 'prompts/mine.jinja2'
    "include_date_time": true
    "flow_retrieval":
      "active": false
'policies':
  - "name": FlowPolicy
""",
    """\
'model_groups':
  - "id": "teacher"
    "models":
    - "provider": 'openai'
      'model': "gpt-4"
""",
)
BETWEEN = (
    """\
language: en

pipeline:
    # first
    -
        # the name
        name: CompactLLMCommandGenerator

        # the model
        llm:

            # of the teacher
            model_group: teacher
            # until here
        # no retrieval
        flow_retrieval:
            active: false@@@
    # second
    - name: KeywordIntentClassifier
# the end of the pipeline
policies:
    -   name: FlowPolicy
""".replace("@", " "),
    """\
model_groups:

  # the first
  -   id: teacher
      # its models
      models:
          # only one
          -   provider: openai
              model: gpt-4   # still
              # timeout: 15

  # the second
#  -   id: other

action_endpoint:
  actions_module: actions
""",
)
LOOKALIKES = (
    """\
language: en
#pipeline:
#  - name: CompactLLMCommandGenerator
#    llm:
#      model_group: teacher
pipeline:
#  - name: SearchReadyLLMCommandGenerator
  - name: KeywordIntentClassifier
    note: |
      pipeline:
        - name: CompactLLMCommandGenerator
          llm:
            model_group: teacher

    other: >-
      llm: {model_group: teacher}
  - llm: {model_group: teacher} # prompt_template: no
    name: CompactLLMCommandGenerator # llm: x
    flow_retrieval: {active: false}
policies:
  - name: EnterpriseSearchPolicy
    llm:
      model_group: teacher
    prompt: prompts/search.jinja2
  - name: FlowPolicy
""",
    """\
# model_groups:
note: "model_groups: []"
model_groups:
  - id: teacher   # id: student
    models:
      - provider: openai
        model: gpt-4
  - id: student
    models:
      - provider: openai
        model: gpt-5
""",
)
LONG = (
    CONFIG.replace("# asked for every message", "#\tasked " + "and asked " * 60).replace("# An", "#\t\tAn\t#\t"),
    ENDPOINTS.replace("- id: teacher", f"- id: teacher  #\t{'x' * 400}").replace("\n#", "   \n\n  \n#"),
)
CHINESE = (
    "# 助手的配置\n" + CONFIG.replace("# asked for every message", "# 每条消息都会询问老师模型"),
    "# 模型组 😀\n" + ENDPOINTS.replace("- id: teacher", "- id: teacher # 老师"),
)
EMPTY_GROUPS = "action_endpoint:\n  actions_module: actions\nmodel_groups: []   # none so far\nnlg:\n  type: response\n"
NULL_GROUPS = "model_groups: # none so far\n\naction_endpoint:\n  actions_module: actions"

BOM = b"\xef\xbb\xbf"


def _odd(name: str, files: tuple[str, str | None], *gone: str, mark: bytes = b"", newline: str = "\n") -> Odd:
    config, endpoints = (None if text is None else mark + text.replace("\n", newline).encode() for text in files)
    assert config is not None
    return Odd(name, config, endpoints, gone)


ODD = [
    _odd("windows line ends", (CONFIG, ENDPOINTS), *GROUP, newline="\r\n"),
    _odd("windows line ends, all in config.yml", (INLINE, None), *INLINE_KEYS, newline="\r\n"),
    _odd("a byte order mark and Chinese", CHINESE, *GROUP, mark=BOM),
    _odd("tabs, long lines and blanks at the end", LONG, *GROUP),
    _odd("anchors and merge keys elsewhere", ANCHORS, *GROUP),
    _odd("all on one line", FLOW, "pipeline: [", "model_groups: ["),
    _odd("written as JSON", JSON, '"llm":', '{"model_groups":'),
    _odd("document markers", MARKERS, *GROUP),
    _odd("document markers and no groups", NO_GROUPS, *GROUP),
    _odd("quoted keys", QUOTED, "'model_group': 'teacher'", "'prompts/mine.jinja2'", '"include_date_time": true'),
    _odd("comments between all", BETWEEN, *GROUP),
    _odd("what looks like keys", LOOKALIKES, "- llm: {model_group: teacher}"),
    _odd("no line end at the end", (CONFIG.rstrip("\n"), ENDPOINTS.rstrip("\n")), *GROUP),
    _odd("all in config.yml, under old names", (INLINE, "# nothing here\n"), *INLINE_KEYS),
    _odd("an empty list of groups", (CONFIG, EMPTY_GROUPS), *GROUP, "model_groups: []"),
    _odd("groups without a value", (CONFIG, NULL_GROUPS), *GROUP),
]
