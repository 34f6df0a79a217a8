// SPDX-License-Identifier: Apache-2.0
// When a fallback counts as serving: it accepts a connection, or responds, at the pod's address.
#pragma once

#include "base/error.hpp"
#include "config/model.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

/// Where a fallback is probed: inside the pod's own network namespace. There the pod's address is always
/// reachable, whatever namespace the daemon is in and whatever a NetworkPolicy lets it reach. (Kubelet's own
/// probes are exempt from policies; a daemon in the pod network is not.)
struct Place {
  std::string
      ip;  // the pod's, or the node's for a hostNetwork pod; empty: loopback, only inside that network
  std::shared_ptr<const sys::NamespaceFd> network = nullptr;  // null: the daemon's own
};

/// Over the network: the recovery itself runs commands.
///
/// Probes at once and then at growing intervals (0.5 to 20 ms) until the answer is good. Returns early only
/// when cancelled: the caller also watches the process. Stage readiness; reason not_ready with the last
/// answer after the workload's time limit. Any other reason means that it could not be probed, which says
/// nothing about the fallback.
boost::asio::awaitable<Result<>> waitReady(config::Readiness readiness, Place place);

/// A single probe, finished within `timeout`. The same stage and reasons.
boost::asio::awaitable<Result<>> askOnce(decltype(config::Liveness::when) how, Place place,
                                         std::chrono::nanoseconds timeout);

/// The port on which a fallback that is ready listens; nothing if its readiness does not name one.
std::optional<std::uint16_t> portOf(const config::Readiness& readiness);

/// "10.85.0.7:8080"; without the port if readiness has none, empty if the address is unknown.
std::string addressText(const std::string& ip, const config::Readiness& readiness);

}  // namespace fallbackd::launcher
