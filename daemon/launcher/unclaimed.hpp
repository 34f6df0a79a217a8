// SPDX-License-Identifier: Apache-2.0
// Leaves of an earlier daemon that no journal entry mentions: whose they are and what runs there, according
// to the kernel. Blocks for a few file reads per leaf; only for the start.
#pragma once

#include "domain/binary_ref.hpp"
#include "launcher/launcher.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::launcher {

/// The same leaf in each hierarchy where the pod has one.
struct FoundLeaf {
  std::string podUid;
  std::string container;
  std::vector<std::string> paths;
};

/// `paths` as returned by leavesBelow(). A path whose pod cannot be determined results in a leaf without a
/// UID.
std::vector<FoundLeaf> groupLeaves(const std::vector<std::string>& paths);

/// "1f0c..." from ".../podUID" and from systemd's ".../kubepods-burstable-podUID_WITH_UNDERSCORES.slice".
std::string podUidOf(const std::string& podCgroup);

/// What is in the leaf: nothing, an unfinished launch (no binary was executed), or a fallback. Unknown:
/// something runs there that the kernel does not let us examine now.
struct LeafContent {
  enum class Kind : std::uint8_t { empty, unfinished, fallback, unknown };
  Kind kind = Kind::empty;
  pid_t pid = 0;  // of the process from which the others in the leaf descend
  std::uint64_t startTime = 0;
  std::optional<BinaryRef> binary;  // if its executable's name reveals it
  std::string fifoDir;              // the one of `fifoDirs` that it writes to; empty if none
};
LeafContent contentOf(const FoundLeaf& leaf, const std::vector<std::string>& fifoDirs);

}  // namespace fallbackd::launcher
