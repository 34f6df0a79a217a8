// SPDX-License-Identifier: Apache-2.0
// Whether a fallback serves: probed until it is ready, and periodically after that. Only its own answer, or
// its silence, counts against it.
#include "base/async/backoff.hpp"
#include "base/async/pause.hpp"
#include "recovery/recovery.hpp"

#include <chrono>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::recovery {

namespace asio = boost::asio;
using namespace asio::experimental::awaitable_operators;

/// Returns once the fallback failed this many times in a row; never if liveness is not configured.
cri::Awaitable<void> Recovery::failsLiveness() {
  if (!workload_->liveness) {
    co_await untilCancelled();
    co_return;
  }
  const auto liveness = *workload_->liveness;
  for (unsigned failed = 0; failed < liveness.failures;) {
    co_await pauseFor(liveness.interval);
    const auto alive = co_await askOnce(liveness.when, liveness.timeout);
    if (!alive && alive.error().reason != Reason::not_ready) {
      if (showsNew(alive.error())) chronicle_.cannotBeProbed(alive.error());
      continue;
    }
    incident_.error.reset();
    failed = alive ? 0 : failed + 1;
    if (alive) continue;
    chronicle_.livenessFailed(failed, liveness.failures, alive.error());
  }
}

launcher::Place Recovery::place() const {
  return {incident_.podIp, process_->network()};
}

/// Until the fallback answers well, or its time limit is over. If it cannot be probed, it may still serve: it
/// is left alone and probed again.
cri::Awaitable<Result<>> Recovery::answersWell() {
  auto pause = pausesOfAsking();
  for (;;) {
    auto answer = co_await saysReady();
    if (answer || answer.error().reason == Reason::not_ready) {
      incident_.error.reset();
      co_return answer;
    }
    if (showsNew(answer.error())) chronicle_.cannotBeProbed(answer.error());
    co_await pause.wait();
  }
}

cri::Awaitable<Result<Recovery::Next>> Recovery::becomeReady() {
  const std::variant<Result<>, launcher::ExitStatus, std::monostate> first =
      co_await (answersWell() || process_->exited() || untilEndRequested());
  if (first.index() == 2) co_return co_await endAsRequested();
  if (first.index() == 1) {
    const auto status = co_await howItEnded(std::get<1>(first));
    noteExit(status);
    co_return co_await afterEnd(status, outcomeOf(status));
  }
  const auto& ready = std::get<0>(first);
  if (!ready) {
    const auto status = co_await stopProcess(workload_->terminationGrace);
    static_cast<void>(status);
    releaseProcess();
    co_return tl::unexpected<Error>(ready.error());
  }
  const auto now = clock_.now();
  chronicle_.serves(now);
  if (!incident_.stamps.ready && !incident_.adopted) {
    incident_.stamps.ready = now;
    chronicle_.measureReady();
  }
  reach(State::ready, now);
  chronicle_.record(process_->record());
  co_return Next::end;
}

}  // namespace fallbackd::recovery
