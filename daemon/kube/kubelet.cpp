// SPDX-License-Identifier: Apache-2.0
#include "kube/kubelet.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"
#include "kube/connection.hpp"
#include "kube/listing.hpp"

#include <utility>

namespace fallbackd::kube {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kReachLimit = 2s;  // kubelet is on this node
constexpr auto kPodsLimit = 10s;  // the API server reviews our token first
constexpr Backoff::Limits kRetries{1s, 60s};
// Just after its sandbox appears, a pod may be missing from an answer: kubelet is asked a few more times.
constexpr auto kBetween = 200ms;
constexpr unsigned kMaxAsked = 5;
// A pod that still waits after that is requested again by the watcher.
constexpr auto kPatience = 2min;
constexpr std::size_t kMaxWanted = 1024;

Error refusedBy(const Answer& answer) {
  std::string text = "kubelet answered " + std::to_string(answer.status);
  auto reason = Reason::unavailable;
  if (answer.status == 401) {
    text += ": it does not accept our token; it asks the API server about it, which may be unreachable";
    reason = Reason::not_permitted;
  } else if (answer.status == 403) {
    text +=
        ": get on nodes/pods is not granted, or kubelet is older than 1.33 and knows nodes/proxy only, which "
        "is never asked for";
    reason = Reason::not_permitted;
  }
  return fail(Stage::kube, reason, text + ": " + messageOf(answer.body)).value();
}

}  // namespace

Kubelet::Kubelet(const asio::any_io_executor& executor, AccessSource access, PodSink& sink)
    : clock_(LoopClock::of(executor)),
      access_(std::move(access)),
      sink_(sink),
      state_(SourceKind::kubelet, clock_, [&sink](const SourceState& now) { sink.stateChanged(now); }),
      backoff_(kRetries),
      wake_(executor) {}

void Kubelet::refresh(const std::string& podUid) {
  if (wanted_.size() >= kMaxWanted && !wanted_.contains(podUid)) return;
  wanted_.insert_or_assign(podUid, Wanted{clock_.now(), 0});
  wake_.notify();
}

asio::awaitable<void> Kubelet::run() {
  for (;;) {
    while (wanted_.empty()) co_await wake_.wait();
    const bool answered = co_await ask();  // GCC 12 miscompiles it inside the condition
    if (answered) {
      backoff_.reset();
      if (!wanted_.empty()) co_await pauseFor(kBetween);
    } else {
      co_await pauseFor(jitter_(backoff_.next()));
    }
    forgetOld();
  }
}

asio::awaitable<bool> Kubelet::ask() {
  const auto asked = clock_.now();
  auto pods = co_await podsNow();
  if (!pods) {
    state_.failed(pods.error().error, pods.error().outcome);
    co_return false;
  }
  deliver(std::move(*pods), asked);
  state_.succeeded();
  co_return true;
}

asio::awaitable<Kubelet::Answered> Kubelet::podsNow() {
  const auto failed = [](Error error) {
    const auto outcome = outcomeOf(error);
    return tl::unexpected<Failure>(Failure{std::move(error), outcome});
  };
  auto access = access_();
  if (!access) co_return failed(access.error());
  if (access->pinnedCertificate.empty()) {
    co_return failed(fail(Stage::kube, Reason::internal, "kubelet's certificate is not pinned").value());
  }
  auto connection = co_await Connection::open(std::move(*access), kReachLimit);
  if (!connection) co_return failed(connection.error());
  auto answer = co_await connection->get("/pods", kPodsLimit);
  if (!answer) co_return failed(answer.error());
  if (answer->status != 200) {
    co_return tl::unexpected<Failure>(Failure{refusedBy(*answer), outcomeOf(answer->status)});
  }
  auto page = parsePodList(answer->body);
  if (!page) co_return failed(page.error());
  co_return std::move(page->pods);
}

/// An answer counts for the pods that waited when the request was sent.
void Kubelet::deliver(std::vector<PodPtr> pods, Stamp asked) {
  for (const auto& pod : pods) {
    const auto found = wanted_.find(pod->uid);
    if (found != wanted_.end() && found->second.since <= asked) wanted_.erase(found);
  }
  for (auto& [uid, wanted] : wanted_) {
    if (wanted.since <= asked) ++wanted.asked;
  }
  std::erase_if(wanted_, [](const auto& one) { return one.second.asked >= kMaxAsked; });
  sink_.listed(SourceKind::kubelet, std::move(pods));
}

void Kubelet::forgetOld() {
  std::erase_if(wanted_, [&](const auto& one) { return clock_.now() - one.second.since > kPatience; });
}

}  // namespace fallbackd::kube
