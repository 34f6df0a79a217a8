// SPDX-License-Identifier: Apache-2.0
// A process with no free descriptors left, or only a few: until this is destroyed, opening more fails with
// EMFILE.
#pragma once

#include "sys/fd.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <vector>

namespace fallbackd::test {

class FewDescriptors {
 public:
  explicit FewDescriptors(unsigned free = 0) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    std::vector<sys::UniqueFd> next;
    for (unsigned i = 0; i <= free; ++i) next.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit few{static_cast<rlim_t>(next.back().get()), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace fallbackd::test
