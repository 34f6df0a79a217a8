// Leaves that an earlier daemon left and that no journal entry tells of: whose they are and what runs there,
// as the kernel tells it. Blocks for some file reads a leaf; for the start only.
#pragma once

#include "base/binary_ref.hpp"
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

/// `paths` as leavesBelow() gives them. A path whose pod cannot be told makes a leaf without a UID.
std::vector<FoundLeaf> groupLeaves(const std::vector<std::string>& paths);

/// "1f0c..." of ".../podUID" and of systemd's ".../kubepods-burstable-podUID_WITH_UNDERSCORES.slice".
std::string podUidOf(const std::string& podCgroup);

/// What is in the leaf: nothing, a launch that was not over (no binary was executed), or a fallback. Unknown:
/// something runs there that the kernel does not let us look at now.
struct LeafContent {
  enum class Kind : std::uint8_t { empty, unfinished, fallback, unknown };
  Kind kind = Kind::empty;
  pid_t pid = 0;  // of the process that the others in the leaf come from
  std::uint64_t startTime = 0;
  std::optional<BinaryRef> binary;  // where its executable's name tells
  std::string fifoDir;              // of `fifoDirs`, the one that it writes to; empty where it is none
};
LeafContent contentOf(const FoundLeaf& leaf, const std::vector<std::string>& fifoDirs);

}  // namespace fallbackd::launcher
