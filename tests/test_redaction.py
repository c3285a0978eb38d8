"""What is masked, and what is left alone."""

from __future__ import annotations

import time

import pytest

from rasa_ft_ext.redaction import Redactor, unknown_regions


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to Max.Müller+trips@bücher-shop.example.de.", "write to EMAIL_1."),
        ("'anna@example.com'", "'EMAIL_1'"),
        ("我的邮箱是li.wei@163.com谢谢", "我的邮箱是EMAIL_1谢谢"),
        ("/SetSlots(email=anna@example.com)", "/SetSlots(email=EMAIL_1)"),
        ("call 0170 1234567", "call PHONE_1"),
        ("call +49 (0)89 1234567 please", "call PHONE_1 please"),
        ("030/123456-78", "PHONE_1"),
        ("0049-170-1234567", "PHONE_1"),
        ("我的电话是13812345678", "我的电话是PHONE_1"),
        ("138 1234 5678", "PHONE_1"),
        ("+86 138-1234-5678", "PHONE_1"),
        ("010-62345678", "PHONE_1"),
        ("(202) 456-1111", "PHONE_1"),
        ("tel. 202-456-1111, ask for Bob", "tel. PHONE_1, ask for Bob"),
        ("+1 202 456 1111", "PHONE_1"),
        ("079 123 45 67", "PHONE_1"),
        ("4111 1111 1111 1111 12/27 123", "CARD_1 12/27 123"),
        ("4111-1111-1111-1111", "CARD_1"),
        ("378282246310005", "CARD_1"),
        ("卡号6225880137706868吗", "卡号CARD_1吗"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN IBAN_1 please"),
        ("de89370400440532013000", "IBAN_1"),
        ("CH93-0076-2011-6238-5295-7", "IBAN_1"),
        ("GB29 NWBK 6016 1331 9268 19.", "IBAN_1."),
    ],
)
def test_personal_numbers_are_masked(text: str, masked: str) -> None:
    assert Redactor().text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "from 12.05.2026 to 17.05.2026",
        "2026-05-14 18:30",
        "05/14/2026 05/17/2026",
        "14-05-2026 until 17-05-2026",
        "20260514-20260517",
        "1.299,00 EUR",
        "€12,999.00 or 15000 CHF",
        "it costs 10.000.000 yen",
        "LH 400, BA2490 and LX1234",
        "booking ABC123456, PNR X7K9QZ",
        "customer C-1001, order 4500012345",
        "room 12/05, room 1205",
        "ticket 220-2412345678",
        "between 12:30 and 14:45",
        "DE88 3704 0044 0532 0130 00",  # the check digits do not fit
        "4111 1111 1111 1112",
        "meet me @ the airport",
        "PHONE_1 and EMAIL_1",
        "",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_value_keeps_its_placeholder_within_a_conversation_however_it_is_written() -> None:
    redactor = Redactor()
    assert redactor.text("0170 1234567 or +1 202 456 1111") == "PHONE_1 or PHONE_2"
    assert redactor.text("+49 170 1234567, A@EXAMPLE.com") == "PHONE_1, EMAIL_1"
    assert redactor.text("a@example.com, 4111111111111111") == "EMAIL_1, CARD_1"
    assert redactor.text("4111-1111-1111-1111") == "CARD_1"
    assert Redactor().text("+1 202 456 1111") == "PHONE_1"


def test_numbers_without_a_country_code_are_those_of_the_regions() -> None:
    indian = "98765 43210"
    assert Redactor().text(indian) == indian
    assert Redactor(["IN"]).text(indian) == "PHONE_1"
    assert Redactor([]).text("+91 98765 43210") == "PHONE_1"
    assert unknown_regions(["IN", "XX"]) == ["XX"]


def test_placeholders_survive_the_command_language() -> None:
    from rasa_ft_ext.commands import read

    value = Redactor().text("a@example.com")
    assert read(f"set slot email {value}", "v2")[0].args == ("email", value)


def test_a_long_text_takes_no_time() -> None:
    started = time.monotonic()
    Redactor().text("a." * 20_000 + "@ " + "DE12 " * 4_000)
    assert time.monotonic() - started < 10
