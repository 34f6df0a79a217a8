// SPDX-License-Identifier: Apache-2.0
// containerd's configuration file, with those that it imports.
#pragma once

#include "base/error.hpp"
#include "mirror/hosts_edit.hpp"

#include <string>

namespace fallbackd::ctl {

/// Its settings for hosts.toml files. Stage cli; and the errors of parseContainerdConfig().
Result<mirror::RegistryConfig> readContainerdConfig(const std::string& file);

}  // namespace fallbackd::ctl
