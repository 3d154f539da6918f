// SPDX-License-Identifier: MIT
// The scorer of a search (core/rosetta/scorer.h) whose supports lie on a device. Free of torch: the
// memory comes from its caller.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/rosetta/scorer.h"
#include "cuda/rosetta_search.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// At least `bytes` of the device's memory, aligned to 16: what is asked for again under a number is
// free to be given again.
using DeviceMemory = std::function<void*(int number, size_t bytes)>;

// Arrays that go to the device in one copy.
class Staging {
 public:
  // Where the array will begin.
  template <typename T>
  size_t add(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    const size_t begin = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(begin + values.size() * sizeof(T));
    if (!values.empty())
      std::memcpy(bytes_.data() + begin, values.data(), values.size() * sizeof(T));
    return begin;
  }

  const std::byte* data() const { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }

 private:
  std::vector<std::byte> bytes_;
};

class DeviceScorer : public TupleScorer {
 public:
  // set: its words are those of the device.
  DeviceScorer(const SupportSet& set, DeviceMemory memory, Stream stream)
      : set_(set), memory_(std::move(memory)), stream_(stream) {
    std::vector<int32_t> model_ends;
    for (int64_t m = 0; m < set.num_models(); ++m)
      model_ends.resize(set.models[m + 1], static_cast<int32_t>(set.models[m + 1]));
    Staging staging;
    const size_t videos = staging.add(set.videos), ends = staging.add(model_ends);
    const std::byte* there = upload(kFixed, staging);
    auto* sizes = get<int64_t>(kSizes, set.num_concepts() * set.num_videos());
    supports_ = {{set.words, reinterpret_cast<const int64_t*>(there + videos), set.num_videos(),
                  set.num_concepts()},
                 sizes,
                 reinterpret_cast<const int32_t*>(there + ends)};
    support_sizes(supports_.rows, sizes, stream);
  }

  TupleList score_pairs(int64_t begin, int64_t end, double least) override {
    int64_t num_pairs = 0;
    for (int64_t a = begin; a < end; ++a) num_pairs += set_.num_concepts() - end_of_model(a);
    if (num_pairs == 0) return {2, {}, {}};
    const PairBlock block{begin, end, end_of_model(begin)};
    const int64_t room = std::min(
        num_pairs, kFewPairs * block.num_row_tiles() * block.num_column_tiles(set_.num_concepts()));
    unsigned long long* counts = zero_counts();
    const StartedPairs started{get<StartedPair>(kStarted, room), counts};
    const FoundTuples found = make_found(num_pairs, counts + 1);
    cuda::score_pairs(supports_, block, least, started, found, stream_);
    TupleList list{2, {}, {}};
    for (const int64_t key : read_found(found, list.scores)) {
      list.members.push_back(static_cast<int32_t>(key / set_.num_concepts()));
      list.members.push_back(static_cast<int32_t>(key % set_.num_concepts()));
    }
    return list;
  }

  TupleList score_tuples(const std::vector<int32_t>& candidates, int64_t order,
                         double least) override {
    const int64_t count = static_cast<int64_t>(candidates.size()) / order;
    auto* there = get<int32_t>(kUploaded, count * order);
    copy_to_device(there, candidates.data(), candidates.size() * sizeof(int32_t), stream_);
    const FoundTuples found = make_found(count, zero_counts());
    cuda::score_tuples(supports_, there, count, order, least, found, stream_);
    TupleList list{order, {}, {}};
    for (const int64_t key : read_found(found, list.scores)) {
      const auto tuple = candidates.begin() + key * order;
      list.members.insert(list.members.end(), tuple, tuple + order);
    }
    return list;
  }

  std::vector<double> score_extensions(const Branches& branches, double least) override {
    std::vector<int32_t> concepts;
    std::vector<double> bounds;
    for (const Extension& extension : branches.extensions) {
      concepts.push_back(extension.concept_index);
      bounds.push_back(extension.bound);
    }
    Staging staging;
    const size_t members = staging.add(branches.members), of_branch = staging.add(branches.bounds),
                 begins = staging.add(branches.begins), firsts = staging.add(branches.firsts),
                 extensions = staging.add(concepts), of_extension = staging.add(bounds);
    const std::byte* there = upload(kUploaded, staging);
    const int64_t count = branches.num_candidates();
    const DeviceBranches given{branches.size(),
                               branches.length,
                               count,
                               reinterpret_cast<const int32_t*>(there + members),
                               reinterpret_cast<const double*>(there + of_branch),
                               reinterpret_cast<const int64_t*>(there + begins),
                               reinterpret_cast<const int64_t*>(there + firsts),
                               reinterpret_cast<const int32_t*>(there + extensions),
                               reinterpret_cast<const double*>(there + of_extension),
                               get<JointCount>(kJoint, branches.size() * set_.num_videos())};
    auto* found = get<double>(kScores, count);
    cuda::score_extensions(supports_, given, least, found, stream_);
    std::vector<double> scores(count);
    copy_to_host(scores.data(), found, scores.size() * sizeof(double), stream_);
    return scores;
  }

 private:
  enum Number { kFixed, kSizes, kUploaded, kStarted, kCounts, kKeys, kScores, kJoint };

  template <typename T>
  T* get(Number number, int64_t count) {
    return static_cast<T*>(memory_(number, static_cast<size_t>(count) * sizeof(T)));
  }

  const std::byte* upload(Number number, const Staging& staging) {
    auto* there = static_cast<std::byte*>(memory_(number, staging.size()));
    copy_to_device(there, staging.data(), staging.size(), stream_);
    return there;
  }

  int64_t end_of_model(int64_t concept_index) const {
    return *std::upper_bound(set_.models.begin(), set_.models.end(), concept_index);
  }

  unsigned long long* zero_counts() {
    auto* counts = get<unsigned long long>(kCounts, 2);
    fill_bytes(counts, 0, 2 * sizeof(unsigned long long), stream_);
    return counts;
  }

  FoundTuples make_found(int64_t count, unsigned long long* counter) {
    return {get<int64_t>(kKeys, count), get<double>(kScores, count), counter};
  }

  // Returns the keys.
  std::vector<int64_t> read_found(const FoundTuples& found, std::vector<double>& scores) const {
    unsigned long long count = 0;
    copy_to_host(&count, found.count, sizeof(count), stream_);
    std::vector<int64_t> keys(count);
    scores.resize(count);
    if (count == 0) return keys;
    copy_to_host(keys.data(), found.keys, count * sizeof(int64_t), stream_);
    copy_to_host(scores.data(), found.scores, count * sizeof(double), stream_);
    return keys;
  }

  const SupportSet& set_;
  const DeviceMemory memory_;
  const Stream stream_;
  DeviceSupports supports_{};
};

}  // namespace vtcd::cuda
