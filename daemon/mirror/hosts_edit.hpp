// SPDX-License-Identifier: Apache-2.0
// Adds the mirror to a hosts.toml, and takes it out again: as a block between two comments, so that nothing
// else in the file changes. Every result is parsed again and compared with what it was made from. Pure,
// except for addressesInBlocks().
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::mirror {

/// Where the mirror stands among the hosts of a registry. The registry itself is always last.
enum class Order : std::uint8_t { first, last };

struct HostsBlock {
  std::string address;  // ADDRESS:PORT of the mirror
  std::string token;
  unsigned mode = 0644;  // of the file before, to be restored
};

/// `text` with the block; an existing block is replaced. Reason invalid if the file is not valid, or
/// is written in a way that leaves no place for the block; already_exists if the address is there without our
/// comments. `file` is for messages.
Result<std::string> withBlock(std::string_view text, const HostsBlock& block, Order order,
                              const std::string& file);

/// `text` without the block. Reason invalid if only one of its comments is there.
Result<std::string> withoutBlock(std::string_view text, const std::string& file);

/// The file's earlier mode, as the block records it; empty without a block.
std::optional<unsigned> modeBefore(std::string_view text);

/// The address that containerd is told to ask, as the block names it; empty without a block.
std::string addressInBlock(std::string_view text);

/// The same for every hosts.toml below `root`; a file that cannot be read has none. Blocks.
std::set<std::string> addressesInBlocks(const std::string& root);

/// Where the mirror listens by default. Below 1024: no process without CAP_NET_BIND_SERVICE can take the
/// port. Below 600: no client of NFS or RPC takes it by chance.
inline constexpr std::string_view kUsualAddress = "127.0.0.1:478";

/// The first line of a file that did not exist before.
inline constexpr std::string_view kMadeByUs =
    "# Made by fallbackctl mirror enable; fallbackctl mirror disable removes it.\n";

/// What containerd's configuration says about hosts.toml.
struct RegistryConfig {
  int version = 1;
  std::vector<std::string> configPath;  // folders; empty: hosts.toml is not read
  bool hasMirrors = false;              // the older way, which excludes config_path
  std::vector<std::string> imports;     // further files, as patterns
};

/// Parses /etc/containerd/config.toml in version 2 or 3.
Result<RegistryConfig> parseContainerdConfig(std::string_view text, const std::string& file);

/// The lines that set it, for a message.
std::string configPathLines(int version, const std::string& folder);

}  // namespace fallbackd::mirror
