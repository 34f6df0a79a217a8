// SPDX-License-Identifier: Apache-2.0
// The syntax of names, paths and addresses in the configuration.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::config {

/// a-z, 0-9 and -, at most 63 characters: Kubernetes' names of namespaces, containers and volumes.
bool isDnsLabel(std::string_view text);

/// [PREFIX/]NAME, as Kubernetes accepts it for the key of a label.
bool isLabelKey(std::string_view text);
/// Empty, or at most 63 of A-Z a-z 0-9 . _ - with a letter or digit at both ends.
bool isLabelValue(std::string_view text);

/// ADDRESS:PORT with an IPv4 address, or an IPv6 address in brackets.
bool isSocketAddress(std::string_view text);
/// The same, but only an address on loopback.
bool isLoopbackAddress(std::string_view text);

}  // namespace fallbackd::config
