// SPDX-License-Identifier: Apache-2.0
// Whether a registry answers: a connection, TLS, and GET /v2/, as containerd would do it. Every answer except
// 429 and 5xx means that it is healthy, even 401 and 404.
#pragma once

#include "domain/cause.hpp"
#include "mirror/hosts_file.hpp"
#include "mirror/name_lookups.hpp"
#include "mirror/proxy.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::mirror {

struct CheckLimits {
  std::chrono::nanoseconds connection = std::chrono::seconds(1);  // name, connection and TLS
  std::chrono::nanoseconds answer = std::chrono::seconds(3);      // after that
};

struct Failing {
  Cause cause = Cause::unknown;
  std::string text;
};

/// Empty: it is healthy. Takes no longer than both limits together. `trust`: a file of certificates, used
/// besides those that the upstream names; if it does not exist, the system's certificates are used.
boost::asio::awaitable<std::optional<Failing>> check(Upstream upstream, std::optional<Upstream> proxy,
                                                     CheckLimits limits, std::string trust,
                                                     std::shared_ptr<NameLookups> names);

/// Checks several hosts at once. Empty as soon as one is healthy; otherwise why the last one, the registry
/// itself, fails.
boost::asio::awaitable<std::optional<Failing>> checkAll(std::vector<Upstream> upstreams, Proxies proxies,
                                                        CheckLimits limits, std::string trust,
                                                        std::shared_ptr<NameLookups> names);

}  // namespace fallbackd::mirror
