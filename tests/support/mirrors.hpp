// SPDX-License-Identifier: Apache-2.0
// Several hosts for one registry's images, in the order in which containerd is to ask them.
#pragma once

#include "base/error.hpp"
#include "containerd_node.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace fallbackd::e2e {

/// Images of `host` are asked for at each of `urls` in turn; the last is the upstream. `ca` is a file of
/// certificates to trust, for all of them.
Result<> setHosts(const ContainerdNode& node, const std::string& host, const std::vector<std::string>& urls,
                  const std::filesystem::path& ca = {});

}  // namespace fallbackd::e2e
