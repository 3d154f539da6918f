"""TCOW, a tracker of objects through containers and occluders, for vtcd_ops."""

from vtcd_tcow.adapter import TCOWAdapter
from vtcd_tcow.config import TCOWConfig
from vtcd_tcow.model import TCOW

__all__ = ["TCOW", "TCOWAdapter", "TCOWConfig"]
