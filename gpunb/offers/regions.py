"""Regions of machines: country codes, groups of countries, and the clouds' spellings.

Clouds write "Sweden, SE", "dulles-usa-1", "US" or "eu-west"; users ask for EU,
US, Germany or a piece of the cloud's own name.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GROUPS", "codes", "codes_of", "country_of", "region_test"]

_EU = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE"
_EUROPE = f"{_EU} AL AD BY BA IS LI MD MC ME MK NO RS RU SM CH UA GB VA XK"
_MIDDLE_EAST = "AE SA QA KW BH OM IL JO TR IQ"
_ASIA = f"{_MIDDLE_EAST} CN HK TW JP KR SG IN ID MY TH VN PH PK BD KZ UZ GE AM AZ MN LK NP KH LA MM MO"
_NAMES = """
AE United Arab Emirates, UAE, ARE; AR Argentina, ARG; AM Armenia, ARM; AT Austria, AUT; AU Australia, AUS;
AZ Azerbaijan; BE Belgium, BEL; BG Bulgaria, BGR; BR Brazil, BRA; CA Canada, CAN; CH Switzerland, CHE;
CL Chile, CHL; CN China, CHN; CO Colombia, COL; CY Cyprus; CZ Czechia, CZE, Czech Republic;
DE Germany, DEU, GER; DK Denmark, DNK; EE Estonia, EST; EG Egypt; ES Spain, ESP; FI Finland, FIN;
FR France, FRA; GB United Kingdom, GBR, UK, England, Great Britain; GE Georgia; GR Greece, GRC;
HK Hong Kong, HKG; HR Croatia, HRV; HU Hungary, HUN; ID Indonesia, IDN; IE Ireland, IRL; IL Israel, ISR;
IN India, IND; IS Iceland, ISL; IT Italy, ITA; JP Japan, JPN; KR South Korea, KOR, Korea; KZ Kazakhstan;
LT Lithuania, LTU; LU Luxembourg, LUX; LV Latvia, LVA; MD Moldova; MX Mexico, MEX; MY Malaysia, MYS;
NL Netherlands, NLD, Holland; NO Norway, NOR; NZ New Zealand, NZL; PE Peru; PH Philippines; PK Pakistan;
PL Poland, POL; PT Portugal, PRT; QA Qatar; RO Romania, ROU; RS Serbia; RU Russia, RUS; SA Saudi Arabia;
SE Sweden, SWE; SG Singapore, SGP; SI Slovenia, SVN; SK Slovakia, SVK; TH Thailand; TR Turkey, TUR;
TW Taiwan, TWN; UA Ukraine, UKR; US United States, USA, United States of America, America; UY Uruguay;
VN Vietnam, VNM; ZA South Africa, ZAF
"""

GROUPS: dict[str, frozenset[str]] = {
    name: frozenset(codes.split())
    for name, codes in {
        "EU": _EU,
        "EUROPE": _EUROPE,
        "NA": "US CA MX",
        "SOUTH-AMERICA": "AR BR CL CO PE UY EC BO PY VE",
        "MIDDLE-EAST": _MIDDLE_EAST,
        "ASIA": _ASIA,
        "APAC": f"{_ASIA} AU NZ",
        "OCEANIA": "AU NZ",
        "AFRICA": "ZA EG NG KE MA TN GH",
    }.items()
}
_GROUP_WORDS = {
    "EUROPEAN-UNION": "EU",
    "NORTH-AMERICA": "NA",
    "NORTHAMERICA": "NA",
    "SOUTHAMERICA": "SOUTH-AMERICA",
    "LATAM": "SOUTH-AMERICA",
    "ASIA-PACIFIC": "APAC",
}
_SPLIT = re.compile(r"[^a-z]+")


def _names() -> dict[str, str]:
    result: dict[str, str] = {}
    for entry in _NAMES.split(";"):
        code, _, others = entry.strip().partition(" ")
        for name in (code, *others.split(",")):
            result[name.strip().lower()] = code
    for codes in GROUPS.values():
        for code in codes:
            result.setdefault(code.lower(), code)
    return result


_BY_NAME = _names()
# pieces of data centre names that are more often words or other codes than a country
_NOT_ALONE = frozenset(
    ["in", "is", "it", "no", "at", "be", "de", "la", "al", "my", "na", "id", "ad", "am", "me", "sa"]
)
_NEVER_FIRST = frozenset(("me", "sa"))  # "sa-east-1" is South America, "me-west-1" the Middle East


@lru_cache(maxsize=4096)
def country_of(region: str) -> str:
    """Return the ISO code that `region` names ("Sweden, SE", "dulles-usa-1"), or ""."""
    text = region.strip().lower()[:120]
    if text in _BY_NAME:
        return _BY_NAME[text]
    tail = text.rpartition(",")[2].strip()  # Vast writes "City, CC"
    if tail in _BY_NAME and "," in text:
        return _BY_NAME[tail]
    words = [word for word in _SPLIT.split(text) if word]
    for word in words:
        sure = len(word) > 2 or word not in _NOT_ALONE or (word == words[0] and word not in _NEVER_FIRST)
        if word in _BY_NAME and sure:
            return _BY_NAME[word]
    for first, second in itertools.pairwise(words):
        if f"{first} {second}" in _BY_NAME:
            return _BY_NAME[f"{first} {second}"]
    return ""


def _group(text: str) -> frozenset[str] | None:
    word = re.sub(r"[\s_]+", "-", text.strip().upper())
    return GROUPS.get(_GROUP_WORDS.get(word, word))


def codes() -> list[str]:
    """Return the countries' codes."""
    return [entry.split()[0] for entry in _NAMES.split(";")]


def codes_of(text: str) -> frozenset[str]:
    """Return the country codes that a user's `text` stands for; none if it is a piece of a name."""
    code = _BY_NAME.get(text.strip().lower())
    return _group(text) or (frozenset((code,)) if code else frozenset())


def region_test(text: str) -> Callable[[str, str], bool]:
    """Return a test of (country, region) for a user's `text`: a group, a country or a piece of a name."""
    piece = text.strip().lower()
    codes = codes_of(text)
    if codes and _group(text):
        # "eu-west-1" names its group but not its country
        return lambda country, region: country in codes if country else piece in _SPLIT.split(region.lower())
    if codes:
        return lambda country, _region: country in codes
    return lambda country, region: piece in region.lower() or piece == country.lower()
