#include "watcher/prober.hpp"

#include "watcher/classify.hpp"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::watcher {

namespace asio = boost::asio;

struct Prober::Flight {
  explicit Flight(const asio::any_io_executor& executor)
      : done(executor, asio::steady_timer::time_point::max()) {}
  std::string reference;
  std::chrono::nanoseconds stallTimeout{};
  bool ended = false;
  Verdict verdict;
  asio::steady_timer done;  // cancelled when the verdict is there
};

Prober::Prober(asio::any_io_executor executor, cri::Runtime& runtime, std::size_t maxConcurrent)
    : executor_(executor),
      runtime_(runtime),
      free_(std::max<std::size_t>(maxConcurrent, 1)),
      freed_(executor, asio::steady_timer::time_point::max()),
      tasks_(executor) {}

cri::Awaitable<Verdict> Prober::probe(std::string reference, std::chrono::nanoseconds stallTimeout) {
  auto& slot = flights_[reference];
  if (slot == nullptr) {
    slot = std::make_shared<Flight>(executor_);
    slot->reference = reference;
    slot->stallTimeout = stallTimeout;
    // A task of its own: a pod that goes away must not take the pull from the others that wait for it.
    tasks_.spawn(fly(slot));
  }
  const auto flight = slot;
  while (!flight->ended) {
    boost::system::error_code ignored;
    co_await flight->done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return flight->verdict;
}

cri::Awaitable<void> Prober::fly(std::shared_ptr<Flight> flight) {
  while (free_ == 0) {
    boost::system::error_code ignored;
    co_await freed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  --free_;
  ++pullsSent_;
  flight->verdict = co_await pullWatched(flight->reference, flight->stallTimeout);
  ++free_;
  freed_.cancel();
  flight->ended = true;
  flights_.erase(flight->reference);
  flight->done.cancel();
}

cri::Awaitable<Verdict> Prober::pullWatched(std::string reference, std::chrono::nanoseconds stallTimeout) {
  using namespace asio::experimental::awaitable_operators;
  Verdict verdict;
  verdict.started = Monotonic::now();
  const std::variant<cri::PullOutcome, std::monostate> first =
      co_await (runtime_.pull(reference) || untilStalled(stallTimeout));
  verdict.ended = Monotonic::now();
  if (first.index() == 1) {
    verdict.kind = Verdict::Kind::failed;
    verdict.cause = Cause::timeout;
    verdict.text = "neither ended nor moved for " + formatDuration(stallTimeout);
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

cri::Awaitable<void> Prober::untilStalled(std::chrono::nanoseconds stallTimeout) {
  asio::steady_timer timer(executor_);
  std::map<std::string, std::int64_t> before;  // offset of each download at the last look
  bool everMoved = false;
  for (;;) {
    timer.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(stallTimeout));
    co_await timer.async_wait(asio::use_awaitable);
    const auto ingests = co_await runtime_.ingests();
    if (!ingests) continue;  // containerd is in trouble itself: the pull's own end will tell
    std::map<std::string, std::int64_t> now;
    bool moved = false;
    for (const auto& ingest : *ingests) {
      const auto known = before.find(ingest.ref);
      moved = moved || (known == before.end() ? ingest.offset > 0 : ingest.offset != known->second);
      now.emplace(ingest.ref, ingest.offset);
    }
    // A download that is gone from the list was completed.
    moved = moved || std::any_of(before.begin(), before.end(),
                                 [&](const auto& one) { return !now.contains(one.first); });
    everMoved = everMoved || moved;
    // With everything downloaded containerd unpacks, which moves no download and can take long.
    const bool unpacking = everMoved && now.empty();
    if (!moved && !unpacking) co_return;
    before = std::move(now);
  }
}

}  // namespace fallbackd::watcher
