"""What a user says about calls: all that cannot work is told at once."""

from __future__ import annotations

import pytest

from rasa_ft_ext.cli.call_arguments import call_options
from rasa_ft_ext.cli.main import build_parser
from rasa_ft_ext.llm.options import CallOptions, read_price


def test_the_default_works() -> None:
    assert CallOptions().problems() == []


def test_all_that_cannot_work_is_told() -> None:
    options = CallOptions(
        concurrency=0,
        max_requests_per_minute=0,
        max_tokens_per_minute=-1,
        timeout=0.0,
        cache="there",
        use_cache=False,
        mode="fast",  # type: ignore[arg-type]
        price_per_1k="cheap",
        max_cost=-1,
        workers=0,
        backend="slurm",  # type: ignore[arg-type]
    )
    problems = options.problems()

    for name in (
        "concurrency",
        "max_requests",
        "max_tokens",
        "timeout",
        "cache",
        "mode",
        "price",
        "max_cost",
        "workers",
    ):
        assert any(problem.startswith(name) for problem in problems), name
    assert len(problems) == 10


def test_batches_need_the_cache() -> None:
    assert "cache" in CallOptions(mode="batch", use_cache=False).problems()[0]


@pytest.mark.parametrize(("text", "price"), [("0.4:1.6", (0.0004, 0.0016)), ("2", (0.002, 0.002)), ("0:0", (0, 0))])
def test_prices_are_for_a_thousand_tokens(text: str, price: tuple[float, float]) -> None:
    assert read_price(text) == pytest.approx(price)


@pytest.mark.parametrize("text", ["", "a:b", "1:", "1:2:3", "-1:1", "nan", "inf:1"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="dollars"):
        read_price(text)


def test_the_flags_are_the_options() -> None:
    words = "prepare-data --concurrency 3 --max-requests-per-minute 60 --max-tokens-per-minute 9000 --llm-timeout 7.5"
    words += " --cache there --llm-mode batch --price-per-1k 1:2 --max-cost 4 --workers 2 --backend ray"
    options = call_options(build_parser().parse_args(words.split()))

    assert options == CallOptions(
        concurrency=3,
        max_requests_per_minute=60,
        max_tokens_per_minute=9000,
        timeout=7.5,
        cache="there",
        mode="batch",
        price_per_1k="1:2",
        max_cost=4.0,
        workers=2,
        backend="ray",
    )
    assert call_options(build_parser().parse_args(["prepare-data"])) == CallOptions()
    assert not call_options(build_parser().parse_args(["rephrase", "--no-cache"])).use_cache


@pytest.mark.parametrize(
    "words", ["--llm-timeout 0", "--max-cost -1", "--price-per-1k free", "--workers 0", "--cache here --no-cache"]
)
def test_a_value_that_cannot_work_is_refused_before_anything(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["prepare-data", *words.split()])
    assert words.split()[0] in capsys.readouterr().err
