// SPDX-License-Identifier: Apache-2.0
// What a stalled probe pull reveals about connections: which addresses are the registry's. Only containerd
// knows where it connects to (mirrors, the node's own DNS), and its other pulls open connections, too.
// So an address counts only if a second pull, at its very beginning, connects to where the first one got
// stuck.
#include "base/async/pause.hpp"
#include "watcher/probe_pulls.hpp"
#include "watcher/watched_pull.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::watcher {

namespace {

using namespace std::chrono_literals;

// A pull connects to its next host within milliseconds, unless names are slow to resolve.
constexpr std::chrono::nanoseconds kConnectsWithin = 250ms;
constexpr std::chrono::nanoseconds kFirstLooks = 10ms;
constexpr std::chrono::nanoseconds kLaterLooks = 100ms;
// Each one finds at least one more address.
constexpr int kMaxWalks = 6;
constexpr std::size_t kMaxWalking = 4;
constexpr int kDownloadFactor = 5;
constexpr std::chrono::nanoseconds kMaxPatience = 60s;
// A registry that is slow but not dead answers within this time. Shorter than a lingering pull may stand
// still, so that it turns to the next mirror in the end.
constexpr std::chrono::nanoseconds kSpared = 40s;

}  // namespace

/// Addresses where the pull got stuck: of connections that were made since it began, stand still as it does
/// and wait for an answer. Idle ones had theirs, and may be other pulls'.
std::set<std::string> ProbePulls::stillPeers(const Pull& pull) const {
  std::set<std::string> waiting;
  const auto now = clock_.now();
  for (const auto& [cookie, seen] : unsticker_.connections().all()) {
    const auto& one = seen.at;
    // The pull began a little earlier than its connections.
    if (pull.before.contains(cookie) || now - seen.active < limitOf(one, pull.limits) / 2) continue;
    if (one.bytes == 0 || one.sinceSent <= one.sinceReceived) waiting.insert(one.peer);
  }
  return waiting;
}

/// Some registries answer at once and take their time before each layer: kubelet's pull would succeed.
PullLimits ProbePulls::unstickLimits(const Pull& pull) {
  auto limits = pull.limits;
  if (pull.watch.downloading()) {
    limits.response = std::max(limits.response, std::min(kDownloadFactor * limits.response, kMaxPatience));
  }
  return limits;
}

Stamp ProbePulls::verdictValidUntil(const Pull& pull) const {
  return later(clock_.now(), 2 * reprobeInterval_ + unstickLimits(pull).response);
}

/// The verdict of an image that only an annotation names decides nothing for other namespaces: their pulls
/// share the addresses. True if the pull must not go on: another one takes its place.
bool ProbePulls::unstick(const std::shared_ptr<Pull>& pull,
                         const std::optional<cri::Credentials>& credentials) {
  if (pull->question.scope || !unsticker_.works()) return false;
  const auto& host = pull->question.reference.host();
  const auto still = stillPeers(*pull);
  std::set<std::string> certain;
  bool anyNew = false;
  for (const auto& peer : still) {
    const bool known = unsticker_.knows(host, peer);
    anyNew = anyNew || !known;
    if (known || peer == peerOf(pull->question.reference)) certain.insert(peer);
  }
  unsticker_.stalled(host, certain, unstickLimits(*pull), verdictValidUntil(*pull));
  if (!anyNew || walking_.contains(host) || walking_.size() >= kMaxWalking) return false;
  walking_.insert(host);
  tasks_.spawn(walk(pull, credentials, still));
  return true;
}

/// Pulls again until it is known where each host of the image is that stalls.
cri::Awaitable<void> ProbePulls::walk(std::shared_ptr<Pull> first,
                                      std::optional<cri::Credentials> credentials,
                                      std::set<std::string> suspects) {
  using namespace boost::asio::experimental::awaitable_operators;
  const auto question = first->question;
  const auto& host = question.reference.host();
  for (int i = 0; i < kMaxWalks; ++i) {
    const auto pull = begin(question, first->limits, credentials);
    const auto end = co_await (ended(pull) || untilStalled(pull) || meetAgain(pull, suspects));
    if (end.index() == 0) {
      // The mirrors that it passed are as dead as before: kubelet's pull still hangs there.
      const bool pulled = pull->outcome->kind == cri::PullOutcome::Kind::pulled;
      if (pulled && !cameFromNode(pull->question, pull->begun)) pulledLate(*pull);
      break;
    }
    tasks_.cancel(pull->task);
    const auto before = suspects.size();
    suspects.merge(stillPeers(*pull));
    if (suspects.size() == before) break;
  }
  walking_.erase(host);
}

/// Looks out for connections of this pull to addresses where an earlier one got stuck, ends them so that it
/// turns to its next host, and reports the addresses. Never returns.
cri::Awaitable<void> ProbePulls::meetAgain(std::shared_ptr<Pull> pull, std::set<std::string> suspects) {
  const auto& host = pull->question.reference.host();
  std::set<std::uint64_t> met = pull->before;
  auto turned = pull->begun;
  for (;;) {
    unsticker_.look();
    std::map<std::string, std::vector<StillConnections::Seen>> fresh;
    for (const auto& [cookie, seen] : unsticker_.connections().all()) {
      const bool isNew = !met.contains(cookie) && seen.first - turned <= kConnectsWithin;
      if (isNew && suspects.contains(seen.at.peer)) fresh[seen.at.peer].push_back(seen);
    }
    for (const auto& [peer, connections] : fresh) {
      for (const auto& one : connections) met.insert(one.at.cookie);
      // Of several, it is not known which one is ours. Before others are ended: their pulls connect again.
      if (connections.size() == 1 && unsticker_.end(host, connections.front().at)) turned = clock_.now();
      unsticker_.stalled(host, {peer}, unstickLimits(*pull), verdictValidUntil(*pull));
    }
    co_await pauseFor(clock_.now() - turned <= kConnectsWithin ? kFirstLooks : kLaterLooks);
  }
}

/// Leaves the connection of our own pull alone, where it can be distinguished from others: a registry that is
/// slow but not dead answers it in the end, and is then known to be slow.
cri::Awaitable<void> ProbePulls::spareOwn(std::shared_ptr<Pull> pull) {
  co_await pauseFor(std::min(kConnectsWithin, pull->limits.stall / 3));
  unsticker_.look();
  std::vector<std::uint64_t> own;
  for (const auto& [cookie, seen] : unsticker_.connections().all()) {
    const bool isNew = !pull->before.contains(cookie);
    if (isNew && unsticker_.knows(pull->question.reference.host(), seen.at.peer)) own.push_back(cookie);
  }
  if (own.size() == 1) unsticker_.spare(own.front(), later(pull->begun, kSpared));
}

}  // namespace fallbackd::watcher
