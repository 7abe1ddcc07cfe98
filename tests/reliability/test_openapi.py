"""The service keeps to its own OpenAPI document, whatever that document lets a caller send."""

from service_fixtures import Running

from bench.serving.openapi import converse

pytest_plugins = ("service_fixtures",)


def test_every_answer_to_drawn_requests_is_one_that_the_document_names(server: Running) -> None:
    found = converse(server.url, examples=25)
    assert found.is_clean, found.written
    assert found.num_requests >= 25
