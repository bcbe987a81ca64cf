"""What works less well than it could, as a mesh is configured: told once it is ready, and no error."""

from __future__ import annotations

from pydantic import ValidationError

NO_MODEL = (
    "No language model is configured: answers are quotes from documents. Set GROQ_API_KEY in .env, then `malla restart query`."
)


def notices() -> list[str]:
    """Returns what to tell of this environment, a line each; empty where nothing is to be told."""
    from common.llm import LlmSettings  # only who has started a mesh waits for it

    try:
        settings = LlmSettings()
    except ValidationError:
        return []  # the query server, whose settings these are, says which is wrong
    openai = settings.openai_model and (settings.openai_api_key or settings.openai_base_url)
    has_model = settings.groq_api_key or openai or settings.ollama_model
    return [] if has_model else [NO_MODEL]
