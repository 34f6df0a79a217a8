// SPDX-License-Identifier: Apache-2.0
// containerd's hosts.toml: which hosts it asks for the images of a registry, and how it trusts them.
// https://github.com/containerd/containerd/blob/main/docs/hosts.md
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::mirror {

/// A host that containerd asks.
struct Upstream {
  bool tls = true;
  std::string host;  // without brackets
  std::uint16_t port = 443;
  std::string path = "/v2";
  std::vector<std::string> ca;  // files, beside the node's own trust
  bool skipVerify = false;
  std::string certificate = {};  // of the client, if it needs one
  std::string key = {};

  /// HOST:PORT, as in a Host header.
  [[nodiscard]] std::string authority() const;
  friend bool operator==(const Upstream&, const Upstream&) = default;
};

/// "https://HOST[:PORT][/PATH]"; empty if it is not a URL that containerd accepts.
std::optional<Upstream> upstreamOf(std::string_view url, bool overridePath = false);

/// Where containerd gets images of a registry that no hosts.toml mentions.
Upstream defaultUpstream(const std::string& registry);

/// The hosts of a file's text in the order in which containerd asks them; the last one is the registry
/// itself. `folder` is the file's: relative paths begin there. Reason invalid, with the line.
Result<std::vector<Upstream>> parseHosts(std::string_view text, const std::string& folder,
                                         const std::string& registry);

/// The folders below `root` in which containerd looks for the registry's hosts.toml; the first that exists
/// counts.
std::vector<std::string> hostsFolders(const std::string& root, const std::string& registry);

/// The same, read from disk: those of the first folder that exists; defaultUpstream() without one. Blocks.
Result<std::vector<Upstream>> upstreamsFor(const std::string& root, const std::string& registry);

inline constexpr std::size_t kMaxHostsFile = 1 << 20;

}  // namespace fallbackd::mirror
