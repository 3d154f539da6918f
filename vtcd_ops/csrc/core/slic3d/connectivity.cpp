// SPDX-License-Identifier: MIT
// A breadth-first search over all voxels, as the reference does it, is only needed where its order
// shows in the result: in fragments that are too small (which neighbour they meet last) and in
// fragments that are too large (where they are cut). All others are found as runs along W joined by
// a union-find, at a small part of the cost.
#include "core/slic3d/connectivity.h"

#include <algorithm>
#include <vector>

namespace vtcd {
namespace {

// While fragments get their new labels, those stand beside the old ones in one array: the new label
// n as ~n, which is negative.
int32_t marked(int32_t new_label) { return ~new_label; }
bool is_marked(int32_t label) { return label < 0; }

// Consecutive voxels of one row with the same label.
struct Run {
  int32_t begin, end;  // voxels, counted over the whole volume
  int32_t label;
  int32_t parent;  // of the union-find: a run of the same fragment that is not later
  int32_t next;    // the next run of the fragment, or -1
};

class Fragments {
 public:
  Fragments(Shape3 size, const int32_t* labels) : size_(size) {
    find_runs(labels);
    for (int64_t row = 0; row < size.t * size.h; ++row) {
      if (row % size.h > 0) join_rows(row - 1, row);
      if (row >= size.h) join_rows(row - size.h, row);
    }
    link_runs();
  }

  const std::vector<Run>& runs() const { return runs_; }
  // Of the fragment whose first run is `run`.
  int64_t num_voxels(int32_t run) const { return num_voxels_[run]; }

 private:
  void find_runs(const int32_t* labels) {
    row_begin_.reserve(size_.t * size_.h + 1);
    runs_.reserve(size_.t * size_.h * 4);
    for (int64_t row = 0; row < size_.t * size_.h; ++row) {
      row_begin_.push_back(static_cast<int32_t>(runs_.size()));
      const int32_t row_end = static_cast<int32_t>((row + 1) * size_.w);
      for (int32_t begin = static_cast<int32_t>(row * size_.w); begin < row_end;) {
        int32_t end = begin + 1;
        while (end < row_end && labels[end] == labels[begin]) ++end;
        const int32_t self = static_cast<int32_t>(runs_.size());
        runs_.push_back({begin, end, labels[begin], self, -1});
        begin = end;
      }
    }
    row_begin_.push_back(static_cast<int32_t>(runs_.size()));
  }

  int32_t root(int32_t run) {
    while (runs_[run].parent != run) {
      runs_[run].parent = runs_[runs_[run].parent].parent;
      run = runs_[run].parent;
    }
    return run;
  }

  // The earlier root wins, so a fragment's root is its first run.
  void join(int32_t a, int32_t b) {
    a = root(a);
    b = root(b);
    runs_[std::max(a, b)].parent = std::min(a, b);
  }

  // Joins the runs of two rows that touch and have the same label.
  void join_rows(int64_t upper_row, int64_t lower_row) {
    const int32_t shift = static_cast<int32_t>((lower_row - upper_row) * size_.w);
    int32_t upper = row_begin_[upper_row];
    int32_t lower = row_begin_[lower_row];
    while (upper < row_begin_[upper_row + 1] && lower < row_begin_[lower_row + 1]) {
      if (runs_[upper].label == runs_[lower].label) join(upper, lower);
      const int32_t upper_end = runs_[upper].end + shift;
      const int32_t lower_end = runs_[lower].end;
      upper += upper_end <= lower_end;
      lower += lower_end <= upper_end;
    }
  }

  // Strings the runs of a fragment together, first to last, and counts its voxels.
  void link_runs() {
    const int32_t num_runs = static_cast<int32_t>(runs_.size());
    num_voxels_.assign(num_runs, 0);
    std::vector<int32_t> last(num_runs, -1);
    for (int32_t run = 0; run < num_runs; ++run) {
      const int32_t first = runs_[run].parent = root(run);
      if (last[first] >= 0) runs_[last[first]].next = run;
      last[first] = run;
      num_voxels_[first] += runs_[run].end - runs_[run].begin;
    }
  }

  Shape3 size_;
  std::vector<Run> runs_;
  std::vector<int32_t> row_begin_;  // [T * H + 1]
  std::vector<int64_t> num_voxels_;
};

class Relabelling {
 public:
  Relabelling(Shape3 size, int64_t min_size, int64_t max_size, int32_t* labels)
      : size_(size), min_size_(min_size), max_size_(max_size), labels_(labels) {}

  void label(const Fragments& fragments) {
    for (const Run& run : fragments.runs()) {
      const int64_t num_voxels = fragments.num_voxels(run.parent);
      if (num_voxels >= min_size_ && num_voxels < max_size_) {
        if (!is_marked(labels_[run.begin])) fill(fragments.runs(), run);
      } else {
        // Voxel by voxel: a search that was cut short may have left any of the run's voxels.
        for (int32_t voxel = run.begin; voxel < run.end; ++voxel)
          if (!is_marked(labels_[voxel])) search(voxel);
      }
    }
    for (int64_t voxel = 0; voxel < size_.count(); ++voxel) labels_[voxel] = ~labels_[voxel];
  }

 private:
  void fill(const std::vector<Run>& runs, const Run& first) {
    for (const Run* run = &first;; run = &runs[run->next]) {
      std::fill(labels_ + run->begin, labels_ + run->end, marked(next_label_));
      if (run->next < 0) break;
    }
    ++next_label_;
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
    } else if (is_marked(found) && found != marked(next_label_)) {
      neighbour_label_ = ~found;
    }
  }

  Shape3 size_;
  int64_t min_size_, max_size_;
  int32_t* labels_;
  int32_t next_label_ = 0;
  int32_t neighbour_label_ = 0;
  std::vector<Voxel> queue_;
};

}  // namespace

void enforce_connectivity(Shape3 size, int64_t min_size, int64_t max_size, int32_t* labels) {
  const Fragments fragments(size, labels);
  Relabelling(size, min_size, max_size, labels).label(fragments);
}

}  // namespace vtcd
