"""The configured language models, as the call centre asks about them."""

from __future__ import annotations

import time

from common.context import Context
from common.llm import Generation, LlmRouter, Message, ModelInfo
from common.models import Model, TestConnectionResponse, VerifyApiKeyResponse


class RouterModels:
    """The models behind the router."""

    def __init__(self, router: LlmRouter) -> None:
        self._router = router

    async def test(self, ctx: Context) -> TestConnectionResponse:
        """Returns who answered one token and how fast; notes it in `ctx`. Raises the errors of common.llm.errors."""
        began = time.perf_counter()
        request = Generation(model="", messages=[Message("user", "ping")], temperature=0.0, max_tokens=1)
        answer = await self._router.complete(request)
        ctx.add_usage("connection_test", answer.usage)
        return TestConnectionResponse(
            success=True,
            message=answer.notice or "the model answers",
            provider=answer.usage.provider,
            model=answer.model,
            latency_ms=(time.perf_counter() - began) * 1000,
        )

    async def all(self) -> list[Model]:
        """Returns the models by identifier."""
        return sorted((_view(model) for model in await self._router.models()), key=lambda model: model.id)

    async def verify(self) -> VerifyApiKeyResponse:
        """Returns whether the configured key is accepted, what it lacks where it is not, and what to do then."""
        status = await self._router.verify_key()
        found = {"present": status.present, "well_formed": status.well_formed, "accepted": status.accepted}
        return VerifyApiKeyResponse(
            success=True, message=status.message, valid=status.valid, provider=status.provider, metadata=found
        )


def _view(model: ModelInfo) -> Model:
    return Model(
        id=model.id,
        owned_by=model.owned_by,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        active=model.active,
        replaced_by=model.replaced_by,
    )
