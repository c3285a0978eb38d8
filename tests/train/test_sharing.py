"""Prefix sharing gives the loss and the gradients of the plain batch, and leaves no trace in a model."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
from torch.nn import functional  # noqa: E402

from rasa_ft_ext.train import sharing  # noqa: E402
from rasa_ft_ext.train.batches import learned_tokens, make_batch, plain_batch  # noqa: E402
from rasa_ft_ext.train.data import Tokens  # noqa: E402
from rasa_ft_ext.train.sharing import enable, reason_against, shared_batch, shared_logits  # noqa: E402
from rasa_ft_ext.train.tree import PrefixTree  # noqa: E402
from tests.train.builders import KINDS, PAD, tiny_model, tokens, with_lora, words  # noqa: E402

LOSS, GRADIENTS = 1e-5, 1e-4


def nested() -> list[Tokens]:
    """A trunk of 60 tokens, two branches of 30 and 40 on it, two twigs on the first, and leaves of all lengths."""
    chance = random.Random(3)
    trunk, left, right, twig, other = (words(chance, count) for count in (60, 30, 40, 20, 17))
    beginnings = [trunk + left + twig] * 2 + [trunk + left + other] * 2 + [trunk + right] * 2 + [trunk]
    return [tokens(begin + words(chance, 1 + 5 * n), words(chance, 1 + n)) for n, begin in enumerate(beginnings)]


def batches() -> dict[str, list[Tokens]]:
    chance = random.Random(4)
    begin = words(chance, 40)
    one = tokens(begin + words(chance, 9), words(chance, 5))
    question = begin + words(chance, 6)
    return {
        "nested branches of unequal length": nested(),
        "one example": [one],
        "the same example three times": [one, one, one],
        "the same prompt with two answers": [tokens(question, [7, 8, 9]), tokens(question, [7, 8, 10, 11])],
        "the same answer cut short": [tokens(question, [7, 8, 9]), tokens(question, [7])],
        "a prompt that begins another's": [tokens(question, [5]), tokens(question + words(chance, 30), [6, 7])],
        "an example that begins another's prompt": [
            tokens(question, [5]),
            tokens([*question, 5, 2, *words(chance, 30)], [6, 7]),
        ],
        "nothing in common": [tokens(words(chance, 10 + n), words(chance, 3)) for n in range(3)],
        "prompts of one token": [tokens([5], [6, 7]), tokens([5], [8]), tokens([9], [6])],
    }


def loss_and_gradients(model: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    model.train()
    model.zero_grad()
    logits, targets = learned_tokens(model, batch)
    loss = functional.cross_entropy(logits, targets)
    loss.backward()
    return loss.item(), gradients_of(model)


def gradients_of(model: Any) -> dict[str, Any]:
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The relative L2 distance of all gradients together."""
    assert one.keys() == other.keys()
    difference = sum(float((one[name] - other[name]).square().sum()) for name in one)
    return float((difference / sum(float(value.square().sum()) for value in other.values())) ** 0.5)


def farthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest such distance of a single weight matrix."""
    return max(apart({name: one[name]}, {name: other[name]}) for name in one if float(other[name].norm()) > 1e-6)


def check(model: Any, examples: list[Tokens]) -> None:
    loss, gradients = loss_and_gradients(model, plain_batch(examples, PAD))
    enable(model.get_base_model() if hasattr(model, "peft_config") else model)
    shared_loss, shared_gradients = loss_and_gradients(model, shared_batch(examples))
    assert abs(shared_loss - loss) <= LOSS
    assert apart(shared_gradients, gradients) <= GRADIENTS
    assert farthest(shared_gradients, gradients) <= GRADIENTS


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_the_plain_batch(kind: str, adapted: bool) -> None:
    tree = PrefixTree.of([example.ids for example in nested()])
    assert max(len(node.above) for node in tree.nodes) == 3
    assert len(tree.ids) < tree.raw_tokens / 2
    model = tiny_model(kind)

    check(with_lora(model) if adapted else model, nested())


@pytest.mark.parametrize("name", batches())
def test_any_batch_gives_the_numbers_of_the_plain_one(name: str) -> None:
    check(tiny_model("Llama"), batches()[name])


@pytest.mark.parametrize("heads", [1, 4])
def test_heads_may_have_keys_of_their_own_or_share_one(heads: int) -> None:
    check(tiny_model("Llama", num_key_value_heads=heads), nested())


def test_tied_embeddings_get_the_gradients_of_both_ends() -> None:
    check(tiny_model("Llama", tie_word_embeddings=True), nested())


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
def test_gradient_checkpointing_changes_nothing(adapted: bool) -> None:
    model = tiny_model("Llama")
    model = with_lora(model) if adapted else model
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    layers = (model.get_base_model() if adapted else model).model.layers
    calls = []
    layers[0].self_attn.register_forward_pre_hook(lambda module, args: calls.append(1))

    check(model, nested())

    assert len(calls) == 2 * 2  # of the plain batch and of the shared one, each once more for the backward pass


def test_random_batches_give_the_numbers_of_the_plain_ones() -> None:
    chance = random.Random(0)
    model, plain = tiny_model("Llama").eval(), tiny_model("Llama").eval()
    enable(model)
    for _ in range(30):
        stems = [words(chance, chance.randrange(1, 60))]
        stems += [chance.choice(stems) + words(chance, chance.randrange(40)) for _ in range(4)]
        examples = [
            tokens(chance.choice(stems) + words(chance, chance.randrange(3)), words(chance, chance.randrange(1, 9)))
            for _ in range(chance.randrange(1, 9))
        ]
        with torch.no_grad():
            shared, targets = learned_tokens(model, make_batch(examples, pad=PAD, sharing=True))
            expected, same_targets = learned_tokens(plain, make_batch(examples, pad=PAD, sharing=False))
        assert torch.equal(targets, same_targets)
        torch.testing.assert_close(shared, expected, rtol=0, atol=5e-5)


def test_a_gradient_is_that_of_each_copy_of_a_shared_token() -> None:
    """Three equal examples weigh as much as three, although their tokens are there once."""
    example = nested()[0]
    model = tiny_model("Llama")
    enable(model)
    other = tokens([5, 6, 7], [8])
    batch = shared_batch([example, example, example, other])
    logits = shared_logits(model, batch)

    assert len(PrefixTree.of([example.ids] * 3).ids) == len(example.ids)
    assert len(batch["labels"]) == 3 * (len(example.ids) - example.prompt_length) + 2 == len(logits)
    check(model, [example, example, example, other])


def test_only_the_logits_of_learned_tokens_are_computed_each_once() -> None:
    examples = nested()
    model = tiny_model("Llama")
    enable(model)
    shapes = []
    model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))

    batch = shared_batch([*examples, *examples])
    logits = shared_logits(model, batch)

    learned = sum(len(example.ids) - example.prompt_length for example in examples)
    assert shapes == [(1, learned, model.config.vocab_size)]
    assert len(logits) == 2 * learned
    assert batch["input_ids"].shape == batch["position_ids"].shape == (1, len(batch["prefix_tree"].ids))


def test_a_model_works_as_before_without_a_tree() -> None:
    model = tiny_model("Llama").eval()
    batch = plain_batch(nested(), PAD)
    given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    answer = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": PAD}
    left = {name: value.flip(1) for name, value in given.items()}  # padded on the left, as generation wants it
    with torch.no_grad():
        logits, written = model(**given).logits, model.generate(**left, **answer)
        enable(model)
        shared_logits(model, shared_batch(nested()))

        assert torch.equal(model(**given).logits, logits)
        assert torch.equal(model.generate(**left, **answer), written)


def test_a_saved_model_says_nothing_of_it_and_loads_without_us(tmp_path: Path) -> None:
    model = tiny_model("Llama")
    adapted = with_lora(tiny_model("Llama"))
    enable(model)
    enable(adapted.get_base_model())
    model.save_pretrained(tmp_path / "full")
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")

    for file in tmp_path.glob("*/*.json"):
        assert sharing.ATTENTION not in file.read_text()
    code = (
        "import sys\n"
        "from transformers import AutoModelForCausalLM\n"
        "for folder in sys.argv[1:]:\n"
        "    model = AutoModelForCausalLM.from_pretrained(folder)\n"
        "    print(model.config._attn_implementation)\n"
        "assert not any(name.startswith('rasa_ft_ext') for name in sys.modules)\n"
    )
    folders = [str(tmp_path / "full"), str(tmp_path / "merged")]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["sdpa", "sdpa"]), done.stderr


@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
def test_the_step_is_that_of_trls_own_trainer(adapted: bool, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    examples = nested()
    rows = [{"input_ids": list(example.ids), "completion_mask": mask_of(example)} for example in examples]
    model = tiny_model("Llama")
    model = with_lora(model) if adapted else model
    theirs = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path),
            report_to="none",
            use_cpu=True,
            bf16=False,
            max_length=None,
            completion_only_loss=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(tmp_path),
    )
    batch = theirs.data_collator(list(theirs.train_dataset))
    assert int((batch["labels"] != -100).sum()) == learned(examples)
    model.train()
    model.zero_grad()
    loss = theirs.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(learned(examples)))
    loss.backward()
    gradients = gradients_of(model)

    own = tiny_model("Llama")
    own = with_lora(own) if adapted else own
    enable(own.get_base_model() if adapted else own)
    shared_loss, shared_gradients = loss_and_gradients(own, shared_batch(examples))

    assert abs(shared_loss - loss.item()) <= LOSS
    assert apart(shared_gradients, gradients) <= GRADIENTS


def mask_of(example: Tokens) -> list[int]:
    return [0] * example.prompt_length + [1] * (len(example.ids) - example.prompt_length)


def learned(examples: list[Tokens]) -> int:
    return sum(len(example.ids) - example.prompt_length for example in examples)


def tokenizer(folder: Path) -> Any:
    from tests.train.builders import tokenizer_of, write_base

    return tokenizer_of(write_base(folder / "base"))


@pytest.mark.parametrize("kind", KINDS)
def test_plain_attention_can_be_shared(kind: str) -> None:
    assert reason_against(tiny_model(kind).config, 4096) is None


def test_a_window_that_no_example_reaches_past_does_no_harm() -> None:
    windowed = tiny_model("Mistral", sliding_window=64).config
    assert reason_against(windowed, 64) is None
    assert "reaches back 64 tokens only, the longest example has 65" in str(reason_against(windowed, 65))
    layers = tiny_model("Qwen3", use_sliding_window=True, sliding_window=64, max_window_layers=1).config
    assert set(layers.layer_types) == {"full_attention", "sliding_attention"}
    assert reason_against(layers, 64) is None
    assert "64 tokens" in str(reason_against(layers, 65))


def test_what_cannot_be_exact_is_named() -> None:
    assert "drops 10% of its attention" in str(reason_against(tiny_model("Llama", attention_dropout=0.1).config, 9))
    config = tiny_model("Qwen3").config
    config.layer_types = ["full_attention", "linear_attention"]
    assert "layers of another kind than attention (linear_attention)" in str(reason_against(config, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_as_long_as_the_longest_example_gives_the_same_numbers(kind: str) -> None:
    longest = max(len(example.ids) for example in nested())
    extra = {"use_sliding_window": True, "max_window_layers": 0} if kind == "Qwen3" else {}
    if kind != "Llama":
        check(tiny_model(kind, sliding_window=longest, **extra), nested())


def test_attention_of_another_kind_is_refused_rather_than_wrong() -> None:
    tree = PrefixTree.of([(1, 2)])
    states = torch.zeros((1, 1, 2, 4))
    with pytest.raises(ValueError, match="cannot be shared"):
        sharing._attention(torch.nn.Module(), states, states, states, None, prefix_tree=tree, softcap=30.0)
