// SPDX-License-Identifier: MIT
// Supports for the tests of the Rosetta kernels.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "core/rosetta/rosetta.h"

namespace vtcd {

struct MadeSupports {
  std::vector<uint64_t> words;
  SupportSet set;
};

// Noisy copies of two objects; a fifth of the supports are empty, and so are all in the last video.
inline MadeSupports make_supports(const std::vector<int64_t>& models,
                                  const std::vector<int64_t>& num_words, unsigned seed = 3) {
  std::mt19937_64 random(seed);
  MadeSupports made;
  made.set.models = models;
  made.set.videos = {0};
  for (size_t video = 0; video < num_words.size(); ++video) {
    const auto count = static_cast<size_t>(num_words[video]);
    made.set.videos.push_back(made.set.videos.back() + num_words[video]);
    std::vector<uint64_t> objects(2 * count);
    for (uint64_t& bits : objects) bits = random();
    for (int64_t i = 0; i < models.back(); ++i) {
      const bool empty = video + 1 == num_words.size() || random() % 5 == 0;
      for (size_t k = 0; k < count; ++k) {
        const uint64_t noise = random() & random() & random();
        made.words.push_back(empty ? 0 : objects[static_cast<size_t>(i % 2) * count + k] ^ noise);
      }
    }
  }
  made.set.words = made.words.data();
  return made;
}

}  // namespace vtcd
