"""What the examples say: a call centre that sells internet lines. Values only; names, types and rules are the contract's.

Every value is read as the message it stands for when the document is made, so that one which no longer fits is found at once.
"""

from __future__ import annotations

from typing import Any

Value = dict[str, Any]

_WHEN = "2026-11-22T09:30:00Z"
_QUESTION = "¿Cuánto cuesta el plan de 200 megas?"
_PASSAGE = "El plan de 200 megas cuesta 399 pesos al mes, con módem incluido."
_ANSWER = "El plan de 200 megas cuesta 399 pesos al mes [1]."
_REQUEST = {"request_id": "5f0c2f6e-3c1f-4a7e-9f5e-0a4b8c1d2e3f"}

_VISITOR = {
    "visitor_id": "cliente-4711",
    "name": "Lucía Ramírez",
    "phone": "+52 55 1234 5678",
    "metadata": {"plan": "100 megas"},
}
_HANDOFF = {"on_request": True, "min_score": 0.75, "max_failures": 2}
_INSTRUCTIONS = "Responde con amabilidad y solo con lo que dicen los documentos."
_NEW_AGENT = {
    "id_agente": 1,
    "name": "Asistente de Nopal Fibra",
    "instructions": _INSTRUCTIONS,
    "language": "es",
    "collections": ["nopal-fibra"],
    "k": 4,
    "temperature": 0.5,
    "handoff": _HANDOFF,
}
_AGENT = {**_NEW_AGENT, "created_at": _WHEN, "updated_at": _WHEN}
_CITATION = {
    "index": 1,
    "document_id": "planes-y-precios",
    "chunk_id": "planes-y-precios:1:0",
    "title": "Planes y precios",
    "text": _PASSAGE,
    "score": 0.5,
}
_STAGES = [
    {
        "stage": "query_embedding",
        "input_tokens": 12,
        "total_tokens": 12,
        "provider": "embedded",
        "model": "multilingual-e5-small",
    },
    {
        "stage": "answer",
        "input_tokens": 410,
        "output_tokens": 18,
        "total_tokens": 428,
        "provider": "groq",
        "model": "llama-3.1-8b-instant",
    },
]
_USAGE = {
    "input_tokens": 422,
    "output_tokens": 18,
    "total_tokens": 440,
    "provider": "groq",
    "model": "llama-3.1-8b-instant",
    "stages": _STAGES,
}
_ANSWERED = {
    "success": True,
    "message": "OK",
    "answer": _ANSWER,
    "citations": [_CITATION],
    "usage": _USAGE,
    "model": "llama-3.1-8b-instant",
    "metadata": _REQUEST,
}
_TURNS = [
    {"message_id": "turn-1", "role": "USER", "text": _QUESTION, "state": "COMPLETE", "created_at": _WHEN},
    {
        "message_id": "turn-2",
        "role": "ASSISTANT",
        "text": _ANSWER,
        "state": "COMPLETE",
        "citations": [_CITATION],
        "usage": _USAGE,
        "model": "llama-3.1-8b-instant",
        "finish_reason": "stop",
        "latency_ms": 640,
        "created_at": _WHEN,
    },
]
_CONVERSATION = {
    "session_id": "user-123",
    "id_agente": 1,
    "origin": "web",
    "visitor": _VISITOR,
    "turn_count": 2,
    "created_at": _WHEN,
    "updated_at": _WHEN,
}
_HANDED_OFF = {**_CONVERSATION, "handed_off": True, "handoff_reason": "pide hablar con una persona"}
_COLLECTION = {
    "collection_id": "nopal-fibra",
    "language": "es",
    "description": "Manual de atención a clientes",
    "seq": "12",
    "created_at": _WHEN,
}
_METADATA = {"title": "Planes y precios", "source": "https://nopal.example/planes", "tags": ["ventas"], "language": "es"}
_DOCUMENT = {
    "document_id": "planes-y-precios",
    "collection_id": "nopal-fibra",
    "filename": "planes-y-precios.md",
    "metadata": {**_METADATA, "content_type": "text/markdown"},
    "state": "READY",
    "version": 1,
    "chunks": 3,
    "bytes": 2048,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "job_id": "job-4711",
    "created_at": _WHEN,
    "updated_at": _WHEN,
}
_JOB = {
    "job_id": "job-4711",
    "document_id": "planes-y-precios",
    "collection_id": "nopal-fibra",
    "version": 1,
    "attempts": 1,
    "created_at": _WHEN,
    "updated_at": _WHEN,
}
_RUNNING = {**_JOB, "state": "RUNNING", "stage": "EMBED", "chunks_done": 1, "chunks_total": 3}
_SUCCEEDED = {**_JOB, "state": "SUCCEEDED", "stage": "PUBLISH", "chunks_done": 3, "chunks_total": 3, "seq": "12"}
_TOTALS = {"input_tokens": 42200, "output_tokens": 1800, "total_tokens": 44000, "cost": 0.0023, "records": 200}
_BUDGET = {
    "token_type": "llm",
    "period": "day",
    "limit": 200000,
    "used": 44000,
    "reserved": 2000,
    "remaining": 154000,
    "resets_at": "2026-11-23T00:00:00Z",
}
_RECORD = {
    "idempotency_key": "5f0c2f6e-3c1f-4a7e-9f5e-0a4b8c1d2e3f:answer",
    "token_type": "llm",
    "operation": "query",
    "stage": "answer",
    "provider": "groq",
    "model": "llama-3.1-8b-instant",
    "input_tokens": 410,
    "output_tokens": 18,
    "total_tokens": 428,
    "cost": 0.00002,
    "session_id": "user-123",
    "agent_id": "1",
    "request_id": "5f0c2f6e-3c1f-4a7e-9f5e-0a4b8c1d2e3f",
    "created_at": _WHEN,
}
_EVENTS: list[Value] = [
    {"sequence": 1, "retrieval": {"citations": [_CITATION]}},
    {"sequence": 2, "delta": {"text": "El plan de 200 megas cuesta "}},
    {"sequence": 3, "delta": {"text": "399 pesos al mes [1]."}},
    {"sequence": 4, "usage": _USAGE},
    {
        "sequence": 5,
        "done": {
            "message_id": "turn-2",
            "answer": _ANSWER,
            "finish_reason": "stop",
            "model": "llama-3.1-8b-instant",
            "citations": [_CITATION],
            "usage": _USAGE,
        },
    },
]
_CHAT: dict[str, Value] = {
    "pregunta": {"id_agente": 1, "mensaje": _QUESTION, "session_id": "user-123", "origin": "web"},
    "todo": {
        "id_agente": 1,
        "mensaje": "¿Y con teléfono incluido?",
        "session_id": "user-123",
        "origin": "whatsapp",
        "model": "llama-3.1-8b-instant",
        "temperature": 0.5,
        "max_tokens": 500,
        "k": 4,
        "visitor": _VISITOR,
        "request_id": "mensaje-0001",
    },
}
_ASK: dict[str, Value] = {
    "pregunta": {"collection_id": "nopal-fibra", "query": _QUESTION},
    "todo": {
        "collection_id": "nopal-fibra",
        "query": _QUESTION,
        "k": 4,
        "filter": {"tags": "ventas"},
        "mode": "HYBRID",
        "temperature": 0.5,
        "max_tokens": 500,
        "request_id": "pregunta-0001",
    },
}

REQUESTS: dict[str, dict[str, Value]] = {
    "AgentService.CreateAgent": {"agente": {"agent": _NEW_AGENT}},
    "AgentService.UpdateAgent": {"nombre": {"agent": {"name": "Asistente de ventas"}}},
    "ChatService.Chat": _CHAT,
    "ChatService.StreamChat": _CHAT,
    "ConversationService.AddTurn": {"respuesta": {"mensaje": "Buenas tardes, soy Marta. ¿En qué le ayudo?", "author": "Marta"}},
    "ConversationService.HandOff": {"motivo": {"reason": "pide hablar con una persona"}},
    "EmbeddingService.Embed": {
        "pregunta": {"texts": [_QUESTION], "kind": "QUERY"},
        "pasajes": {"texts": [_PASSAGE, "La instalación tarda dos días hábiles."], "kind": "PASSAGE"},
    },
    "IngestionService.CreateCollection": {
        "colección": {"collection_id": "nopal-fibra", "language": "es", "description": "Manual de atención a clientes"}
    },
    "IngestionService.UpdateCollection": {"descripción": {"collection": {"description": "Manual de ventas"}}},
    "IngestionService.CreateDocument": {
        "texto": {"text": f"# Planes y precios\n\n{_PASSAGE}"},
        "todo": {
            "text": f"# Planes y precios\n\n{_PASSAGE}",
            "document_id": "planes-y-precios",
            "metadata": {**_METADATA, "metadata": {"year": 2026}},
            "request_id": "documento-0001",
        },
    },
    "QueryService.Query": _ASK,
    "QueryService.StreamQuery": _ASK,
    "QueryService.Search": {
        "pregunta": {"collection_id": "nopal-fibra", "query": _QUESTION},
        "filtro": {
            "collection_id": "nopal-fibra",
            "query": _QUESTION,
            "k": 3,
            "mode": "HYBRID",
            "filter": {"language": {"in": ["es", "en"]}, "year": {"gte": 2024}},
            "explain": True,
        },
    },
}
"""Bodies by method, each with its name; whole requests, less what the path says."""

RESPONSES: dict[str, Value] = {
    "AgentService.CreateAgent": {"success": True, "message": "agent created", "agent": _AGENT, "metadata": _REQUEST},
    "AgentService.GetAgent": {"success": True, "message": "OK", "agent": _AGENT, "metadata": _REQUEST},
    "AgentService.UpdateAgent": {"success": True, "message": "agent updated", "agent": _AGENT, "metadata": _REQUEST},
    "AgentService.DeleteAgent": {"success": True, "message": "agent deleted", "metadata": _REQUEST},
    "AgentService.ListAgents": {"success": True, "message": "OK", "agents": [_AGENT], "metadata": _REQUEST},
    "ChatService.Chat": {**_ANSWERED, "session_id": "user-123", "message_id": "turn-2", "finish_reason": "stop"},
    "ChatService.TestConnection": {
        "success": True,
        "message": "the model answers",
        "provider": "groq",
        "model": "llama-3.1-8b-instant",
        "latency_ms": 180.5,
        "metadata": _REQUEST,
    },
    "ChatService.ListModels": {
        "success": True,
        "message": "OK",
        "models": [
            {
                "id": "llama-3.1-8b-instant",
                "owned_by": "Meta",
                "context_window": 131072,
                "max_output_tokens": 131072,
                "active": True,
            },
            {"id": "llama3-70b-8192", "owned_by": "Meta", "context_window": 8192, "replaced_by": "llama-3.3-70b-versatile"},
        ],
        "metadata": _REQUEST,
    },
    "ChatService.VerifyApiKey": {
        "success": True,
        "message": "Groq accepts the key.",
        "valid": True,
        "provider": "groq",
        "metadata": {**_REQUEST, "present": True, "well_formed": True, "accepted": True},
    },
    "ConversationService.AddTurn": {
        "success": True,
        "message": "turn stored",
        "turn": {
            "message_id": "turn-3",
            "role": "HUMAN",
            "text": "Buenas tardes, soy Marta. ¿En qué le ayudo?",
            "state": "COMPLETE",
            "author": "Marta",
            "created_at": _WHEN,
        },
        "metadata": _REQUEST,
    },
    "ConversationService.GetConversation": {
        "success": True,
        "message": "OK",
        "conversation": {**_CONVERSATION, "turns": _TURNS},
        "metadata": _REQUEST,
    },
    "ConversationService.HandOff": {
        "success": True,
        "message": "a human has the conversation",
        "conversation": _HANDED_OFF,
        "metadata": _REQUEST,
    },
    "ConversationService.HandBack": {
        "success": True,
        "message": "the bot has the conversation",
        "conversation": _CONVERSATION,
        "metadata": _REQUEST,
    },
    "ConversationService.ListConversations": {
        "success": True,
        "message": "OK",
        "conversations": [_CONVERSATION],
        "metadata": _REQUEST,
    },
    "EmbeddingService.Embed": {
        "success": True,
        "message": "OK",
        "embeddings": [{"values": [0.5, -0.25, 0.125]}],
        "dimensions": 384,
        "model": "multilingual-e5-small",
        "usage": {"input_tokens": 12, "total_tokens": 12, "provider": "embedded", "model": "multilingual-e5-small"},
        "metadata": _REQUEST,
    },
    "IngestionService.CreateCollection": {
        "success": True,
        "message": "collection created",
        "collection": {**_COLLECTION, "seq": "0"},
        "metadata": _REQUEST,
    },
    "IngestionService.GetCollection": {"success": True, "message": "OK", "collection": _COLLECTION, "metadata": _REQUEST},
    "IngestionService.ListCollections": {"success": True, "message": "OK", "collections": [_COLLECTION], "metadata": _REQUEST},
    "IngestionService.CreateDocument": {
        "success": True,
        "message": "document stored; it is searchable when its job has succeeded",
        "document": {**_DOCUMENT, "filename": "", "state": "PENDING", "version": 0, "chunks": 0},
        "job_id": "job-4711",
        "metadata": {**_REQUEST, "duplicate": False},
    },
    "IngestionService.UploadDocument": {
        "success": True,
        "message": "document stored; it is searchable when its job has succeeded",
        "document": {**_DOCUMENT, "state": "PENDING", "version": 0, "chunks": 0},
        "job_id": "job-4711",
        "metadata": {**_REQUEST, "duplicate": False},
    },
    "IngestionService.GetDocument": {"success": True, "message": "OK", "document": _DOCUMENT, "metadata": _REQUEST},
    "IngestionService.ListDocuments": {"success": True, "message": "OK", "documents": [_DOCUMENT], "metadata": _REQUEST},
    "IngestionService.DeleteDocument": {"success": True, "message": "document deleted", "seq": "13", "metadata": _REQUEST},
    "IngestionService.GetJob": {"success": True, "message": "OK", "job": _SUCCEEDED, "metadata": _REQUEST},
    "IngestionService.ListJobs": {"success": True, "message": "OK", "jobs": [_SUCCEEDED], "metadata": _REQUEST},
    "QueryService.Query": _ANSWERED,
    "QueryService.Search": {
        "success": True,
        "message": "OK",
        "results": [
            {
                "chunk_id": "planes-y-precios:1:0",
                "document_id": "planes-y-precios",
                "text": _PASSAGE,
                "score": 0.5,
                "metadata": {"title": "Planes y precios", "tags": ["ventas"]},
                "start_offset": 20,
                "end_offset": 85,
                "chunk_ids": ["planes-y-precios:1:0"],
            }
        ],
        "seq": "12",
        "usage": {"input_tokens": 12, "total_tokens": 12, "provider": "embedded", "model": "multilingual-e5-small"},
        "metadata": _REQUEST,
    },
    "UsageService.GetUsage": {
        "success": True,
        "message": "OK",
        "totals": _TOTALS,
        "groups": [{"key": "2026-11-22", "day": "2026-11-22", **_TOTALS}],
        "budget": _BUDGET,
        "budgets": [_BUDGET],
        "tier": "pro",
        "metadata": _REQUEST,
    },
    "UsageService.ListUsageRecords": {"success": True, "message": "OK", "records": [_RECORD], "metadata": _REQUEST},
}
"""Answers by method; what a default value says is added, as the edge prints it too."""

EVENTS: dict[str, list[Value]] = {
    "ChatService.StreamChat": _EVENTS,
    "QueryService.StreamQuery": _EVENTS,
    "IngestionService.WatchJob": [
        {"success": True, "message": "OK", "job": _RUNNING, "metadata": _REQUEST},
        {"success": True, "message": "OK", "job": _SUCCEEDED, "metadata": _REQUEST},
    ],
}
"""The events of streams by method."""

FIELDS: dict[str, Any] = {
    "collection_id": "nopal-fibra",
    "document_id": "planes-y-precios",
    "filename": "planes-y-precios.md",
    "id_agente": 1,
    "job_id": "job-4711",
    "mensaje": _QUESTION,
    "model": "multilingual-e5-small",
    "name": "Asistente de Nopal Fibra",
    "query": _QUESTION,
    "session_id": "user-123",
    "text": _PASSAGE,
    "texts": [_QUESTION],
}
"""Fields by name: of paths, and of bodies that are not above."""

UPLOAD = f"# Planes y precios\n\n{_PASSAGE}\n"
"""A file."""
