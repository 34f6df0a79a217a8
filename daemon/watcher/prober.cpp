#include "watcher/prober.hpp"

#include "watcher/classify.hpp"
#include "watcher/credentials.hpp"
#include "watcher/image_reference.hpp"
#include "watcher/progress.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::watcher {

namespace asio = boost::asio;

namespace {

// Two suffice to tell an ill image from an ill registry, and leave room for other hosts.
constexpr std::size_t kMaxOfHost = 2;
// So many looks fit into a stall timeout: a verdict is late by at most that part of it.
constexpr int kLooksPerTimeout = 4;
// containerd fills a buffer of 1 MiB before it writes any of it, so a download of 50 KB/s shows nothing in
// its store for 20 s, just as one that hangs. Where the connections themselves cannot be seen, what is on its
// way has so many times the timeout.
constexpr int kPieceFactor = 30;

/// What tells pulls apart: the same image with other credentials is another question.
std::string keyOf(const Question& question) {
  return question.credentialsFile.empty() ? question.reference
                                          : question.reference + "\n" + question.credentialsFile;
}

Verdict knownVerdict(Failure failure) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::failed;
  verdict.cause = failure.cause;
  verdict.text = std::move(failure.text);
  verdict.started = verdict.ended = Monotonic::now();
  return verdict;
}

}  // namespace

struct Prober::Flight {
  explicit Flight(const asio::any_io_executor& executor)
      : done(executor, asio::steady_timer::time_point::max()) {}
  Question question;
  std::string key;
  std::string host;
  bool ended = false;
  bool told = true;  // somebody knows the verdict, or there was no pull
  Verdict verdict;
  asio::steady_timer done;  // cancelled when the verdict is there
};

Prober::Prober(asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
               std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval,
               std::function<void(const std::string&)> reopened)
    : executor_(executor),
      runtime_(runtime),
      traffic_(traffic),
      maxConcurrent_(maxConcurrent),
      reprobeInterval_(reprobeInterval),
      reopened_(std::move(reopened)),
      random_(std::random_device{}()),
      freed_(executor, asio::steady_timer::time_point::max()),
      tasks_(executor) {}

void Prober::reconfigure(std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval) {
  maxConcurrent_ = maxConcurrent;
  reprobeInterval_ = reprobeInterval;
  freed_.cancel();
}

cri::Awaitable<Verdict> Prober::probe(Question question) {
  const auto key = keyOf(question);
  const auto host = registryHost(question.reference);
  if (!flights_.contains(key)) {
    if (auto failure = circuits_.known(host, key, Monotonic::now())) {
      co_return knownVerdict(std::move(*failure));
    }
    auto made = std::make_shared<Flight>(executor_);
    made->question = std::move(question);
    made->key = key;
    made->host = host;
    flights_.emplace(key, made);
    // A task of its own: a pod that goes away must not take the pull from the others that wait for it.
    tasks_.spawn(fly(made));
  }
  const auto flight = flights_.at(key);
  while (!flight->ended) {
    boost::system::error_code ignored;
    co_await flight->done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  Verdict verdict = flight->verdict;
  verdict.fresh = !std::exchange(flight->told, true);
  co_return verdict;
}

cri::Awaitable<void> Prober::fly(std::shared_ptr<Flight> flight) {
  while (running_ >= maxConcurrent_ || runningOf_[flight->host] >= kMaxOfHost) {
    // What others found out in the meantime counts for this one as well.
    if (circuits_.known(flight->host, flight->key, Monotonic::now())) break;
    boost::system::error_code ignored;
    co_await freed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (auto failure = circuits_.enter(flight->host, flight->key, Monotonic::now())) {
    flight->verdict = knownVerdict(std::move(*failure));
  } else {
    ++running_;
    ++runningOf_[flight->host];
    ++pullsSent_;
    flight->verdict = co_await pullWatched(flight->question);
    flight->told = false;
    --running_;
    if (--runningOf_[flight->host] == 0) runningOf_.erase(flight->host);
    settle(*flight);
    freed_.cancel();
  }
  flight->ended = true;
  flights_.erase(flight->key);
  flight->done.cancel();
}

void Prober::settle(const Flight& flight) {
  const auto& verdict = flight.verdict;
  const auto now = Monotonic::now();
  bool reopened = false;
  switch (verdict.kind) {
    case Verdict::Kind::pulled:
      reopened = circuits_.succeeded(flight.host, flight.key, now);
      break;
    case Verdict::Kind::failed: {
      // Nodes that lost a registry together must not ask it together.
      std::uniform_real_distribution<double> spread(0.8, 1.2);
      const auto pause = std::chrono::nanoseconds(
          static_cast<std::int64_t>(static_cast<double>(reprobeInterval_.count()) * spread(random_)));
      const Failure failure{verdict.cause, verdict.text};
      reopened = circuits_.failed(flight.host, flight.key, failure, now, pause);
      break;
    }
    case Verdict::Kind::undecided:
      circuits_.abandoned(flight.host, flight.key);
      break;
  }
  if (reopened) reopened_(flight.host);
}

/// Read each time, so that a rotated secret counts at once.
cri::Awaitable<Result<std::optional<cri::Credentials>>> Prober::credentialsOf(Question question) {
  const auto& file = question.credentialsFile;
  if (!reader_) co_return readCredentials(file, question.reference);
  const auto text = co_await reader_(file);
  if (!text) co_return tl::unexpected<Error>(text.error());
  co_return parseCredentials(*text, question.reference, file);
}

cri::Awaitable<Verdict> Prober::pullWatched(Question question) {
  using namespace asio::experimental::awaitable_operators;
  Verdict verdict;
  std::optional<cri::Credentials> credentials;
  if (!question.credentialsFile.empty()) {
    // Without them the rest of the outage causes can still be told.
    auto read = co_await credentialsOf(question);
    if (read) {
      credentials = std::move(*read);
    } else {
      verdict.trouble = read.error().message();
    }
  }
  verdict.withCredentials = credentials.has_value();
  Inflow inflow(traffic_);
  verdict.started = Monotonic::now();
  const std::variant<cri::PullOutcome, std::chrono::nanoseconds> first =
      co_await (runtime_.pull(question.reference, std::move(credentials)) || untilStalled(question, inflow));
  verdict.ended = Monotonic::now();
  if (first.index() == 1) {
    verdict.kind = Verdict::Kind::failed;
    verdict.cause = Cause::timeout;
    verdict.text = "neither ended nor moved for " + formatDuration(std::get<1>(first));
    co_return verdict;
  }
  const auto& outcome = std::get<0>(first);
  verdict.text = outcome.text;
  if (outcome.kind == cri::PullOutcome::Kind::pulled) {
    verdict.kind = Verdict::Kind::pulled;
  } else if (const auto cause = classify(outcome)) {
    verdict.kind = Verdict::Kind::failed;
    verdict.cause = *cause;
  }
  co_return verdict;
}

/// Returns once the pull has stood still for its limit, and gives that.
cri::Awaitable<std::chrono::nanoseconds> Prober::untilStalled(Question question, Inflow& inflow) {
  const auto timeout = std::chrono::duration_cast<Monotonic::duration>(question.stallTimeout);
  const std::string host = registryHost(question.reference);
  Progress progress(repositoryOf(question.reference));
  asio::steady_timer timer(executor_);
  const auto begun = Monotonic::now();
  auto moved = begun;
  for (int look = 0;; ++look) {
    const auto contents = co_await runtime_.contentsFrom(host);
    const auto ingests = co_await runtime_.ingests();
    // Where containerd is in trouble itself, the pull's own end will tell.
    const bool blind = !contents || !ingests;
    const bool stored = blind || progress.look(*contents, *ingests) || progress.storing();
    const auto arrived = inflow.look();
    const auto now = Monotonic::now();
    // What arrives counts only once something of ours is on its way: it may be for others.
    if (stored || (progress.downloading() && arrived.value_or(false))) moved = now;
    const auto limit = progress.downloading() && !arrived ? kPieceFactor * timeout : timeout;
    if (now - moved >= limit) co_return limit;
    timer.expires_at(std::min(begun + (look + 1) * (timeout / kLooksPerTimeout), moved + limit));
    if (timer.expiry() <= now) timer.expires_after(timeout / kLooksPerTimeout);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

}  // namespace fallbackd::watcher
