// SPDX-License-Identifier: MIT
// Working memory of more than a few pages.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace vtcd {

// `count` elements, not initialised. Large ones ask for huge pages, to the nearest number: a
// volume's arrays are used for a few milliseconds, and a tenth of that would go to the first touch
// of their small pages.
template <typename T>
class LargeArray {
 public:
  explicit LargeArray(int64_t count) {
    constexpr size_t kHugePage = size_t{1} << 21, kCacheLine = 64;
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    const size_t huge = (bytes + kHugePage / 2) / kHugePage * kHugePage;
    const size_t alignment = huge > 0 ? kHugePage : kCacheLine;
    const size_t rounded = (bytes / alignment + 1) * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, rounded)));
    if (!data_) throw std::bad_alloc();
#ifdef __linux__
    if (huge > 0) madvise(data_.get(), huge, MADV_HUGEPAGE);
#endif
  }

  T* get() { return data_.get(); }
  const T* get() const { return data_.get(); }
  T& operator[](int64_t i) { return data_.get()[i]; }
  const T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace vtcd
