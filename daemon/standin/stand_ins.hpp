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
  /// The kernel killed the fallback for lack of memory; before exit(), so that kubelet shows it as the
  /// reason.
  virtual boost::asio::awaitable<void> outOfMemory() = 0;
  /// Waits until its process gets a signal, and returns the number of the first; 0 once the process has
  /// ended. No signal is lost: one that came while no daemon listened is returned, and each call returns the
  /// same number, since a caller that also waits for something else may have dropped an earlier answer.
  virtual boost::asio::awaitable<int> signalled() = 0;
  /// Ends its process with this exit code; the container stays, as one that ended. Takes a short time at
  /// most.
  virtual boost::asio::awaitable<void> exit(int code) = 0;
};

/// The fallback whose stand-in is removed. One that goes on serving needs its own link to its log again.
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
  /// Stops and removes all of one container, including those that have ended, and their images.
  virtual boost::asio::awaitable<Result<>> removeAll(std::string sandboxId, std::string container,
                                                     Fallback fallback) = 0;
  /// The same for all whose fallback has ended: those that belong to no recovery for which `isKept` holds by
  /// then. Returns their number. If one cannot be removed, the others are; then the last error is returned.
  virtual boost::asio::awaitable<Result<std::size_t>> removeOthers(
      std::function<bool(const std::string& recoveryId)> isKept) = 0;
};

/// The exit code that a runtime shows for a process that ended by a signal.
constexpr int exitCodeOfSignal(int number) {
  return 128 + number;
}

}  // namespace fallbackd::standin
