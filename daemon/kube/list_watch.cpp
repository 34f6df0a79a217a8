// SPDX-License-Identifier: Apache-2.0
#include "kube/list_watch.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"
#include "base/query.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::kube {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kConnectLimit = 10s;
constexpr auto kListLimit = 60s;
constexpr auto kWatchHeadLimit = 30s;
// A watch of 5 to 10 minutes, as Kubernetes' own clients have: 5,000 nodes make 11 requests a second.
constexpr auto kWatchLength = 450s;
// How much longer than that it may be silent before it counts as dead. The kernel finds most dead peers
// earlier.
constexpr auto kWatchGrace = 30s;
// A watch that ends earlier without a word is not repeated at once.
constexpr auto kMinWatch = 1s;
constexpr Backoff::Limits kTries{1s, 60s};
constexpr std::chrono::seconds kMaxRetryAfter = 5min;
constexpr const char* kPageSize = "500";
constexpr std::size_t kMaxPages = 100;

/// The cached version or the page has expired, or is not available yet: a list from etcd helps. Any other 504
/// is different: an overloaded server should not have to read all pods from etcd for each node.
bool isAboutVersions(const Answer& answer) {
  return answer.status == 410 ||
         (answer.status == 504 && answer.body.find("resource version") != std::string::npos);
}

}  // namespace

ListWatch::ListWatch(const asio::any_io_executor& executor, AccessSource access, Collection collection,
                     CollectionSink& sink, StateKeeper state)
    : clock_(LoopClock::of(executor)),
      access_(std::move(access)),
      collection_(std::move(collection)),
      sink_(sink),
      state_(std::move(state)),
      backoff_(kTries) {}

asio::awaitable<void> ListWatch::run() {
  for (;;) {
    // GCC 12 miscompiles co_await in a conditional operator.
    Step step;
    if (synced_) {
      step = co_await watch();
    } else {
      step = co_await list();
    }
    if (step) co_await recover(std::move(*step));
  }
}

std::string ListWatch::target(const std::string& parameters) const {
  const bool selects = collection_.target.find('?') != std::string::npos;
  return collection_.target + (selects ? "&" : "?") + parameters;
}

/// Reports the trouble, and waits until another try makes sense.
asio::awaitable<void> ListWatch::recover(Trouble trouble) {
  // Histories are short. An immediate list helps, unless it has just been tried.
  if (trouble.outcome == Outcome::gone && !std::exchange(goneBefore_, true)) {
    state_.noted(trouble.error, trouble.outcome);
    co_return;
  }
  state_.failed(trouble.error, trouble.outcome);
  auto pause = jitter_(backoff_.next());
  // Limited: otherwise a server could silence us for ever.
  if (trouble.retryAfter) pause = std::max(pause, jitter_(std::min(*trouble.retryAfter, kMaxRetryAfter)));
  co_await pauseFor(pause);
}

ListWatch::Step ListWatch::refused(const Answer& answer, const char* verb) {
  const auto outcome = outcomeOf(answer.status);
  std::string text = std::string(verb) + " " + collection_.what + ": the API server answered " +
                     std::to_string(answer.status);
  auto reason = Reason::unavailable;
  if (outcome == Outcome::unauthorized) {
    text += ": it does not accept our token or certificate";
    reason = Reason::not_permitted;
  } else if (outcome == Outcome::forbidden) {
    text += ": a ClusterRole that allows to list and watch " + collection_.what + " is missing";
    reason = Reason::not_permitted;
  }
  text += ": " + messageOf(answer.body);
  return Trouble{fail(Stage::kube, reason, std::move(text)).value(), outcome, answer.retryAfter};
}

/// From the watch cache, which finds the pods of one node without reading all others.
asio::awaitable<ListWatch::Step> ListWatch::list() {
  const auto failed = [](const Error& error) { return Trouble{error, outcomeOf(error), {}}; };
  auto access = access_();
  if (!access) co_return failed(access.error());
  auto connection = co_await Connection::open(std::move(*access), kConnectLimit);
  if (!connection) co_return failed(connection.error());
  sink_.listBegins();
  std::string version;
  std::string more;
  for (std::size_t pages = 0; pages < kMaxPages; ++pages) {
    auto asked = target("limit=" + std::string(kPageSize));
    if (!more.empty()) {
      asked += "&continue=" + queryEscaped(more);
    } else if (version_.empty() && !fromEtcd_) {
      asked += "&resourceVersion=0";
    } else if (!fromEtcd_) {
      asked += "&resourceVersion=" + queryEscaped(version_) + "&resourceVersionMatch=NotOlderThan";
    }
    auto accept = collection_.listAccept;
    auto answer = co_await connection->get(std::move(asked), kListLimit, std::move(accept));
    if (!answer) co_return failed(answer.error());
    if (answer->status != 200) {
      fromEtcd_ = isAboutVersions(*answer);
      co_return refused(*answer, "list");
    }
    auto page = parseList(answer->body, collection_.listKind);
    if (!page) co_return failed(page.error());
    if (page->resourceVersion.empty()) {
      co_return failed(
          fail(Stage::kube, Reason::protocol, "list " + collection_.what + ": it has no resourceVersion")
              .value());
    }
    sink_.listed(std::move(page->items));
    version = std::move(page->resourceVersion);
    more = std::move(page->more);
    if (more.empty()) break;
  }
  if (!more.empty()) {
    co_return failed(
        fail(Stage::kube, Reason::too_large, "list " + collection_.what + ": too many pages").value());
  }
  version_ = std::move(version);
  fromEtcd_ = false;
  synced_ = true;
  backoff_.reset();
  sink_.listEnds();
  state_.succeeded();
  co_return Step();
}

asio::awaitable<ListWatch::Step> ListWatch::watch() {
  const auto failed = [](const Error& error) { return Trouble{error, outcomeOf(error), {}}; };
  auto access = access_();
  if (!access) co_return failed(access.error());
  auto connection = co_await Connection::open(std::move(*access), kConnectLimit);
  if (!connection) co_return failed(connection.error());
  const auto length = std::chrono::duration_cast<std::chrono::seconds>(jitter_(kWatchLength));
  const auto began = clock_.now();
  // Named: GCC 12 destroys temporaries in a co_await expression twice.
  auto asked = target("watch=1&allowWatchBookmarks=true&resourceVersion=" + queryEscaped(version_) +
                      "&timeoutSeconds=" + std::to_string(length.count()));
  auto accept = collection_.watchAccept;
  auto answer = co_await connection->openStream(std::move(asked), kWatchHeadLimit, std::move(accept));
  if (!answer) co_return failed(answer.error());
  if (answer->status == 410) synced_ = false;
  if (answer->status != 200) co_return refused(*answer, "watch");
  state_.succeeded();
  auto end = co_await follow(*connection, began + length + kWatchGrace);
  co_return co_await endOfWatch(std::move(end), clock_.now() - began);
}

asio::awaitable<ListWatch::Step> ListWatch::endOfWatch(Step end, std::chrono::nanoseconds lasted) {
  const bool tooShort = lasted < kMinWatch;
  if (!tooShort) backoff_.reset();
  // Load balancers cut quiet connections, and servers restart: not worth reporting unless the next connection
  // fails as well.
  const bool cut = end && end->outcome == Outcome::unreachable;
  if (end && (tooShort || !cut)) co_return end;
  if (cut) state_.noted(end->error, end->outcome);
  if (cut || tooShort) co_await pauseFor(jitter_(kMinWatch));
  co_return Step();
}

asio::awaitable<ListWatch::Step> ListWatch::follow(Connection& connection, Stamp deadline) {
  for (;;) {
    auto line = co_await connection.nextLine(deadline);
    if (!line) co_return Trouble{line.error(), outcomeOf(line.error()), {}};
    if (!*line) co_return Step();
    auto step = take(**line);
    if (step) co_return step;
  }
}

ListWatch::Step ListWatch::take(const std::string& line) {
  // It may have been a change: list everything again.
  const auto malformed = [&](const Error& error) {
    synced_ = false;
    return Trouble{error, Outcome::malformed, {}};
  };
  auto event = parseWatchEvent(line);
  if (!event) return malformed(event.error());
  if (event->kind == WatchEvent::Kind::error) {
    const auto outcome = event->code == 0 ? Outcome::server_error : outcomeOf(event->code);
    if (outcome == Outcome::gone) synced_ = false;
    auto text = "watch " + collection_.what + ": the API server ended it with " +
                std::to_string(event->code) + ": " + event->message;
    return Trouble{fail(Stage::kube, Reason::unavailable, std::move(text)).value(), outcome, {}};
  }
  Result<> taken;
  if (event->kind == WatchEvent::Kind::changed) taken = sink_.changed(std::move(event->object));
  if (event->kind == WatchEvent::Kind::gone) taken = sink_.gone(std::move(event->object));
  if (!taken) return malformed(taken.error());
  goneBefore_ = false;
  version_ = std::move(event->resourceVersion);
  return std::nullopt;
}

}  // namespace fallbackd::kube
