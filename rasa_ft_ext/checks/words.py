"""Text made comparable: letters without accents and case, numbers and dates however they are written.

The words for numbers and days are those of English, German, French, Spanish, Italian, Chinese and Japanese. This module
knows nothing of rows and slots.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import NamedTuple

_MONTHS = (
    "january januar janvier enero gennaio",
    "february februar fevrier febrero febbraio",
    "march marz maerz mars marzo",
    "april avril abril aprile",
    "may mai mayo maggio",
    "june juni juin junio giugno",
    "july juli juillet julio luglio",
    "august aout agosto",
    "september septembre septiembre settembre",
    "october oktober octobre octubre ottobre",
    "november novembre noviembre",
    "december dezember decembre diciembre dicembre",
)
_WEEKDAYS = (
    "monday tuesday wednesday thursday friday saturday sunday montag dienstag mittwoch donnerstag freitag samstag "
    "sonnabend sonntag lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes miercoles jueves viernes "
    "sabado domingo lunedi martedi mercoledi giovedi venerdi sabato domenica"
)
# After these, what day it is has to be worked out: such a day stands nowhere in the message.
_RELATIVE = (
    f"{_WEEKDAYS} today tomorrow tonight yesterday now next days night nights week weeks weekend month "
    "months soon asap earliest later heute morgen ubermorgen gestern jetzt nachste nachsten nachster tage "
    "tagen nacht nachte woche wochen wochenende monat monate sofort baldmoglichst aujourd demain maintenant "
    "prochain prochaine jours nuit nuits semaine semaines mois hoy manana ahora proximo proxima dias noche "
    "noches semana semanas mes meses oggi domani ieri adesso prossimo prossima giorni notte notti settimana "
    "settimane mese mesi"
)
_RELATIVE_SIGNS = re.compile(
    "今日|明日|明後日|昨日|今天|明天|后天|昨天|来週|今週|来月|下周|[月火水木金土日]曜|星期|[日泊]間|晚|夜"
)
_NUMBERS = (
    "zero null none nobody nada cero",
    "one first once ein eine einen erste ersten un une uno una premier primero primo",
    "two second twice couple pair both zwei zweite zweiten zu deux deuxieme dos segundo due secondo",
    "three third thrice drei dritte dritten trois troisieme tres tercero tre terzo",
    "four fourth vier vierte vierten quatre quatrieme cuatro quattro",
    "five fifth funf funfte funften cinq cinco cinque",
    "six sixth sechs sechste sechsten seis sei",
    "seven seventh sieben siebte siebten sept siete sette",
    "eight eighth acht achte achten huit ocho otto",
    "nine ninth neun neunte neunten neuf nueve nove",
    "ten tenth zehn zehnte zehnten dix diez dieci",
    "eleven eleventh elf elfte elften onze once undici",
    "twelve twelfth dozen zwolf zwolfte zwolften dutzend douze doce dodici",
    "thirteen thirteenth dreizehn treize trece tredici",
    "fourteen fourteenth vierzehn quatorze catorce quattordici",
    "fifteen fifteenth funfzehn quinze quince quindici",
    "sixteen sixteenth sechzehn seize dieciseis sedici",
    "seventeen seventeenth siebzehn diecisiete diciassette",
    "eighteen eighteenth achtzehn dieciocho diciotto",
    "nineteen nineteenth neunzehn diecinueve diciannove",
)
_TENS = (
    "twenty twentieth zwanzig zwanzigste vingt veinte venti",
    "thirty thirtieth dreissig dreissigste trente treinta trenta",
    "forty vierzig quarante cuarenta quaranta",
    "fifty funfzig cinquante cincuenta cinquanta",
    "sixty sechzig soixante sesenta sessanta",
    "seventy siebzig setenta settanta",
    "eighty achtzig ochenta ottanta",
    "ninety neunzig noventa novanta",
    "hundred hundert cent cien cento",
)
_SIGNS = {sign: number for number, sign in enumerate("〇一二三四五六七八九十")}

_WORDS = {word: number for number, words in enumerate(_NUMBERS) for word in words.split()}
_WORDS |= {word: 10 * number for number, words in enumerate(_TENS, 2) for word in words.split()}
_MONTH = {word: number for number, words in enumerate(_MONTHS, 1) for word in words.split()}
_SHORT_MONTH = {word[:3]: number for word, number in _MONTH.items()} | {"sept": 9, "dez": 12, "okt": 10}
_RELATIVES, _DAYS = frozenset(_RELATIVE.split()), frozenset(_WEEKDAYS.split())
_ISO = re.compile(r"^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[t ].*)?$")
_SHORT = re.compile(r"^(\d{1,2})[-/.](\d{1,2})[-/.]?(?:\d{2}|\d{4})?$")
_CLOCK = re.compile(r"^(\d{1,2}):(\d{2})(?::\d{2})?(?: ?[ap]m)?$")


def normal(text: str) -> str:
    """Small letters without accents, words and numbers with single blanks between: `Zürich!` is `zurich`."""
    if text.isascii():
        return " ".join(re.findall("[a-z0-9]+", text.casefold()))
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFC", letters).replace("_", " ")))


def numbers_in(text: str) -> frozenset[int]:
    """The whole numbers that a text says, in digits or words: `the 3rd`, `twenty-one`, `六月`."""
    words = normal(text).split()
    found = {int(digits) for digits in re.findall(r"[0-9]+", normal(text))}
    found |= {int(digits) for digits in re.findall(r"[0-9]+", re.sub(r"(?<=\d)[,.' ](?=\d{3})", "", text))}
    said = [_WORDS.get(word) for word in words]
    found |= {number for number in said if number is not None}
    found |= {a + b for a, b in pairwise(said) if a and b and 20 <= a < 100 and b < 10}
    return frozenset(found | {_SIGNS[sign] for sign in text if sign in _SIGNS})


def number(text: str) -> int | None:
    """The whole number that a text is, in digits or as a word; None of any other text."""
    plain = re.sub(r"(?<=\d)[,.' ](?=\d{3}\b)", "", text.strip())
    return int(plain) if re.fullmatch("[0-9]+", plain) else _WORDS.get(normal(text))


class Day(NamedTuple):
    """What a date says, as far as it is known: its day is one of `days`, its month one of `months`."""

    days: frozenset[int]
    months: frozenset[int]


def day_of(text: str) -> Day | None:
    """What a text says that is a date; None of any other text. A weekday has neither number nor month."""
    if iso := _ISO.match(text.strip().casefold()):
        return Day(frozenset({int(iso[3])}), frozenset({int(iso[2])}))
    if short := _SHORT.match(text.strip()):
        either = frozenset({int(short[1]), int(short[2])})
        return Day(either, either)
    if months := months_in(text):
        return Day(numbers_in(re.sub(r"\b\d{4}\b|\d+\s*月", "", text)), months)
    is_weekday = not _DAYS.isdisjoint(normal(text).split())
    return Day(frozenset(), frozenset()) if is_weekday else None


def months_in(text: str) -> frozenset[int]:
    """The months that a text names: `aug`, `März`, `8月`."""
    words = [word for word in normal(text).split() if len(word) > 2]
    found = {_MONTH[word] for word in words if word in _MONTH} | {_SHORT_MONTH[w] for w in words if w in _SHORT_MONTH}
    return frozenset(found | {int(digits) for digits in re.findall(r"(\d{1,2})\s*月", text)})


def says_day(text: str, day: Day) -> bool:
    """Whether a text says this date, or one of which it can be worked out."""
    named = months_in(text)
    same_month = not named or not day.months or bool(named & day.months)
    return is_relative(text) or (same_month and bool(day.days & numbers_in(text)))


def counts_in(text: str) -> frozenset[int]:
    """The numbers that a text says and that belong to no date."""
    months = "|".join(sorted({*_MONTH, *_SHORT_MONTH}, key=len, reverse=True))
    ordinal, date = r"\b\d+(?:st|nd|rd|th)\b", rf"\b(?:{months}) \d+\b|\b\d+ (?:{months})\b"
    return numbers_in(re.sub(rf"{ordinal}|{date}|\d+[月日]|\d+ (?:{months})", " ", normal(text)))


def is_time(text: str) -> bool:
    return bool(_CLOCK.match(text.strip().casefold()))


def is_relative(text: str) -> bool:
    """Whether a text says a day that has to be worked out: `tomorrow`, `for three days`, `来週`."""
    return not _RELATIVES.isdisjoint(normal(text).split()) or bool(_RELATIVE_SIGNS.search(text))


def scripts(text: str) -> frozenset[str]:
    """What the letters of a text are: `LATIN`, `CJK`, `CYRILLIC`, ..."""
    return frozenset(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())
