// SPDX-License-Identifier: Apache-2.0
#include "watcher/wire.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

namespace {

using State = sys::TcpConnection::State;

// Manifests and tokens are small; what has received more is a download.
constexpr std::uint64_t kMaxSmall = 256 << 10;

/// When the connection did something last, as the kernel remembers it.
Stamp lastActive(const sys::TcpConnection& one, Stamp at) {
  if (one.unread > 0) return at;  // it has come: it is the reader that is slow
  return at - (one.bytes > 0 ? std::min(one.sinceSent, one.sinceReceived) : one.sinceSent);
}

bool speaksTls(const sys::TcpConnection& one) {
  return one.peer.ends_with(":443");
}

}  // namespace

void Wire::move(const sys::TcpConnection& one, Stamp when) {
  movedAny_ = std::max(movedAny_.value_or(when), when);
  if (one.bytes <= kMaxSmall) movedSmall_ = std::max(movedSmall_.value_or(when), when);
}

Wire::Seen Wire::follow(const sys::TcpConnection& one, const Seen* before, Stamp at) {
  if (one.state == State::connecting) return {one, before == nullptr ? at : before->active};
  const Seen seen{one, lastActive(one, at)};
  const bool wasConnected = before != nullptr && before->at.state == State::established;
  const bool grew = one.unread > 0 || one.bytes > (wasConnected ? before->at.bytes : 0);
  const bool sent = !wasConnected || one.acknowledged + one.unacknowledged >
                                         before->at.acknowledged + before->at.unacknowledged;
  if (grew || sent) move(one, seen.active);
  if (grew && one.bytes <= kMaxSmall && before != nullptr) {
    // If something was sent since the last look, the silence before it was ours.
    const auto from = sent ? at - one.sinceSent : before->active;
    const auto to = one.unread > 0 ? at : at - one.sinceReceived;
    longestSilence_ = std::max<std::chrono::nanoseconds>(longestSilence_, to - from);
  }
  return seen;
}

void Wire::look(std::optional<sys::TcpConnections> now, Stamp at) {
  visible_ = before_.has_value() && now.has_value();
  if (!visible_) return;
  std::erase_if(*now, [&](const auto& one) { return before_->contains(one.first); });
  knowsPeer_ = !peer_.empty() && std::any_of(now->begin(), now->end(),
                                             [&](const auto& one) { return one.second.peer == peer_; });
  if (knowsPeer_) {
    std::erase_if(*now, [&](const auto& one) { return one.second.peer != peer_; });
  }
  std::map<std::uint64_t, Seen> seen;
  const Seen* current = nullptr;
  bool turns = !last_.empty();  // to another host: it is being connected, and nothing before it still is
  bool connecting = false;
  for (const auto& [inode, one] : *now) {
    const auto known = last_.find(inode);
    const Seen* before = known == last_.end() ? nullptr : &known->second;
    const auto entry = seen.emplace(inode, follow(one, before, at)).first;
    if (current == nullptr || entry->second.active >= current->active) current = &entry->second;
    if (one.state != State::connecting) continue;
    connecting = true;
    turns = turns && before == nullptr;
  }
  if (turns && connecting) move({}, at);
  connected_ = current != nullptr && current->at.state == State::established &&
               current->at.unacknowledged == 0 && (current->at.bytes > 0 || !speaksTls(current->at));
  last_ = std::move(seen);
}

}  // namespace fallbackd::watcher
