// SPDX-License-Identifier: Apache-2.0
// Which of containerd's connections are ended so that a hanging pull fails at once: those that stand still,
// to an address of a registry that is known to time out. Pure: looks, verdicts and times are handed in.
#pragma once

#include "base/clock.hpp"
#include "sys/tcp_sockets.hpp"
#include "watcher/pull_watch.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

/// What was done with a stalled connection. The words are label values of a metric.
enum class UnstickResult : std::uint8_t {
  ended,
  gone,           // it had ended by itself
  proxy,          // left alone: other registries are behind it
  not_permitted,  // no NET_ADMIN in the runtime's network namespace
  not_supported,  // a kernel without CONFIG_INET_DIAG_DESTROY
  failed,
};
inline constexpr std::size_t kUnstickResults = 6;
std::string_view toString(UnstickResult result);

struct Unstuck {
  std::string registry;
  std::string peer;
  UnstickResult result = UnstickResult::ended;
  std::chrono::nanoseconds silent{};
  std::string error = {};  // of failed
};

/// A registry whose verdict is timeout.
struct StalledRegistry {
  std::set<std::string> peers;  // its addresses and those of its mirrors, as sys::TcpConnection has them
  PullLimits limits;
  Stamp until;  // the verdict counts until then
};
using StalledRegistries = std::map<std::string, StalledRegistry>;  // by host

/// Since when each connection stands still.
class StillConnections {
 public:
  struct Seen {
    std::uint64_t inode = 0;
    sys::TcpConnection at;
    Stamp first;   // look at which it was there
    Stamp active;  // when something came, was sent, or it was made; of one being made, the first look
  };

  void look(const sys::TcpConnections& now, Stamp at);
  [[nodiscard]] const std::map<std::uint64_t, Seen>& all() const { return seen_; }  // by cookie

 private:
  std::map<std::uint64_t, Seen> seen_;
};

/// How long this connection may stand still. One that has received something gets the time of an answer, and
/// so does one that waits for the first answer; before that, while it is being made, the shorter one counts.
std::chrono::nanoseconds limitOf(const sys::TcpConnection& one, const PullLimits& limits);

struct Due {
  std::string registry;
  std::uint64_t cookie = 0;
  sys::TcpConnection connection;
  std::chrono::nanoseconds silent{};
};

struct Decision {
  std::vector<Due> due;
  std::optional<Stamp> next;  // when another one is due, if nothing moves until then
};

/// `spared`: connections that are left alone until then, by cookie. Where several registries share an
/// address, the longest of their limits counts.
Decision decide(const StillConnections& connections, const StalledRegistries& registries,
                const std::map<std::uint64_t, Stamp>& spared, Stamp now);

/// The proxies of a process's environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY), as HOST:PORT. `environment`:
/// the text of /proc/PID/environ.
std::set<std::string> proxiesIn(std::string_view environment);

/// A proxy that is given by name, not by address, may be at any address: its port decides.
bool mayBeProxy(const std::string& peer, const std::set<std::string>& proxies);

}  // namespace fallbackd::watcher
