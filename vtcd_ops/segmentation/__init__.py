"""Objects of videos from concepts: what a mask of the first frame points at, in every frame."""

from vtcd_ops.segmentation.sam import sam_refiner

__all__ = ["sam_refiner"]
