// SPDX-License-Identifier: MIT
#include "core/contour_match.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/formulas/contour_match.h"

namespace vtcd {
namespace {

constexpr int64_t kBits = 64;

// One bit a pixel, so that an operation works on 64 pixels: bit x of a row, counted through its
// words, is pixel x; bits past the width are 0.
struct BitMap {
  BitMap(int64_t rows, int64_t columns)
      : height(rows),
        width(columns),
        num_words((columns + kBits - 1) / kBits),
        words(static_cast<size_t>(rows * num_words)) {}

  uint64_t* row(int64_t y) { return words.data() + y * num_words; }
  const uint64_t* row(int64_t y) const { return words.data() + y * num_words; }
  // The pixels of the last word of a row.
  uint64_t last_pixels() const { return ~uint64_t{0} >> (num_words * kBits - width); }

  int64_t height, width, num_words;
  std::vector<uint64_t> words;
};

// Which of 8 bytes are not 0, as 8 bits.
inline uint64_t pack8(const uint8_t* bytes) {
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7f, kGather = 0x0102040810204080;
  uint64_t eight;
  std::memcpy(&eight, bytes, sizeof(eight));
  static_assert(std::endian::native == std::endian::little);
  const uint64_t ones = (((eight & kLow) + kLow) | eight) >> 7 & 0x0101010101010101;
  return ones * kGather >> 56;
}

// mask [H, W] -> map.
void pack(const uint8_t* mask, BitMap& map) {
  for (int64_t y = 0; y < map.height; ++y) {
    const uint8_t* from = mask + y * map.width;
    uint64_t* to = map.row(y);
    std::fill_n(to, map.num_words, uint64_t{0});
    int64_t x = 0;
    for (; x + 8 <= map.width; x += 8) to[x / kBits] |= pack8(from + x) << x % kBits;
    for (; x < map.width; ++x) to[x / kBits] |= uint64_t{from[x] != 0} << x % kBits;
  }
}

// The words of a row one pixel to the left: bit x of the result is bit x + 1.
inline uint64_t right_neighbours(const uint64_t* row, int64_t word, int64_t num_words) {
  return row[word] >> 1 | (word + 1 < num_words ? row[word + 1] << (kBits - 1) : 0);
}

inline uint64_t left_neighbours(const uint64_t* row, int64_t word) {
  return row[word] << 1 | (word > 0 ? row[word - 1] >> (kBits - 1) : 0);
}

void contour_of(const BitMap& mask, BitMap& contour) {
  const int64_t last = mask.num_words - 1;
  const uint64_t last_column = uint64_t{1} << (mask.width - 1) % kBits;
  for (int64_t y = 0; y < mask.height; ++y) {
    const bool is_last_row = y + 1 == mask.height;
    const uint64_t *here = mask.row(y), *below = is_last_row ? here : mask.row(y + 1);
    uint64_t* out = contour.row(y);
    for (int64_t w = 0; w <= last; ++w) {
      out[w] = contour_bits(here[w], right_neighbours(here, w, mask.num_words), below[w],
                            right_neighbours(below, w, mask.num_words), w == last ? last_column : 0,
                            is_last_row);
    }
  }
}

// Widens every run of pixels by one to both sides.
void widen(BitMap& map, std::vector<uint64_t>& buffer) {
  buffer.resize(static_cast<size_t>(map.num_words));
  for (int64_t y = 0; y < map.height; ++y) {
    uint64_t* row = map.row(y);
    std::copy_n(row, map.num_words, buffer.data());
    for (int64_t w = 0; w < map.num_words; ++w) {
      row[w] = buffer[static_cast<size_t>(w)] | left_neighbours(buffer.data(), w) |
               right_neighbours(buffer.data(), w, map.num_words);
    }
    row[map.num_words - 1] &= map.last_pixels();
  }
}

// out |= map, moved down by `rows` (upwards where negative).
void add_moved(const BitMap& map, int64_t rows, BitMap& out) {
  const int64_t first = std::max<int64_t>(0, rows);
  const int64_t count = (map.height - std::abs(rows)) * map.num_words;
  const uint64_t* from = map.row(std::max<int64_t>(0, -rows));
  uint64_t* to = out.row(first);
  for (int64_t i = 0; i < count; ++i) to[i] |= from[i];
}

// For each distance in rows, 0 to radius, how far a disk of that radius reaches in columns.
std::vector<int64_t> reach_of_disk(int64_t radius) {
  std::vector<int64_t> reach(static_cast<size_t>(radius + 1));
  for (int64_t rows = 0; rows <= radius; ++rows)
    reach[static_cast<size_t>(rows)] = disk_reach(radius, rows);
  return reach;
}

// The pixels at most a radius from those of `map`: a row of the disk is a run, and runs of growing
// width come from widening the one before. `map` is used up.
void dilate(BitMap& map, const std::vector<int64_t>& reach, std::vector<uint64_t>& buffer,
            BitMap& out) {
  std::fill(out.words.begin(), out.words.end(), uint64_t{0});
  const auto farthest = static_cast<int64_t>(reach.size()) - 1;
  int64_t width = 0;
  for (int64_t rows = farthest; rows >= 0; --rows) {
    // nothing is wider than the whole row
    const int64_t wanted = std::min(reach[static_cast<size_t>(rows)], map.width - 1);
    for (; width < wanted; ++width) widen(map, buffer);
    if (rows >= map.height) continue;
    add_moved(map, rows, out);
    if (rows > 0) add_moved(map, -rows, out);
  }
}

int64_t count_of(const BitMap& map) {
  int64_t count = 0;
  for (const uint64_t word : map.words) count += std::popcount(word);
  return count;
}

int64_t count_of_both(const BitMap& a, const BitMap& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.words.size(); ++i) count += std::popcount(a.words[i] & b.words[i]);
  return count;
}

// What a thread needs for the frames of its range.
struct Workspace {
  Workspace(int64_t height, int64_t width)
      : mask(height, width), prediction(height, width), truth(height, width), near(height, width) {}

  BitMap mask, prediction, truth, near;
  std::vector<uint64_t> buffer;
};

void match_frame(const uint8_t* prediction, const uint8_t* truth, const std::vector<int64_t>& reach,
                 Workspace& space, int64_t* counts) {
  pack(prediction, space.mask);
  contour_of(space.mask, space.prediction);
  pack(truth, space.mask);
  contour_of(space.mask, space.truth);
  counts[1] = count_of(space.prediction);
  counts[3] = count_of(space.truth);
  counts[0] = counts[2] = 0;
  if (counts[1] == 0 || counts[3] == 0) return;
  space.mask.words = space.truth.words;
  dilate(space.mask, reach, space.buffer, space.near);
  counts[0] = count_of_both(space.prediction, space.near);
  space.mask.words = space.prediction.words;
  dilate(space.mask, reach, space.buffer, space.near);
  counts[2] = count_of_both(space.truth, space.near);
}

}  // namespace

void contour_match(const uint8_t* prediction, const uint8_t* truth, int64_t num_frames,
                   int64_t height, int64_t width, int64_t radius, const ParallelFor& parallel_for,
                   int64_t* counts) {
  // a disk that reaches farther than the frame's edges covers no more of it
  const std::vector<int64_t> reach = reach_of_disk(std::min(radius, height + width));
  const int64_t area = height * width;
  parallel_for(0, num_frames, 1, [&](int64_t first, int64_t last) {
    Workspace space(height, width);
    for (int64_t t = first; t < last; ++t) {
      match_frame(prediction + t * area, truth + t * area, reach, space, counts + 4 * t);
    }
  });
}

}  // namespace vtcd
