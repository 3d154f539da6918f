// SPDX-License-Identifier: MIT
// A breadth-first search over all voxels, as the reference does it, is only needed where its order
// shows in the result: in fragments that are too small (which neighbour they meet last) and in
// fragments that are too large (where they are cut). All others are found as runs along W joined by
// a union-find, at a small part of the cost.
#include "core/slic3d/connectivity.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/pack.h"

namespace vtcd {
namespace {

// While fragments are searched, the new labels of their voxels stand beside the old ones in one
// array: the new label n as ~n, which is negative.
int32_t marked(int32_t new_label) { return ~new_label; }
bool is_marked(int32_t label) { return label < 0; }

// The runs of a volume: consecutive voxels of one row with the same label, joined to fragments.
// Rows are looked at 64 voxels at a time, one bit each.
class Fragments {
 public:
  Fragments(Shape3 size, const int32_t* labels)
      : size_(size), num_words_((size.w + kBits - 1) / kBits) {
    find_runs(labels);
    for (int64_t row = 0; row < size.t * size.h; ++row) {
      if (row % size.h > 0) join_rows(labels, row - 1, row);
      if (row >= size.h) join_rows(labels, row - size.h, row);
    }
    count_voxels();
  }

  int32_t num_runs() const { return static_cast<int32_t>(begin_.size()) - 1; }
  // The first voxel of a run, counted over the whole volume; of the run after the last one, where
  // the volume ends.
  int32_t begin(int32_t run) const { return begin_[run]; }
  // The first run of a run's fragment.
  int32_t first_run(int32_t run) const { return parent_[run]; }
  // Of the fragment whose first run is `run`.
  int64_t num_voxels(int32_t run) const { return num_voxels_[run]; }
  // The run of voxel x of a row.
  int32_t run_of(int64_t row, int64_t x) const {
    const int64_t word = row * num_words_ + x / kBits;
    const uint64_t up_to_x = ~uint64_t{0} >> (kBits - 1 - x % kBits);
    return runs_before_[word] + std::popcount(starts_[word] & up_to_x) - 1;
  }

 private:
  static constexpr int64_t kBits = 64;

  int64_t voxels_of(int64_t word) const { return std::min(kBits, size_.w - word * kBits); }

  void find_runs(const int32_t* labels) {
    const int64_t num_rows = size_.t * size_.h;
    starts_.resize(num_rows * num_words_);
    runs_before_.resize(num_rows * num_words_);
    begin_.reserve(4 * num_rows);
    for (int64_t row = 0; row < num_rows; ++row)
      for (int64_t word = 0; word < num_words_; ++word) {
        const int64_t first = row * size_.w + word * kBits, place = row * num_words_ + word;
        const int32_t* at = labels + first;
        const int64_t count = voxels_of(word);
        uint64_t bits =
            word > 0 ? differing(at, at - 1, count) : differing(at + 1, at, count - 1) << 1 | 1;
        starts_[place] = bits;
        runs_before_[place] = static_cast<int32_t>(begin_.size());
        for (; bits != 0; bits &= bits - 1)
          begin_.push_back(static_cast<int32_t>(first) + std::countr_zero(bits));
      }
    parent_.resize(begin_.size());
    for (size_t run = 0; run < parent_.size(); ++run) parent_[run] = static_cast<int32_t>(run);
    begin_.push_back(static_cast<int32_t>(size_.count()));
  }

  int32_t root(int32_t run) {
    while (parent_[run] != run) {
      parent_[run] = parent_[parent_[run]];
      run = parent_[run];
    }
    return run;
  }

  // The earlier root wins, so a fragment's root is its first run.
  void join(int32_t a, int32_t b) {
    a = root(a);
    b = root(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

  // Joins the runs of two rows that touch and have the same label, each two of them once: where
  // they first touch.
  void join_rows(const int32_t* labels, int64_t upper_row, int64_t lower_row) {
    uint64_t before = 0;  // the last bit of the word before
    for (int64_t word = 0; word < num_words_; ++word) {
      const int64_t upper = upper_row * num_words_ + word, lower = lower_row * num_words_ + word;
      const int64_t count = voxels_of(word), first = word * kBits;
      const uint64_t all = ~uint64_t{0} >> (kBits - count);
      const uint64_t same = all & ~differing(labels + upper_row * size_.w + first,
                                             labels + lower_row * size_.w + first, count);
      uint64_t touch = same & (starts_[upper] | starts_[lower] | ~(same << 1 | before));
      before = same >> (kBits - 1);
      for (; touch != 0; touch &= touch - 1) {
        const int x = std::countr_zero(touch);
        const uint64_t up_to_x = ~uint64_t{0} >> (kBits - 1 - x);
        join(runs_before_[upper] + std::popcount(starts_[upper] & up_to_x) - 1,
             runs_before_[lower] + std::popcount(starts_[lower] & up_to_x) - 1);
      }
    }
  }

  void count_voxels() {
    num_voxels_.assign(parent_.size(), 0);
    for (int32_t run = 0; run < num_runs(); ++run) {
      parent_[run] = parent_[parent_[run]];  // of an earlier run, which is at its root already
      num_voxels_[parent_[run]] += begin_[run + 1] - begin_[run];
    }
  }

  Shape3 size_;
  int64_t num_words_;                 // of a row
  std::vector<uint64_t> starts_;      // [T * H, words]: whether a run starts at a voxel
  std::vector<int32_t> runs_before_;  // [T * H, words]
  std::vector<int32_t> begin_;        // [runs + 1]
  std::vector<int32_t> parent_;       // [runs]: a run of the same fragment that is not later
  std::vector<int32_t> num_voxels_;   // [runs]
};

class Relabelling {
 public:
  Relabelling(const Fragments& fragments, Shape3 size, int64_t min_size, int64_t max_size,
              int32_t* labels)
      : fragments_(fragments),
        size_(size),
        min_size_(min_size),
        max_size_(max_size),
        labels_(labels),
        new_label_(fragments.num_runs(), kNone) {}

  void label() {
    for (int32_t run = 0; run < fragments_.num_runs(); ++run) {
      if (is_searched(run)) {
        // Voxel by voxel: a search that was cut short may have left any of the run's voxels.
        for (int32_t voxel = fragments_.begin(run); voxel < fragments_.begin(run + 1); ++voxel)
          if (!is_marked(labels_[voxel])) search(voxel);
      } else if (fragments_.first_run(run) == run) {
        new_label_[run] = next_label_++;
      }
    }
    for (int32_t run = 0; run < fragments_.num_runs(); ++run) write(run);
  }

 private:
  static constexpr int32_t kNone = -1;

  // Whether a run's fragment is too small or too large.
  bool is_searched(int32_t run) const {
    const int64_t num_voxels = fragments_.num_voxels(fragments_.first_run(run));
    return num_voxels < min_size_ || num_voxels >= max_size_;
  }

  // The new labels of a run's voxels.
  void write(int32_t run) {
    const int32_t begin = fragments_.begin(run), end = fragments_.begin(run + 1);
    if (is_searched(run)) {
      for (int32_t voxel = begin; voxel < end; ++voxel) labels_[voxel] = ~labels_[voxel];
      return;
    }
    const IntPack label = broadcast(new_label_[fragments_.first_run(run)]);
    for (int32_t voxel = begin; voxel < end; voxel += kFloatPackSize)
      store_some(labels_ + voxel, label, end - voxel);
  }

  struct Voxel {
    int32_t index, x, y, z;
  };

  // Labels the fragment of `start` breadth first, at most max_size of its voxels.
  void search(int32_t start) {
    const int32_t label = labels_[start];
    const int32_t width = static_cast<int32_t>(size_.w), height = static_cast<int32_t>(size_.h);
    queue_.assign(1, {start, start % width, start / width % height, start / width / height});
    labels_[start] = marked(next_label_);
    neighbour_label_ = next_label_;
    for (size_t visited = 0; visited < queue_.size() && size() < max_size_; ++visited)
      visit_neighbours(queue_[visited], label);
    if (size() >= min_size_) {
      ++next_label_;
    } else {
      for (const Voxel& voxel : queue_) labels_[voxel.index] = marked(neighbour_label_);
    }
  }

  int64_t size() const { return static_cast<int64_t>(queue_.size()); }

  // Takes in the neighbours of a voxel that still have `label`, in the reference's order: +x, -x,
  // +y, -y, +z, -z. Which neighbour with a new label is met last depends on that order.
  void visit_neighbours(const Voxel voxel, int32_t label) {
    const int32_t row = static_cast<int32_t>(size_.w);
    const int32_t plane = static_cast<int32_t>(size_.h * size_.w);
    const auto [i, x, y, z] = voxel;
    if (x + 1 < size_.w) visit({i + 1, x + 1, y, z}, label);
    if (x > 0) visit({i - 1, x - 1, y, z}, label);
    if (y + 1 < size_.h) visit({i + row, x, y + 1, z}, label);
    if (y > 0) visit({i - row, x, y - 1, z}, label);
    if (z + 1 < size_.t) visit({i + plane, x, y, z + 1}, label);
    if (z > 0) visit({i - plane, x, y, z - 1}, label);
  }

  void visit(const Voxel& voxel, int32_t label) {
    if (size() >= max_size_) return;
    const int32_t found = labels_[voxel.index];
    if (found == label) {
      labels_[voxel.index] = marked(next_label_);
      queue_.push_back(voxel);
    } else if (is_marked(found)) {
      if (found != marked(next_label_)) neighbour_label_ = ~found;
    } else {
      // A fragment that is not searched, or is not yet.
      const int32_t run = fragments_.run_of(voxel.z * size_.h + voxel.y, voxel.x);
      const int32_t new_label = new_label_[fragments_.first_run(run)];
      if (new_label != kNone) neighbour_label_ = new_label;
    }
  }

  const Fragments& fragments_;
  Shape3 size_;
  int64_t min_size_, max_size_;
  int32_t* labels_;
  std::vector<int32_t> new_label_;  // of the fragment whose first run it is, once it has one
  int32_t next_label_ = 0;
  int32_t neighbour_label_ = 0;
  std::vector<Voxel> queue_;
};

}  // namespace

void enforce_connectivity(Shape3 size, int64_t min_size, int64_t max_size, int32_t* labels) {
  const Fragments fragments(size, labels);
  Relabelling(fragments, size, min_size, max_size, labels).label();
}

}  // namespace vtcd
