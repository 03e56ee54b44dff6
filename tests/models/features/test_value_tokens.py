"""Tokens of categories, tags, phone numbers and web addresses."""

import pytest

from tests.models.features.tokens_of_values import tokens_of

# Categories and tags.


def test_a_category_has_a_token_for_each_whole_value() -> None:
    assert len(tokens_of(category="New York")) == 1
    assert tokens_of(category="DE;fr") == tokens_of(category="de") | tokens_of(category="FR")
    assert tokens_of(category=["DE", "FR"]) == tokens_of(category="DE;FR")


@pytest.mark.parametrize(
    "variant", ["new york", " New  York ", "NEW\tYORK", ";New York;;", "; ;new york"]
)
def test_case_and_outer_spaces_of_a_category_do_not_change_tokens(variant: str) -> None:
    assert tokens_of(category=variant) == tokens_of(category="New York")


def test_spaces_within_a_category_change_tokens() -> None:
    assert tokens_of(category="newyork") != tokens_of(category="new york")


def test_a_tag_has_a_token_for_the_key_and_a_token_for_the_whole_tag() -> None:
    pizza, pasta = tokens_of(tags={"cuisine": "pizza"}), tokens_of(tags={"cuisine": "pasta"})
    assert len(pizza) == len(pasta) == 2
    assert len(pizza & pasta) == 1
    assert not pizza & tokens_of(tags={"shop": "pizza"})


def test_several_values_of_a_tag_are_several_tags() -> None:
    both = tokens_of(tags={"cuisine": "pizza; pasta"})
    assert both == tokens_of(tags={"cuisine": "pizza"}) | tokens_of(tags={"cuisine": "pasta"})


def test_the_order_of_tags_does_not_change_tokens() -> None:
    assert tokens_of(tags={"a": "1", "b": "2"}) == tokens_of(tags={"b": "2", "a": "1"})
    assert tokens_of(tags={"a": "1", "b": "2"}) == tokens_of(tags='{"B": 2, "A": 1}')


# Phone numbers.

PHONE = "+1 212 366-1182"


@pytest.mark.parametrize("digits", ["12", "1212", "12123", "121236", "1212366", "12123661"])
def test_phone_numbers_with_the_same_beginning_share_prefixes(digits: str) -> None:
    shared = tokens_of(phone=PHONE) & tokens_of(phone=digits)
    assert len(shared) == len(tokens_of(phone=digits)) - 1


def test_a_phone_number_has_six_prefixes_and_a_token_for_all_digits() -> None:
    assert len(tokens_of(phone=PHONE)) == 7
    assert len(tokens_of(phone="1")) == 1


def test_a_whole_number_differs_from_a_prefix() -> None:
    assert len(tokens_of(phone="12") & tokens_of(phone="123")) == 1
    assert len(tokens_of(phone="12")) == 2


@pytest.mark.parametrize(
    "variant", ["12123661182", "(1) 212.366.1182", "\uff0b\uff11 212 366 1182"]
)
def test_only_digits_of_a_phone_number_change_tokens(variant: str) -> None:
    assert tokens_of(phone=variant) == tokens_of(phone=PHONE)


def test_each_of_several_phone_numbers_has_tokens() -> None:
    both = tokens_of(phone=[PHONE, "030 12345"])
    assert both == tokens_of(phone=PHONE) | tokens_of(phone="03012345")
    assert both == tokens_of(phone=f"{PHONE}; 030/12345")


@pytest.mark.parametrize("text", ["", ";", "call us", "+"])
def test_a_phone_number_without_digits_has_no_tokens(text: str) -> None:
    assert not tokens_of(phone=text)


# Web addresses.

DOMAIN = "joespizza.example"


@pytest.mark.parametrize(
    "address",
    [
        f"https://{DOMAIN}",
        f"http://{DOMAIN}/",
        f"https://www.{DOMAIN}",
        f"www.{DOMAIN}/menu?x=1#top",
        f"HTTPS://WWW.{DOMAIN.upper()}:8080/Menu",
        f"{DOMAIN}:443",
        f"{DOMAIN} (closed)",
        f"{DOMAIN};",
        f"; https://{DOMAIN}",
        f"https://www.{DOMAIN};{DOMAIN}",
    ],
)
def test_only_the_domain_of_a_web_address_changes_tokens(address: str) -> None:
    assert tokens_of(web=address) == tokens_of(web=DOMAIN)


@pytest.mark.parametrize("address", [f"{DOMAIN}?x=1", f"https://{DOMAIN}#top"])
def test_a_domain_ends_where_a_query_begins(address: str) -> None:
    assert tokens_of(web=address) == tokens_of(web=DOMAIN)


@pytest.mark.parametrize("address", [f" {DOMAIN}", f" www.{DOMAIN}", f"{DOMAIN}; {DOMAIN}.a"])
def test_spaces_before_an_address_do_not_change_tokens(address: str) -> None:
    assert tokens_of(web=address) == tokens_of(web=address.replace(" ", ""))


def test_domains_of_one_country_share_their_last_part() -> None:
    assert len(tokens_of(web="a.example") & tokens_of(web="b.example")) == 1
    assert not tokens_of(web="a.example") & tokens_of(web="b.test")


def test_similar_domains_share_character_n_grams() -> None:
    shared = tokens_of(web="joespizza.example") & tokens_of(web="joespizzas.test")
    assert len(shared) > 5


def test_each_of_several_addresses_has_tokens() -> None:
    both = tokens_of(web="https://a.example/x;www.b.test")
    assert both == tokens_of(web="a.example") | tokens_of(web="b.test")
    assert tokens_of(web=["a.example", "b.test"]) == both


@pytest.mark.parametrize("address", ["", ";", "https://", "http:///path", "/path", ";;;"])
def test_an_address_without_a_domain_has_no_tokens(address: str) -> None:
    assert not tokens_of(web=address)


@pytest.mark.parametrize("address", ["www.", "www.a", ".", "..", "a.", ".a", "localhost", "www"])
def test_the_shortest_addresses_have_tokens(address: str) -> None:
    assert tokens_of(web=address)
