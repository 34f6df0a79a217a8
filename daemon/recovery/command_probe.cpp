// SPDX-License-Identifier: Apache-2.0
// Probes that are commands of the fallback's own binary. Each runs in its own place, never in the fallback's:
// see Launcher::probe(). One at a time, since each is awaited.
#include "base/async/backoff.hpp"
#include "recovery/recovery.hpp"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

namespace fallbackd::recovery {

using namespace std::chrono_literals;

namespace {

// Each run costs a process; kubelet probes no more often, either.
constexpr std::chrono::nanoseconds kShortestPeriod = 1s;

}  // namespace

/// The launch of the running process. One that an earlier daemon started is described again, as it would be
/// launched today.
cri::Awaitable<Result<launcher::LaunchRequest>> Recovery::launchOfRunning() {
  if (launchedAs_) co_return *launchedAs_;
  // The binary comes last: admitting it may require reading and hashing it.
  auto status = co_await services_.runtime.sandboxStatus(incident_.target.sandboxId);
  if (!status) co_return tl::unexpected<Error>(status.error());
  auto chooser = chooserOf(*services_.config, *workload_, incident_.target.podNamespace);
  const auto admitted = co_await services_.binaries.acquire(incident_.binary, std::move(chooser));
  if (!admitted) co_return tl::unexpected<Error>(admitted.error());
  completeHostNetwork(services_, *status);
  FB_CO_TRY(const auto effective, effectiveNow(*status, **admitted));
  launchedAs_ = requestFor(*admitted, std::move(*status), *effective.workload);
  co_return *launchedAs_;
}

cri::Awaitable<Result<>> Recovery::runProbe(config::ReadyWhenCommand command) {
  auto like = co_await launchOfRunning();
  if (!like) co_return tl::unexpected<Error>(like.error());
  const auto place = co_await services_.probes->enter(launchGroup());
  like->probePlace = std::exchange(nextProbePlace_, 1 - nextProbePlace_);
  const auto answer =
      co_await services_.launcher.probe(std::move(*like), std::move(command.argv), command.timeout);
  co_return answer;
}

/// Pauses between attempts to probe at all. A command costs a process even if it cannot be run.
Backoff Recovery::pausesOfAsking() const {
  const auto* const command = std::get_if<config::ReadyWhenCommand>(&workload_->readiness.when);
  return command == nullptr ? Backoff()
                            : Backoff({kShortestPeriod, std::max(command->period, kShortestPeriod)});
}

cri::Awaitable<Result<>> Recovery::askOnce(decltype(config::Liveness::when) how,
                                           std::chrono::nanoseconds timeout) {
  if (const auto* const command = std::get_if<config::ReadyWhenCommand>(&how)) {
    const auto ran = co_await runProbe(*command);
    co_return ran;
  }
  const auto answer = co_await services_.askOnce(std::move(how), place(), timeout);
  co_return answer;
}

/// At once, then after pauses that grow up to the probe's period, and a last time at the deadline.
cri::Awaitable<Result<>> Recovery::commandSaysReady(config::ReadyWhenCommand command) {
  const auto limit = workload_->readiness.timeout;
  const auto deadline = clock_.now() + limit;
  Backoff pause({kShortestPeriod, std::max(command.period, kShortestPeriod)});
  for (;;) {
    const bool last = clock_.now() >= deadline;
    auto answer = co_await runProbe(command);
    if (answer || answer.error().reason != Reason::not_ready) co_return answer;
    if (last) {
      co_return fail(Stage::readiness, Reason::not_ready,
                     "the probe's command did not end with 0 within " + formatDuration(limit) + ": " +
                         answer.error().context);
    }
    co_await pauseUntil(std::min(clock_.now() + pause.next(), deadline));
  }
}

cri::Awaitable<Result<>> Recovery::saysReady() {
  if (const auto* const command = std::get_if<config::ReadyWhenCommand>(&workload_->readiness.when)) {
    const auto said = co_await commandSaysReady(*command);
    co_return said;
  }
  const auto answer = co_await services_.waitReady(workload_->readiness, place());
  co_return answer;
}

}  // namespace fallbackd::recovery
