// SPDX-License-Identifier: Apache-2.0
#include "watcher/subscription.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"

#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::watcher {

using namespace std::chrono_literals;

namespace {

constexpr auto kFirstReconnect = 50ms;
constexpr auto kLastReconnect = 2s;

}  // namespace

Subscription::Subscription(boost::asio::any_io_executor executor, cri::Runtime& runtime,
                           cri::EventSource& events, Subscriber& subscriber,
                           std::chrono::nanoseconds resyncInterval)
    : clock_(LoopClock::of(executor)),
      runtime_(runtime),
      events_(events),
      subscriber_(subscriber),
      resyncInterval_(resyncInterval) {}

cri::Awaitable<void> Subscription::run() {
  Backoff delay({kFirstReconnect, kLastReconnect});
  for (;;) {
    const auto began = clock_.now();
    const auto ended = co_await follow();
    subscriber_.connection(false, ended ? std::string() : ended.error().message());
    if (clock_.now() - began > kLastReconnect) delay.reset();
    co_await pauseFor(jittered_(delay.next()));
  }
}

/// One life of the event stream. The subscription stands before the lists are taken, so nothing is lost
/// between them.
cri::Awaitable<Result<>> Subscription::follow() {
  using namespace boost::asio::experimental::awaitable_operators;
  auto stream = co_await events_.subscribe();
  if (!stream) co_return tl::unexpected<Error>(stream.error());
  auto lists = co_await takeFirstLists();
  if (!lists) co_return tl::unexpected<Error>(lists.error());
  co_await subscriber_.listed(std::move(*lists));
  subscriber_.connection(true, {});
  const std::variant<Error, std::monostate> first = co_await (followEvents(**stream) || resyncRegularly());
  if (first.index() == 0) co_return tl::unexpected<Error>(std::get<0>(first));
  co_return fail(Stage::containerd, Reason::unavailable, "resync failed");
}

cri::Awaitable<Error> Subscription::followEvents(cri::EventStream& stream) {
  for (;;) {
    auto event = co_await stream.next();
    if (!event) co_return event.error();
    co_await subscriber_.happened(std::move(*event));
  }
}

/// Ends when a list fails: then the connection is set up again.
cri::Awaitable<void> Subscription::resyncRegularly() {
  for (;;) {
    co_await pauseFor(jittered_(resyncInterval_));
    const auto synced = co_await resync();
    if (!synced) co_return;
  }
}

/// Containers first: a container created between the two lists belongs to a sandbox that is older still, and
/// a sandbox that is newer than the container list has its container's own event.
cri::Awaitable<Result<Lists>> Subscription::takeLists() {
  const auto asked = clock_.now();
  auto containers = co_await runtime_.listContainers();
  if (!containers) co_return tl::unexpected<Error>(containers.error());
  auto sandboxes = co_await runtime_.listSandboxes();
  if (!sandboxes) co_return tl::unexpected<Error>(sandboxes.error());
  Lists lists{asked, std::move(*containers), std::move(*sandboxes)};
  co_return lists;
}

/// CRI lists what has been made. What is being made has an event to come, or is in containerd's store by now.
cri::Awaitable<Result<Lists>> Subscription::takeFirstLists() {
  auto lists = co_await takeLists();
  if (!lists) co_return lists;
  auto stored = co_await runtime_.storedIds();
  if (!stored) {
    lists->storeSilent = std::move(stored.error());
    co_return lists;
  }
  auto& beingMade = lists->beingMade.emplace(stored->begin(), stored->end());
  for (const auto& one : lists->sandboxes) beingMade.erase(one.id);
  for (const auto& one : lists->containers) beingMade.erase(one.id);
  co_return lists;
}

cri::Awaitable<Result<>> Subscription::resync() {
  auto lists = co_await takeLists();
  if (!lists) co_return tl::unexpected<Error>(lists.error());
  co_await subscriber_.listed(std::move(*lists));
  co_return Result<>{};
}

}  // namespace fallbackd::watcher
