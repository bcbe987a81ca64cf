"""Whose tokens the edge takes beside the mesh's own: an OpenID Connect provider's."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from common.errors import InvalidArgumentError
from common.models import BaseModel
from common.settings import Settings


class TokenIssuer(BaseModel):
    """One issuer: its name, where its public keys are, and what it calls the claims we need.

    Attributes:
        issuer: `iss` of its tokens.
        audience: `aud` of its tokens.
        jwks: Where its keys are: an http or https URI, or a file.
        tenant_claim: The claim that names the tenant; "a.b" for a claim inside another.
        tier_claim: The claim that names the tier; a token without it is of the lowest.
        scope_claim: The claim that names the scopes, as words or as a list.
        ca_path: Certificates that vouch for an https URI, as the proxy sees them.
    """

    issuer: str
    audience: str
    jwks: str
    tenant_claim: str = "tenant"
    tier_claim: str = "tier"
    scope_claim: str = "scope"
    ca_path: Path = Path("/etc/ssl/certs/ca-certificates.crt")

    @property
    def is_remote(self) -> bool:
        """Whether the keys are fetched, now and again."""
        return urlsplit(self.jwks).scheme in {"http", "https"}

    @property
    def is_tls(self) -> bool:
        """Whether they are fetched over TLS."""
        return urlsplit(self.jwks).scheme == "https"

    @property
    def host(self) -> str:
        """Where they are fetched from."""
        return urlsplit(self.jwks).hostname or ""

    @property
    def port(self) -> int:
        """The port there."""
        return urlsplit(self.jwks).port or (443 if self.is_tls else 80)


class IssuerSettings(Settings):
    """Settings of the other issuer."""

    oidc_issuer: str = Field(
        default="", description="`iss` of the tokens of an OpenID Connect provider that the edge takes, too; empty for none."
    )
    oidc_audience: str = Field(default="malla", description="`aud` of its tokens.")
    oidc_jwks: str = Field(default="", description="Where its public keys are: an https URI, or a file.")
    oidc_tenant_claim: str = Field(default="tenant", description="Claim that names the tenant; a.b for one inside another.")
    oidc_tier_claim: str = Field(default="tier", description="Claim that names the tier; tokens without it are of tier free.")
    oidc_scope_claim: str = Field(default="scope", description="Claim that names the scopes, as words or as a list.")

    def other_issuer(self) -> TokenIssuer | None:
        """Returns the other issuer, or None where there is none. Raises InvalidArgumentError without its keys."""
        if not self.oidc_issuer:
            return None
        if not self.oidc_jwks:
            raise InvalidArgumentError([("MALLA_OIDC_JWKS", "say where the public keys of MALLA_OIDC_ISSUER are")])
        return TokenIssuer(
            issuer=self.oidc_issuer,
            audience=self.oidc_audience,
            jwks=self.oidc_jwks,
            tenant_claim=self.oidc_tenant_claim,
            tier_claim=self.oidc_tier_claim,
            scope_claim=self.oidc_scope_claim,
        )
