// SPDX-License-Identifier: Apache-2.0
#include "watcher/prober.hpp"

#include "watcher/classify.hpp"
#include "watcher/credentials.hpp"
#include "watcher/progress.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

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

// containerd repeats what a registry wrote.
constexpr std::size_t kMaxText = 1024;
// So long a pull of an image that only an annotation names may keep others from theirs.
constexpr std::chrono::seconds kTurn{30};
constexpr std::chrono::seconds kLookForOthers{1};

/// What tells images apart: the same one with other credentials is another question.
std::string imageKeyOf(const Question& question) {
  return question.reference.toString() + "\n" + question.credentialsFile;
}

/// What tells pulls apart. Scopes do not share one: a pull that waits in the queue of a namespace must not
/// keep another one waiting.
std::string keyOf(const Question& question) {
  return question.scope.value_or("") + "\n" + imageKeyOf(question);
}

FairGroup groupOf(const Question& question) {
  return {question.scope ? FairGroup::Kind::chosen : FairGroup::Kind::configured, question.podNamespace};
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
  Flight(const asio::any_io_executor& executor, Question asked)
      : question(std::move(asked)),
        key(keyOf(question)),
        image(imageKeyOf(question)),
        done(executor, asio::steady_timer::time_point::max()) {}
  [[nodiscard]] const std::string& host() const { return question.reference.host(); }
  Question question;
  std::string key;
  std::string image;
  std::size_t askers = 0;
  bool ended = false;
  bool told = true;  // somebody knows the verdict, or there was no pull
  Verdict verdict;
  asio::steady_timer done;  // cancelled when the verdict is there
};

/// Somebody who waits for a flight; may outlive the prober.
class Prober::Asker {
 public:
  Asker(std::shared_ptr<Flight> flight, FairGate gate) : flight_(std::move(flight)), gate_(std::move(gate)) {
    ++flight_->askers;
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  /// A pull that nobody waits for any more is not begun.
  ~Asker() {
    if (--flight_->askers == 0 && !flight_->ended) gate_.reconsider(flight_->host());
  }

 private:
  std::shared_ptr<Flight> flight_;
  FairGate gate_;
};

Prober::Prober(asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
               std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval, Reopened reopened)
    : executor_(executor),
      runtime_(runtime),
      traffic_(traffic),
      gate_(executor, FairLimits::of(maxConcurrent, kMaxOfHost)),
      reprobeInterval_(reprobeInterval),
      reopened_(std::move(reopened)),
      random_(std::random_device{}()),
      tasks_(executor) {}

void Prober::reconfigure(std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval) {
  reprobeInterval_ = reprobeInterval;
  gate_.reconfigure(FairLimits::of(maxConcurrent, kMaxOfHost));
}

cri::Awaitable<Verdict> Prober::probe(Question question) {
  const auto key = keyOf(question);
  const bool isNew = !flights_.contains(key);
  if (isNew) {
    const auto& host = question.reference.host();
    if (auto failure = health_.known(question.scope, host, imageKeyOf(question), Monotonic::now())) {
      co_return knownVerdict(std::move(*failure));
    }
    flights_.emplace(key, std::make_shared<Flight>(executor_, std::move(question)));
  }
  const auto flight = flights_.at(key);
  const Asker asker(flight, gate_);
  // A task of its own: a pod that goes away must not take the pull from the others that wait for it.
  if (isNew) tasks_.spawn(fly(flight));
  while (!flight->ended) {
    boost::system::error_code ignored;
    co_await flight->done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  Verdict verdict = flight->verdict;
  verdict.fresh = !std::exchange(flight->told, true);
  co_return verdict;
}

cri::Awaitable<void> Prober::fly(std::shared_ptr<Flight> flight) {
  const auto& question = flight->question;
  const auto group = groupOf(question);
  // What others find out in the meantime counts for this one as well.
  const std::function<bool()> needless = [this, flight] {
    return flight->askers == 0 ||
           health_.known(flight->question.scope, flight->host(), flight->image, Monotonic::now()).has_value();
  };
  {
    const auto place = co_await gate_.enter(group, flight->host(), needless);
    const auto now = Monotonic::now();
    auto failure = place ? health_.enter(question.scope, flight->host(), flight->image, now)
                         : health_.known(question.scope, flight->host(), flight->image, now);
    if (failure) {
      flight->verdict = knownVerdict(std::move(*failure));
    } else if (place) {
      ++pullsSent_;
      flight->verdict = co_await pullWatched(question);
      flight->told = false;
      settle(*flight);
    }
    flight->ended = true;
    flights_.erase(flight->key);
    flight->done.cancel();
  }
  gate_.reconsider(flight->host());
}

void Prober::settle(const Flight& flight) {
  const auto& verdict = flight.verdict;
  const auto now = Monotonic::now();
  bool reopened = false;
  switch (verdict.kind) {
    case Verdict::Kind::pulled:
      reopened = health_.succeeded(flight.question.scope, flight.host(), flight.image, now);
      break;
    case Verdict::Kind::failed: {
      // Nodes that lost a registry together must not ask it together.
      std::uniform_real_distribution<double> spread(0.8, 1.2);
      const auto pause = std::chrono::nanoseconds(
          static_cast<std::int64_t>(static_cast<double>(reprobeInterval_.count()) * spread(random_)));
      const Failure failure{verdict.cause, verdict.text};
      reopened = health_.failed(flight.question.scope, flight.host(), flight.image, failure, now, pause);
      break;
    }
    case Verdict::Kind::undecided:
      health_.abandoned(flight.question.scope, flight.host(), flight.image);
      break;
  }
  if (reopened) reopened_(flight.host(), flight.question.scope);
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
  const auto group = groupOf(question);
  Inflow inflow(traffic_);
  verdict.started = Monotonic::now();
  const std::variant<cri::PullOutcome, std::chrono::nanoseconds, std::monostate> first =
      co_await (runtime_.pull(question.reference.toString(), std::move(credentials)) ||
                untilStalled(question, inflow) || untilTurnIsOver(group));
  verdict.ended = Monotonic::now();
  if (first.index() == 2) {
    verdict.text = "moves, but pods of another namespace wait for its place";
    co_return verdict;
  }
  if (first.index() == 1) {
    verdict.kind = Verdict::Kind::failed;
    verdict.cause = Cause::timeout;
    verdict.text = "neither ended nor moved for " + formatDuration(std::get<1>(first));
    co_return verdict;
  }
  const auto& outcome = std::get<0>(first);
  verdict.text = outcome.text.substr(0, kMaxText);
  if (outcome.kind == cri::PullOutcome::Kind::pulled) {
    verdict.kind = Verdict::Kind::pulled;
  } else if (const auto cause = classify(outcome, question.reference.toString())) {
    verdict.kind = Verdict::Kind::failed;
    verdict.cause = *cause;
  }
  co_return verdict;
}

/// Never, where the operator's configuration names the image.
cri::Awaitable<void> Prober::untilTurnIsOver(FairGroup group) {
  asio::steady_timer timer(executor_, asio::steady_timer::time_point::max());
  if (group.kind == FairGroup::Kind::configured) {
    co_await timer.async_wait(asio::use_awaitable);
    co_return;
  }
  timer.expires_after(kTurn);
  co_await timer.async_wait(asio::use_awaitable);
  while (!gate_.queue().othersWait(group)) {
    timer.expires_after(kLookForOthers);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// Returns once the pull has stood still for its limit, and gives that.
cri::Awaitable<std::chrono::nanoseconds> Prober::untilStalled(Question question, Inflow& inflow) {
  const auto timeout = std::chrono::duration_cast<Monotonic::duration>(question.stallTimeout);
  const std::string host = question.reference.hostName();
  Progress progress(question.reference.path());
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
