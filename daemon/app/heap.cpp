// SPDX-License-Identifier: Apache-2.0
#include "app/heap.hpp"

#include <malloc.h>

namespace fallbackd::app {

namespace {

// One for the loop, one for gRPC's and the pool's threads.
constexpr int kArenas = 2;
// glibc's own initial values. Setting them switches off the rule that raises both, up to 32 MiB, after the
// first large block is freed.
constexpr int kThreshold = 128 * 1024;

}  // namespace

void keepHeapSmall() {
  // NOLINTBEGIN(concurrency-mt-unsafe): the header promises a single thread
  ::mallopt(M_ARENA_MAX, kArenas);
  ::mallopt(M_MMAP_THRESHOLD, kThreshold);
  ::mallopt(M_TRIM_THRESHOLD, kThreshold);
  // NOLINTEND(concurrency-mt-unsafe)
}

void returnFreeHeap(std::size_t keptBytes) {
  if (::mallinfo2().fordblks > keptBytes) ::malloc_trim(0);
}

}  // namespace fallbackd::app
