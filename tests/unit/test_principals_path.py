"""A principal's name may have slashes (SPIFFE ids, `namespace/account`); its page is reached all the same."""

from __future__ import annotations

import pytest
from starlette.routing import Match

from query_api.routers.principals import router


@pytest.mark.parametrize("name", ["ana@example.com", "spiffe://example.org/ns/shop/sa/orders", "shop/orders"])
def test_a_principal_is_found_by_its_name(name: str) -> None:
    scope = {"type": "http", "method": "GET", "path": f"/api/v1/principals/{name}"}
    found = [s["path_params"] for route in router.routes for match, s in [route.matches(scope)] if match is Match.FULL]
    assert found == [{"principal": name}]
