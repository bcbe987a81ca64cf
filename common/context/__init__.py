"""Who a call is made for, and the decorator that hands it to a handler."""

from common.context._context import Context, Tier, current_context, use_context
from common.context._decorator import with_context
from common.context._scopes import header_of, scopes_of

__all__ = ["Context", "Tier", "current_context", "header_of", "scopes_of", "use_context", "with_context"]
