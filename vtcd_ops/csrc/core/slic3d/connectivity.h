// SPDX-License-Identifier: MIT
// Supervoxels made connected: the last step of SLIC.
#pragma once

#include <cstdint>

#include "core/interpolation.h"

namespace vtcd {

// Relabels the 6-connected fragments of a labelling, bit for bit as scikit-image does.
//
// Fragments are numbered in the order of their first voxel. One of fewer than `min_size` voxels
// takes the label of the last labelled neighbour that a breadth-first search from its first voxel
// meets; a search stops at `max_size` voxels, and what is left becomes fragments of its own.
//
//   labels      [T, H, W], in: any labels >= 0, out: labels from 0
void enforce_connectivity(Shape3 size, int64_t min_size, int64_t max_size, int32_t* labels);

}  // namespace vtcd
