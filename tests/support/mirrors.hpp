// SPDX-License-Identifier: Apache-2.0
// Several hosts for one registry's images, in the order in which containerd must try them.
#pragma once

#include "base/error.hpp"
#include "containerd_node.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// containerd requests images of `host` from each of `urls` in turn; the last one is the upstream. `ca` is a
/// file of trusted certificates for all of them.
Result<> setHosts(const ContainerdNode& node, const std::string& host, const std::vector<std::string>& urls,
                  const std::filesystem::path& ca = {});

}  // namespace fallbackd::e2e
