"""Objects of videos from concepts: what a mask of the first frame points at, in every frame."""
