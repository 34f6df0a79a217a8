// SPDX-License-Identifier: Apache-2.0
// The view on disk, so that a daemon that starts in an outage knows what the previous one knew. One file,
// mode 0600: pods contain literal env values, but never values of Secrets. All calls block.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "kube/pod_object.hpp"

#include <string>
#include <vector>

namespace fallbackd::kube {

class PodViewStore {
 public:
  static constexpr std::size_t kMaxFileBytes = 80UL << 20;

  struct Stored {
    Wall::time_point saved;
    std::vector<PodPtr> pods;
  };

  /// A file of another `node` is refused.
  PodViewStore(std::string file, std::string node) : file_(std::move(file)), node_(std::move(node)) {}

  /// Reason not_found if there is no file; invalid if it is damaged, of another version or of another node.
  [[nodiscard]] Result<Stored> load() const;
  /// Replaces the file: after a power cut it has the old or the new contents. Its folder must exist.
  [[nodiscard]] Result<> save(const std::vector<PodPtr>& pods, Wall::time_point now) const;

 private:
  std::string file_;
  std::string node_;
};

}  // namespace fallbackd::kube
