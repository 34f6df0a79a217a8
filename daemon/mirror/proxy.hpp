// SPDX-License-Identifier: Apache-2.0
// The proxies of containerd's environment, with the meaning that Go's HTTP client gives them. Pure.
#pragma once

#include "base/error.hpp"
#include "mirror/hosts_file.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::mirror {

struct Proxies {
  std::string http;
  std::string https;
  std::string none;  // NO_PROXY
};

/// `environment`: the content of /proc/PID/environ.
Proxies proxiesOf(std::string_view environment);

/// The proxy through which containerd asks this host, if there is one. Reason unavailable: it does not take
/// plain HTTP, or its URL is not understood, so we cannot ask as containerd does.
Result<std::optional<Upstream>> proxyFor(const Proxies& proxies, const Upstream& upstream);

}  // namespace fallbackd::mirror
