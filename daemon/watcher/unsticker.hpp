// SPDX-License-Identifier: Apache-2.0
// Ends containerd's stalled connections to registries that time out: kubelet's own pull would hang at them
// for half a minute or for ever, and with serialized pulls every other pull of the node behind it. One
// io_context thread.
#pragma once

#include "base/async/event.hpp"
#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "watcher/traffic.hpp"
#include "watcher/unstick.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::watcher {

class Unsticker {
 public:
  enum class State : std::uint8_t {
    untried,  // containerd has not been looked at yet
    ready,
    off,            // detection.unstick
    not_visible,    // containerd's connections cannot be seen
    not_permitted,  // no NET_ADMIN
    not_supported,  // by the kernel
  };
  using Counts = std::array<std::uint64_t, kUnstickResults>;  // by UnstickResult

  Unsticker(boost::asio::any_io_executor executor, Traffic& traffic);

  /// Receives a report of each connection; may be called from stalled() and later.
  void onUnstuck(std::function<void(const Unstuck&)> told) { told_ = std::move(told); }
  void enable(bool wanted);

  /// containerd's connections now; nothing if they cannot be seen. Remembers since when each stands still.
  std::optional<sys::TcpConnections> look();
  [[nodiscard]] const StillConnections& connections() const { return connections_; }

  /// Whether connections can be ended: asked for at the first call, and again while it is not known.
  bool works();
  [[nodiscard]] State state() const { return wanted_ ? state_ : State::off; }
  [[nodiscard]] const Counts& counts() const { return counts_; }

  /// A probe pull found that the host times out. `peers`: addresses that are known to be its own or its
  /// mirrors'; earlier ones stay known. Connections to them that stand still are ended until `until`.
  void stalled(const std::string& host, const std::set<std::string>& peers, const PullLimits& limits,
               Stamp until);
  /// The verdict is not timeout any more.
  void answered(const std::string& host);
  /// Whether this is known to be a host's address, and to time out.
  [[nodiscard]] bool knows(const std::string& host, const std::string& peer) const;
  [[nodiscard]] bool knows(const std::string& host) const { return registries_.contains(host); }

  /// A connection that is left alone until then.
  void spare(std::uint64_t cookie, Stamp until) { spared_[cookie] = until; }
  /// Ends one at once, whether it is due or not: one of our own pulls.
  bool end(const std::string& host, const sys::TcpConnection& connection);

 private:
  boost::asio::awaitable<void> watch();
  /// What was done with a connection that is due.
  struct Outcome {
    UnstickResult result = UnstickResult::failed;
    std::string error = {};  // of failed
  };
  void endDue();
  Outcome endOne(const Due& due, const Result<std::set<std::string>>& proxies);
  void count(const std::string& host, const sys::TcpConnection& connection, std::chrono::nanoseconds silent,
             UnstickResult result, std::string error = {});

  const Clock& clock_;
  Traffic& traffic_;
  std::function<void(const Unstuck&)> told_;
  bool wanted_ = true;
  State state_ = State::untried;
  Counts counts_{};
  StillConnections connections_;
  StalledRegistries registries_;
  std::map<std::uint64_t, Stamp> spared_;  // by cookie
  std::set<std::uint64_t> leftAlone_;      // reported already, by cookie
  std::set<std::uint64_t> failed_;         // reported already and tried again, by cookie
  bool watching_ = false;
  std::optional<Stamp> next_;  // when a connection is due
  Event changed_;
  TaskGroup tasks_;
};

/// As the status shows it: "ready", "off", "not permitted".
std::string_view toString(Unsticker::State state);

}  // namespace fallbackd::watcher
