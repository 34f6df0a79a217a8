// SPDX-License-Identifier: Apache-2.0
// Stand-ins as the recovery sees them. Interfaces, so that its tests run with fakes. On the daemon's loop.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "standin/order.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::standin {

/// How long each step of making one took.
struct Times {
  Monotonic::duration image{};
  Monotonic::duration create{};
  Monotonic::duration start{};
};

/// A container that runs. Destroying this leaves it as it is.
class StandIn {
 public:
  virtual ~StandIn() = default;
  [[nodiscard]] virtual const std::string& containerId() const = 0;
  [[nodiscard]] virtual const Times& times() const = 0;
  /// The kernel killed the fallback for memory; before exit(), so that kubelet shows it as the reason.
  virtual boost::asio::awaitable<void> outOfMemory() = 0;
  /// Waits until its process gets a signal, and gives the number of the first; 0 once the process has ended.
  /// No signal is lost: one that came while no daemon listened is given, and each call gives the same number,
  /// since a caller that also waits for something else may have dropped an earlier answer.
  virtual boost::asio::awaitable<int> signalled() = 0;
  /// Ends its process with this exit code; the container stays, as one that ended. For a short time at most.
  virtual boost::asio::awaitable<void> exit(int code) = 0;
};

/// What its stand-in is removed from. One that serves on needs a link to its log of its own again.
enum class Fallback : std::uint8_t { serves, ended };

class StandIns {
 public:
  virtual ~StandIns() = default;
  /// Makes and starts one; removes the container's earlier ones, except the latest, which kubelet may show.
  /// Leaves nothing behind on failure, if the runtime lets it. Reason already_exists: the real container is
  /// there; not_ready: kubelet would not start it yet; sandbox_changed: it is not a sandbox for one. Stage
  /// run: it may run all the same.
  virtual boost::asio::awaitable<Result<std::unique_ptr<StandIn>>> make(Request request) = 0;
  /// The running one of an earlier daemon; null if there is none.
  virtual boost::asio::awaitable<Result<std::unique_ptr<StandIn>>> find(std::string recoveryId) = 0;
  /// Stops and removes all of one container, also those that have ended, and their images.
  virtual boost::asio::awaitable<Result<>> removeAll(std::string sandboxId, std::string container,
                                                     Fallback fallback) = 0;
  /// The same for all whose fallback has ended: that belong to no recovery for which `isKept` holds by then.
  /// Gives their number. One that cannot be removed does not keep the others; then it is the last error.
  virtual boost::asio::awaitable<Result<std::size_t>> removeOthers(
      std::function<bool(const std::string& recoveryId)> isKept) = 0;
};

/// The exit code that a runtime shows for a process that ended by a signal.
constexpr int exitCodeOfSignal(int number) {
  return 128 + number;
}

}  // namespace fallbackd::standin
