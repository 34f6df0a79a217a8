// SPDX-License-Identifier: Apache-2.0
// Whether the pull of one image moves, while others are being pulled at the same time.
#pragma once

#include "base/clock.hpp"
#include "cri/types.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::watcher {

/// What moved between two looks, and when it did so last.
struct Movement {
  /// Wall::time_point::max(): at some time between the looks.
  using When = std::optional<Wall::time_point>;
  When ours;
  When perhapsOurs;
  explicit operator bool() const { return ours || perhapsOurs; }
};

/// What the content store shows of a pull. containerd marks what it stores with the repository that it came
/// from, and manifests with the digests below them; a running download names its digest. Until the manifest
/// is there, it is not known whose manifest a download is: then any new one counts, since taking a slow pull
/// for a dead one is the worse mistake.
class Progress {
 public:
  /// `repository`: the path of the reference without host, tag and digest.
  explicit Progress(std::string repository) : repository_(std::move(repository)) {}

  /// Compares with the previous look: has the pull moved? The first look only gives the baseline.
  Movement look(const std::vector<cri::Content>& contents, const std::vector<cri::Ingest>& ingests);

  /// Something of ours is on its way: what has arrived so far is only seen in large pieces.
  [[nodiscard]] bool downloading() const { return !before_.empty(); }
  /// The same, if it is ours for certain.
  [[nodiscard]] bool downloadingOurs() const;

  /// Bytes of a layer that is ours for certain have come: registry and storage are alive.
  [[nodiscard]] bool delivered() const { return delivered_; }

  /// A download came to its end and is being synced to the disk, or all did and containerd unpacks: no
  /// download moves then, which can take long and does not depend on the registry.
  [[nodiscard]] bool storing() const { return complete_ || (ownMoved_ && before_.empty()); }

 private:
  struct Download {
    std::int64_t offset = 0;
    bool ours = false;  // for certain
  };

  std::string repository_;
  bool first_ = true;
  bool ownMoved_ = false;  // what moved was ours for certain, not just perhaps
  bool complete_ = false;
  bool delivered_ = false;
  std::set<std::string> stored_;            // digests of ours
  std::map<std::string, Download> before_;  // at the last look, by ref
  std::set<std::string> foreign_;           // downloads that were there before us
};

}  // namespace fallbackd::watcher
