// SPDX-License-Identifier: Apache-2.0
// Which version a pod wants, and whether a binary is that version. A pod that wants a version that the cache
// does not have never silently gets an older one.
#pragma once

#include "config/model.hpp"
#include "domain/binary_ref.hpp"
#include "kube/pod_spec.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace fallbackd::kube {

using config::VersionMatch;
using config::VersionRule;

/// The version that the pod requests.
struct WantedVersion {
  std::optional<std::string> version;  // without "v"; as the tag has it, with _ for +
  std::string why;                     // why there is none: "the image has no tag"
};
/// `image`: the container's, as the pod writes it.
WantedVersion wantedVersion(const Pod& pod, std::string_view image, const VersionRule& rule);

struct VersionVerdict {
  enum class Kind : std::uint8_t {
    match,
    no_binary,    // the pod wants a version that none of the binaries has
    cannot_tell,  // the pod does not state which version it wants
  };
  Kind kind = Kind::cannot_tell;
  std::string text;  // "no binary for checkout 1.9.0"; of a match that is not exact: what differs
};

/// Whether this binary is what the pod wants.
VersionVerdict judgeVersion(const WantedVersion& wanted, const BinaryRef& binary, VersionMatch match);

struct VersionChoice {
  VersionVerdict verdict;
  std::optional<BinaryRef> binary;  // of a match
};
/// The best among the binaries of one name: the wanted version, else the nearest later patch, else the
/// nearest earlier one. With VersionMatch::none: the highest, if the wanted one is not among them.
VersionChoice chooseVersion(const WantedVersion& wanted, std::string_view name,
                            std::span<const BinaryRef> available, VersionMatch match);

}  // namespace fallbackd::kube
