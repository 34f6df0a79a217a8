// SPDX-License-Identifier: Apache-2.0
#include "watcher/prober.hpp"

#include "base/async/event.hpp"

#include <utility>

namespace fallbackd::watcher {

namespace asio = boost::asio;

namespace {

// Two suffice to distinguish a broken image from a broken registry, and leave room for other hosts.
constexpr std::size_t kMaxOfHost = 2;

/// What distinguishes pulls. Scopes do not share a pull: a pull that waits in the queue of a namespace must
/// not keep another one waiting.
std::string keyOf(const Question& question) {
  return question.scope.value_or("") + "\n" + imageKeyOf(question);
}

Verdict knownVerdict(Failure failure, Stamp now) {
  Verdict verdict;
  verdict.kind = Verdict::Kind::failed;
  verdict.cause = failure.cause;
  verdict.text = std::move(failure.text);
  verdict.extent = failure.extent;
  verdict.stalled = failure.stalled;
  verdict.remembered = true;
  verdict.started = verdict.ended = now;
  return verdict;
}

}  // namespace

struct Prober::Flight {
  Flight(const asio::any_io_executor& executor, Question asked)
      : question(std::move(asked)), key(keyOf(question)), image(imageKeyOf(question)), ended(executor) {}
  [[nodiscard]] const std::string& host() const { return question.reference.host(); }
  Question question;
  std::string key;
  std::string image;
  std::size_t askers = 0;
  bool reported = true;  // a caller has the verdict, or there was no pull
  Verdict verdict;
  Event ended;  // the verdict is there
};

/// A caller that waits for a flight; may outlive the prober.
class Prober::Asker {
 public:
  Asker(std::shared_ptr<Flight> flight, FairGate gate) : flight_(std::move(flight)), gate_(std::move(gate)) {
    ++flight_->askers;
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  /// A pull for which no caller waits any more is not begun.
  ~Asker() {
    if (--flight_->askers == 0 && !flight_->ended.isSet()) gate_.reconsider(flight_->host());
  }

 private:
  std::shared_ptr<Flight> flight_;
  FairGate gate_;
};

Prober::Prober(asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
               std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval, Reopened reopened)
    : executor_(executor),
      clock_(LoopClock::of(executor)),
      gate_(executor, FairLimits::of(maxConcurrent, kMaxOfHost)),
      reprobeInterval_(reprobeInterval),
      reopened_(std::move(reopened)),
      pulls_(executor, runtime, traffic, health_, gate_, reprobeInterval, reopened_),
      tasks_(executor) {}

void Prober::reconfigure(std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval) {
  reprobeInterval_ = reprobeInterval;
  pulls_.reprobeEvery(reprobeInterval);
  gate_.reconfigure(FairLimits::of(maxConcurrent, kMaxOfHost));
}

cri::Awaitable<Verdict> Prober::probe(Question question) {
  const auto key = keyOf(question);
  const bool isNew = !flights_.contains(key);
  if (isNew) {
    const auto& host = question.reference.host();
    const bool remembers = question.memory == Question::Memory::counts;
    if (auto failure = !remembers ? std::nullopt
                                  : health_.known(question.scope, host, imageKeyOf(question), clock_.now())) {
      co_return knownVerdict(std::move(*failure), clock_.now());
    }
    flights_.emplace(key, std::make_shared<Flight>(executor_, std::move(question)));
  }
  const auto flight = flights_.at(key);
  const Asker asker(flight, gate_);
  // A separate task: a pod that goes away must not take the pull from the others that wait for it.
  if (isNew) tasks_.spawn(fly(flight));
  co_await flight->ended.wait();
  Verdict verdict = flight->verdict;
  verdict.fresh = !std::exchange(flight->reported, true);
  co_return verdict;
}

cri::Awaitable<void> Prober::fly(std::shared_ptr<Flight> flight) {
  const auto& question = flight->question;
  const auto group = groupOf(question);
  const bool remembers = question.memory == Question::Memory::counts;
  // What others find out in the meantime counts for this one, too.
  const std::function<bool()> needless = [this, flight, remembers] {
    return flight->askers == 0 ||
           (remembers &&
            health_.known(flight->question.scope, flight->host(), flight->image, clock_.now()).has_value());
  };
  {
    const auto place = co_await gate_.enter(group, flight->host(), needless);
    const auto now = clock_.now();
    std::optional<Failure> failure;
    if (!place) {
      failure = health_.known(question.scope, flight->host(), flight->image, now);
    } else if (remembers) {
      failure = health_.enter(question.scope, flight->host(), flight->image, now);
    }
    if (failure) {
      flight->verdict = knownVerdict(std::move(*failure), clock_.now());
    } else if (place) {
      flight->verdict = co_await pulls_.send(question);
      flight->reported = false;
      settle(*flight);
    }
    flights_.erase(flight->key);
    flight->ended.set();
  }
  gate_.reconsider(flight->host());
}

void Prober::settle(const Flight& flight) {
  const auto& verdict = flight.verdict;
  const auto now = clock_.now();
  bool reopened = false;
  switch (verdict.kind) {
    case Verdict::Kind::pulled:
      pulls_.stopLingering(flight.image);
      if (pulls_.cameFromNode(flight.question, verdict.started)) {
        health_.abandoned(flight.question.scope, flight.host(), flight.image);
        break;
      }
      if (!flight.question.scope) unsticker().answered(flight.host());
      reopened = health_.succeeded(flight.question.scope, flight.host(), flight.image, now);
      break;
    case Verdict::Kind::failed: {
      // Nodes that lost a registry together must not ask it together.
      const auto pause = jittered_(reprobeInterval_);
      const Failure failure{verdict.cause, verdict.text, verdict.extent, verdict.stalled};
      const bool another = failure.cause != Cause::timeout && blameOf(failure) != Blame::unclear;
      if (another && !flight.question.scope) unsticker().answered(flight.host());
      reopened = health_.failed(flight.question.scope, flight.host(), flight.image, failure, now, pause);
      break;
    }
    case Verdict::Kind::undecided:
      health_.abandoned(flight.question.scope, flight.host(), flight.image);
      break;
  }
  if (reopened) reopened_(flight.host(), flight.question.scope);
}

}  // namespace fallbackd::watcher
