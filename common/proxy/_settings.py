"""What the edge grants whoever brings no valid token."""

from __future__ import annotations

from pydantic import Field

from common.settings import Settings


class EdgeSettings(Settings):
    """The edge's own limits; those of tenants are their tiers'."""

    anonymous_requests_per_minute: int = Field(
        default=1200,
        ge=0,
        description=(
            "Requests a minute without a valid token, pages and refusals among them, that one client address may make; "
            "0 for no limit. Behind a load balancer all callers have its address."
        ),
    )
