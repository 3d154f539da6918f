"""How much every concept matters: rankings and attribution curves."""

from vtcd_ops.discovery.run import register_rankings
from vtcd_ops.importance import store

register_rankings(store)
