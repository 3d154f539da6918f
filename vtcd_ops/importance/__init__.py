"""How much every concept matters: rankings and attribution curves."""

from vtcd_ops.discovery.run_results import register_readers
from vtcd_ops.importance.curves import read_curves
from vtcd_ops.importance.store import read_importance, stored_names

register_readers(importance=read_importance, importances=stored_names, curves=read_curves)
