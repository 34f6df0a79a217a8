// SPDX-License-Identifier: Apache-2.0
// The view on disk, so that a daemon that starts in an outage knows what the one before knew. One file, mode
// 0600: pods hold literal env values. Values from Secrets are never in a pod. All calls block.
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

  /// `node`: a file of another node is not ours.
  PodViewStore(std::string file, std::string node) : file_(std::move(file)), node_(std::move(node)) {}

  /// Reason not_found if there is no file; invalid if it is damaged, of another version or of another node.
  [[nodiscard]] Result<Stored> load() const;
  /// Replaces the file: after a power cut the old or the new content is there. Its folder must exist.
  [[nodiscard]] Result<> save(const std::vector<PodPtr>& pods, Wall::time_point now) const;

 private:
  std::string file_;
  std::string node_;
};

}  // namespace fallbackd::kube
