// SPDX-License-Identifier: Apache-2.0
// What the runtime's network connections show of one pull: whether it is still being connected, whether the
// registry answers, and when something moved last. Pure: looks and times are handed in.
#pragma once

#include "base/clock.hpp"
#include "sys/tcp_sockets.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <string>

namespace fallbackd::watcher {

/// Counts connections that were opened since the pull began: containerd opens its own for every pull. They
/// may be another pull's. So only what is small counts before a download of ours is under way (Scope::small),
/// and where `peer` has connections, only those count at all.
class Wire {
 public:
  /// `before`: the connections at the beginning; nothing if they cannot be seen. `peer`: the registry's
  /// address as sys::TcpConnection has it, where the reference names one; otherwise empty.
  Wire(std::optional<sys::TcpConnections> before, std::string peer)
      : before_(std::move(before)), peer_(std::move(peer)), visible_(before_.has_value()) {}

  void look(std::optional<sys::TcpConnections> now, Stamp at);

  /// False if connections cannot be seen: then nothing else here means anything.
  [[nodiscard]] bool visible() const { return visible_; }

  /// The connection that was last active is established, and the peer has acknowledged what was sent. At port
  /// 443, the peer has also begun its part of the TLS handshake.
  [[nodiscard]] bool connected() const { return connected_; }

  /// The registry's own connections can be distinguished from others.
  [[nodiscard]] bool knowsPeer() const { return knowsPeer_; }

  enum class Scope : std::uint8_t { small, all };
  /// When bytes came, were sent, or the pull turned to another host.
  [[nodiscard]] std::optional<Stamp> moved(Scope scope) const {
    return scope == Scope::all ? movedAny_ : movedSmall_;
  }

  /// The longest silence after which a peer went on, among small connections.
  [[nodiscard]] std::chrono::nanoseconds longestSilence() const { return longestSilence_; }

 private:
  struct Seen {
    sys::TcpConnection at;
    Stamp active;  // when it did something last
  };

  Seen follow(const sys::TcpConnection& one, const Seen* before, Stamp at);
  void move(const sys::TcpConnection& one, Stamp when);

  std::optional<sys::TcpConnections> before_;
  std::string peer_;
  bool visible_;
  bool connected_ = false;
  bool knowsPeer_ = false;
  std::optional<Stamp> movedAny_;
  std::optional<Stamp> movedSmall_;
  std::chrono::nanoseconds longestSilence_{};
  std::map<std::uint64_t, Seen> last_;  // by inode
};

}  // namespace fallbackd::watcher
