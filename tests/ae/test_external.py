from __future__ import annotations

import pytest

from ae import external
from ae.external import External
from ae.figure import Series
from ae.load.launch import null_server
from ae.options import external as series
from systems.core.errors import PrerequisiteError, UsageError
from tests.core.http.under_test import serving


def test_every_server_has_a_look_of_its_own() -> None:
    from ae import catalog

    for (figure,) in (catalog.select(["fastserve/figure14"]), catalog.select(["fastserve/figure18"])):
        servers = [External(series(f"s{i}=http://127.0.0.1:{i}"), "") for i in range(1, 3)]
        looks = [(one.color, one.marker) for one in external.extended(figure, servers).series]
        assert len(looks) == len(figure.series) + 2
        assert len(set(looks)) == len(looks)


def test_its_label_says_that_the_panels_settings_are_not_its() -> None:
    one = series("mine=http://127.0.0.1:8000/v1/")
    assert one == Series("mine", "mine (own settings)", "http://127.0.0.1:8000")
    with pytest.raises(UsageError, match="NAME=http"):
        series("http://127.0.0.1:8000")


def test_what_it_serves_does_not_change_from_call_to_call() -> None:
    with serving() as server:
        (first,) = external.asked([series(f"mine={server.url}")])
        assert first == external.asked([series(f"mine={server.url}/v1")])[0]
        assert "synthetic" in first.models
    with null_server() as url:
        assert external.served_models(url) != first.models
    with pytest.raises(PrerequisiteError, match="does not answer"):
        external.served_models(url)
