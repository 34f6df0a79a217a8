// SPDX-License-Identifier: Apache-2.0
// Ways to start the same program, for bench_launch: all measured in the same way, from the start command to
// an accepted connection.
#pragma once

#include "base/clock.hpp"
#include "containerd_node.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace fallbackd::bench {

struct Contender {
  std::string name;
  std::string ip = "127.0.0.1";
  std::uint16_t port = 0;
  std::function<Result<>()> start;  // may return before or after the program listens
  std::function<Result<>()> stop;   // returns once it has ended
  /// The time of the start order; called after stop. Empty: the time when `start` was called. Without it, a
  /// contender with its own thread would also pay for waking the thread.
  std::function<Stamp()> began = {};
};

/// One start, in milliseconds. Meanwhile a second thread tries to connect about every 100 us.
Result<double> timeOnce(const Contender& contender);

/// posix_spawn of the health check, then of the server.
Contender bareSpawn(const std::filesystem::path& program, std::uint16_t port);

/// `runc run --detach` of a bundle below `folder`, without a network namespace: it needs no CNI.
Result<Contender> runcRun(const std::filesystem::path& program, const std::filesystem::path& folder,
                          std::uint16_t port);

/// `ctr run --detach --net-host` of an image that is already unpacked.
Result<Contender> ctrRun(const e2e::ContainerdNode& node, const std::filesystem::path& program,
                         std::uint16_t port);

}  // namespace fallbackd::bench
