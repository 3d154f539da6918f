// SPDX-License-Identifier: MIT
// Supports as rows of bits, the ratio that a tuple of them has in a video, and its bounds.
#pragma once

#include <cstdint>
#include <limits>

#include "core/formulas/host_device.h"

namespace vtcd {

// Where the words of supports lie: for each video one row of words for each concept.
struct SupportRows {
  const uint64_t* words;  // the block of video v begins at num_concepts * videos[v]
  const int64_t* videos;  // [V + 1] a row of video v has videos[v + 1] - videos[v] words
  int64_t num_videos, num_concepts;

  VTCD_HOST_DEVICE int64_t num_words(int64_t video) const {
    return videos[video + 1] - videos[video];
  }
  VTCD_HOST_DEVICE const uint64_t* row(int64_t video, int64_t concept_index) const {
    return words + num_concepts * videos[video] + concept_index * num_words(video);
  }
};

// |intersection| / |union|, of which the union is not empty.
VTCD_HOST_DEVICE inline double overlap(int64_t common, int64_t any) {
  return static_cast<double>(common) / static_cast<double>(any);
}

// The same, or NaN where the union is empty.
VTCD_HOST_DEVICE inline double overlap_or_nan(int64_t common, int64_t any) {
  return any == 0 ? std::numeric_limits<double>::quiet_NaN() : overlap(common, any);
}

// The voxels of the smallest and of the largest support of a tuple in a video.
struct SizeRange {
  int64_t smallest, largest;

  VTCD_HOST_DEVICE void add(int64_t size) {
    if (size < smallest) smallest = size;
    if (size > largest) largest = size;
  }
};

// |intersection| <= smallest size and |union| >= largest size.
VTCD_HOST_DEVICE inline double overlap_bound(const SizeRange& range) {
  return range.largest == 0 ? 0.0 : overlap(range.smallest, range.largest);
}

// Bounds of scores are sums of rounded numbers, one a video: a tuple is dropped only where its
// bound is below what is needed by more than this, many times what rounding could do to the sum.
VTCD_HOST_DEVICE inline double bound_margin(int64_t num_videos) {
  const auto videos = static_cast<double>(num_videos);
  return 1e-9 + 1e-14 * videos * videos;
}

}  // namespace vtcd
