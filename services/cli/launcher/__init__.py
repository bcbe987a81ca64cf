"""The launcher: starts the mesh's processes, watches them, restarts them, stops them in order.

supervisor  starts all others, in the order of what they need; restarts what dies; drains and stops everything
guardian    brings a killed supervisor back, which takes on all that runs; the supervisor restarts the guardian
others      go on while one of the two lives, and die with the last of them, at once, whatever kills it
"""
