from __future__ import annotations

import pytest

from gpunb.offers.regions import GROUPS, codes_of, country_of, region_test


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("Sweden, SE", "SE"),
        ("California, US", "US"),
        (", US", "US"),
        ("Quebec, CA", "CA"),
        ("US", "US"),
        ("us", "US"),
        ("USA", "US"),
        ("dulles-usa-1", "US"),
        ("kansascity-usa-1", "US"),
        ("us-central-3", "US"),
        ("helsinki-finland-2", "FI"),
        ("The Netherlands, NL", "NL"),
        ("South Korea, KR", "KR"),
        ("UK", "GB"),
        ("norway-no-1", "NO"),
        ("in-mumbai", "IN"),
        ("eu-west-1", ""),
        ("sa-east-1", ""),
        ("me-west-1", ""),
        ("", ""),
        (", ", ""),
        ("moon base", ""),
        ("united kingdom", "GB"),
        ("new zealand south", "NZ"),
    ],
)
def test_countries_in_the_clouds_spellings(region, code):
    assert country_of(region) == code


@pytest.mark.parametrize(
    ("text", "country", "region", "fits"),
    [
        ("EU", "SE", "Sweden, SE", True),
        ("EU", "GB", "UK", False),
        ("europe", "GB", "UK", True),
        ("EU", "", "eu-west-1", True),
        ("EU", "", "neutral", False),
        ("US", "US", "dulles-usa-1", True),
        ("Germany", "DE", "", True),
        ("germany", "AT", "", False),
        ("dulles", "US", "dulles-usa-1", True),
        ("north america", "CA", "", True),
        ("Asia", "JP", "", True),
        ("US", "", "us west", False),
    ],
)
def test_what_a_user_asks_for(text, country, region, fits):
    assert region_test(text)(country, region) is fits


def test_groups_are_codes():
    assert all(len(code) == 2 and code.isupper() for codes in GROUPS.values() for code in codes)
    assert len(GROUPS["EU"]) == 27
    assert codes_of("dulles") == frozenset()
    assert codes_of("usa") == {"US"}
