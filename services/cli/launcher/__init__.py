"""The launcher: starts the mesh's processes, watches them, restarts them, stops them in order.

supervisor  starts all others, in the order of what they need; restarts what dies; drains and stops everything
guardian    restarts the supervisor; the supervisor restarts it
others      die with the supervisor, at once, whatever kills it
"""
