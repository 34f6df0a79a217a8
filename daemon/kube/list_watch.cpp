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
// How much longer than that a watch may be silent before it counts as dead. The kernel finds most dead peers
// earlier.
constexpr auto kWatchGrace = 30s;
// A watch that ends earlier without an error is not repeated at once.
constexpr auto kMinWatch = 1s;
constexpr Backoff::Limits kTries{1s, 60s};
constexpr std::chrono::seconds kMaxRetryAfter = 5min;
constexpr std::size_t kPageSize = 500;
// The divisor after a page that was too large. It makes few steps, because each may read up to the limit; the
// last one has a single object, which always fits.
constexpr std::size_t kSmaller = 8;
// 100 full pages are more than any cluster has. If there are more, they are small because the objects are
// large.
constexpr std::size_t kMaxPages = 1000;

/// The cached version or the page has expired, or is not available yet: a list from etcd helps. Any other 504
/// is different: an overloaded server should not have to read all pods from etcd for each node.
bool isAboutVersions(const Answer& answer) {
  return answer.status == 410 ||
         (answer.status == 504 && answer.body.find("resource version") != std::string::npos);
}

}  // namespace

ListWatch::ListWatch(const asio::any_io_executor& executor, AccessSource access, Collection collection,
                     CollectionSink& sink, StateKeeper state, AnswerLimits limits)
    : clock_(LoopClock::of(executor)),
      access_(std::move(access)),
      collection_(std::move(collection)),
      sink_(sink),
      state_(std::move(state)),
      limits_(limits),
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
  // The API server's history is short. An immediate list helps, unless that has just been tried.
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

ListWatch::Trouble ListWatch::failed(const Error& error) {
  return {error, outcomeOf(error), {}};
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

asio::awaitable<Result<Connection>> ListWatch::connect() {
  FB_CO_TRY(auto access, access_());
  co_return co_await Connection::open(std::move(access), kConnectLimit, limits_);
}

/// Reads from the watch cache, which finds the pods of one node without reading all others, unless etcd is
/// needed.
std::string ListWatch::listTarget(const Pages& pages) const {
  auto asked = target("limit=" + std::to_string(pages.limit));
  if (!pages.more.empty()) {
    asked += "&continue=" + queryEscaped(pages.more);
  } else if (version_.empty() && !fromEtcd_) {
    asked += "&resourceVersion=0";
  } else if (!fromEtcd_) {
    asked += "&resourceVersion=" + queryEscaped(version_) + "&resourceVersionMatch=NotOlderThan";
  }
  return asked;
}

asio::awaitable<ListWatch::Step> ListWatch::list() {
  Pages pages{kPageSize, {}, {}};
  std::optional<Connection> connection;
  sink_.listBegins();
  for (std::size_t asked = 0; asked < kMaxPages; ++asked) {
    auto step = co_await listPage(connection, pages);
    if (step) co_return step;
    if (!pages.version.empty() && pages.more.empty()) {
      listDone(std::move(pages));
      co_return Step();
    }
  }
  co_return failed(
      fail(Stage::kube, Reason::too_large, "list " + collection_.what + ": too many pages").value());
}

/// A page that is too large is requested again at once with fewer objects: the same request would have the
/// same answer. It then comes from etcd, because the watch cache sends all objects whatever the limit is.
asio::awaitable<ListWatch::Step> ListWatch::listPage(std::optional<Connection>& connection, Pages& pages) {
  if (!connection) {
    auto opened = co_await connect();
    if (!opened) co_return failed(opened.error());
    connection.emplace(std::move(*opened));
  }
  auto asked = listTarget(pages);
  auto accept = collection_.listAccept;
  auto answer = co_await connection->get(std::move(asked), kListLimit, std::move(accept));
  if (!answer && answer.error().reason == Reason::too_large && pages.limit > 1) {
    state_.noted(answer.error(), Outcome::too_large);
    fromEtcd_ = true;
    pages.limit = std::max<std::size_t>(1, pages.limit / kSmaller);
    connection.reset();
    co_return Step();
  }
  if (!answer) co_return failed(answer.error());
  // The next page needs a new connection.
  if (!answer->keepsOpen) connection.reset();
  if (answer->status != 200) {
    fromEtcd_ = isAboutVersions(*answer);
    co_return refused(*answer, "list");
  }
  co_return takePage(answer->body, pages);
}

ListWatch::Step ListWatch::takePage(const std::string& body, Pages& pages) {
  auto page = parseList(body, collection_.listKind);
  if (!page) return failed(page.error());
  if (page->resourceVersion.empty()) {
    return failed(
        fail(Stage::kube, Reason::protocol, "list " + collection_.what + ": it has no resourceVersion")
            .value());
  }
  sink_.listed(std::move(page->items));
  pages.version = std::move(page->resourceVersion);
  pages.more = std::move(page->more);
  // After the large objects there may be thousands of small ones.
  if (body.size() < limits_.bodyBytes / 4) pages.limit = std::min(kPageSize, pages.limit * 2);
  return std::nullopt;
}

void ListWatch::listDone(Pages pages) {
  version_ = std::move(pages.version);
  fromEtcd_ = false;
  missed_ = false;
  synced_ = true;
  backoff_.reset();
  sink_.listEnds();
  state_.succeeded();
}

asio::awaitable<ListWatch::Step> ListWatch::watch() {
  auto connection = co_await connect();
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
  if (missed_) synced_ = false;
  co_return co_await endOfWatch(std::move(end), clock_.now() - began);
}

asio::awaitable<ListWatch::Step> ListWatch::endOfWatch(Step end, std::chrono::nanoseconds lasted) {
  const bool tooShort = lasted < kMinWatch;
  if (!tooShort) backoff_.reset();
  // Load balancers cut quiet connections, and servers restart: not worth reporting unless the next connection
  // fails, too.
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
    if ((*line)->skipped) {
      missed(fail(Stage::kube, Reason::too_large, "watch " + collection_.what + ": a change is too large")
                 .value(),
             Outcome::too_large);
      continue;
    }
    auto step = take((*line)->text);
    if (step) co_return step;
  }
}

/// An object's author must not hide what happens to other objects: the watch goes on. Everything is listed
/// when it has ended, not at once, because the author could make us list as often as the object changes.
void ListWatch::missed(const Error& error, Outcome outcome) {
  missed_ = true;
  state_.noted(error, outcome);
}

ListWatch::Step ListWatch::take(const std::string& line) {
  // The line may have been a change: list everything again.
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
  if (!taken) missed(taken.error(), Outcome::malformed);
  goneBefore_ = false;
  version_ = std::move(event->resourceVersion);
  return std::nullopt;
}

}  // namespace fallbackd::kube
