// SPDX-License-Identifier: Apache-2.0
// The look loop of each waiting container: its turn, its image on the node, its registry.
#include "config/drill.hpp"
#include "watcher/attendance.hpp"

#include <chrono>
#include <utility>

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/this_coro.hpp>

namespace fallbackd::watcher {

using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

// containerd could not be asked: ask again soon, it is not the registry's fault.
constexpr auto kUndecidedRetry = 250ms;

/// Whether leave() has ended the look while an answer was on its way: that still arrives, and the look goes
/// on to its next wait. Its container may have been made meanwhile, or its pod be gone.
bool wasLeft(const asio::cancellation_state& look) {
  return look.cancelled() != asio::cancellation_type::none;
}

}  // namespace

/// Until leave() cancels it.
cri::Awaitable<void> Attendance::attend(Key key, WorkloadPtr workload, ImageReference reference,
                                        std::shared_ptr<LookAgain> again) {
  for (;;) {
    again->reset();
    const auto pause = co_await lookOnce(key, workload, reference);
    co_await untilNextLook(key, again, later(clock_.now(), pause));
  }
}

/// If the image is there, the container is judged meanwhile, as soon as it is due.
cri::Awaitable<void> Attendance::untilNextLook(Key key, std::shared_ptr<LookAgain> again, Stamp next) {
  while (clock_.now() < next) {
    const auto due = starts_.due(key);
    const bool comesDue = due && *due > clock_.now() && *due < next;
    if (co_await again->waitUntil(comesDue ? *due : next)) co_return;
    if (comesDue) starts_.judge(key);
  }
}

/// Returns how long to wait before the next look.
cri::Awaitable<std::chrono::nanoseconds> Attendance::lookOnce(Key key, WorkloadPtr workload,
                                                              ImageReference reference) {
  const auto interval = jittered_(config_->detection.reprobeInterval);
  const auto pullPolicy = config::pullPolicyOf(*workload);
  if (pullPolicy == config::PullPolicy::never) {
    // kubelet does not ask a registry, so none can have failed.
    setState(key, Waiting::State::never_pulled);
    co_return interval;
  }
  if (!workload->startAfter.empty()) {
    const auto succeeded = co_await predecessorsSucceeded(key, workload);
    if (!succeeded) co_return kUndecidedRetry;
    if (!*succeeded) {
      setState(key, Waiting::State::after_init_containers);
      co_return interval;
    }
  }
  if (config::isDrill(*workload)) {
    if (wasLeft(co_await asio::this_coro::cancellation_state)) co_return interval;
    rehearse(key, workload);
    co_return interval;
  }
  if (pullPolicy == config::PullPolicy::if_not_present) {
    const auto present = co_await runtime_.imagePresent(reference.toString());
    if (!present) co_return kUndecidedRetry;
    if (*present) {
      starts_.imageFound(key);
      co_return interval;
    }
    starts_.imageIsMissing(key);
  }
  const bool decided = co_await askRegistry(key, workload, std::move(reference));
  co_return decided ? interval : kUndecidedRetry;
}

/// If the node can answer the pull itself, only a pull shows whether containerd asks it to. Meanwhile the
/// pull waits for the registry, within its own limits. Returns whether it can.
cri::Awaitable<bool> Attendance::askNodeFirst(ImageReference reference, Question& question) {
  if (nodeImages_ == nullptr) co_return false;
  const bool offered = co_await nodeImages_->offers(std::move(reference));
  if (!offered) co_return false;
  question.memory = Question::Memory::does_not_count;
  const auto check = question.stallTimeout + question.responseTimeout;
  question.stallTimeout += check;
  question.responseTimeout += check;
  co_return true;
}

/// False if containerd could not be asked.
cri::Awaitable<bool> Attendance::askRegistry(Key key, WorkloadPtr workload, ImageReference reference) {
  std::string podNamespace;
  if (const auto* pod = pods_.find(key.first)) {
    podNamespace = pod->sandbox.podNamespace;
    learnStatusOnce(key.first);
  }
  auto question = questions_.questionFor(*workload, reference, podNamespace);
  const bool onNode = co_await askNodeFirst(reference, question);
  const auto verdict = co_await prober_.probe(question);
  if (const auto found = attended_.find(key); found != attended_.end()) {
    found->second.onNode =
        onNode && verdict.kind == Verdict::Kind::pulled && prober_.cameFromNode(question, verdict);
  }
  if (verdict.fresh) report(*workload, verdict);
  if (verdict.fresh && verdict.stalled) checkUnstick(Unseen::counts);
  if (wasLeft(co_await asio::this_coro::cancellation_state)) co_return false;
  if (verdict.kind == Verdict::Kind::undecided) {
    if (verdict.moves) starts_.pullMoves(key);
    // What was found out before still counts.
    if (!starts_.imagePresent(key)) setState(key, Waiting::State::undecided, &verdict);
    co_return false;
  }
  if (verdict.kind == Verdict::Kind::pulled) {
    setState(key, Waiting::State::image_present, &verdict);
    starts_.imagePulled(key, verdict.ended);
    co_return true;
  }
  starts_.pullFailed(key, question, verdict);
  // kubelet may have a password that we do not have.
  const bool undecided = verdict.cause == Cause::unauthorized && !verdict.withCredentials;
  setState(key, undecided ? Waiting::State::undecided : Waiting::State::failed, &verdict);
  tellFailure(key, workload, verdict);
  co_return true;
}

void Attendance::tellFailure(const Key& key, const WorkloadPtr& workload, const Verdict& verdict) {
  const auto* pod = pods_.find(key.first);
  if (pod == nullptr || !workload->detection.triggers.contains(verdict.cause)) return;
  listener_.detected(Detection{pod->sandbox, workload, verdict.cause, verdict.text,
                               pods_.waitingSince(key.first, *workload), verdict.ended,
                               verdict.ended - verdict.started, pod->status});
}

/// An operator's drill: the image counts as refused. What is known of its registry stays as it is.
void Attendance::rehearse(const Key& key, const WorkloadPtr& workload) {
  Verdict verdict;
  verdict.started = clock_.now();
  learnStatusOnce(key.first);
  verdict.kind = Verdict::Kind::failed;
  verdict.cause = Cause::unreachable;
  verdict.text = "a drill: taken as refused, and no registry was asked (fallbackctl drill status)";
  verdict.ended = clock_.now();
  setState(key, Waiting::State::failed, &verdict);
  tellFailure(key, workload, verdict);
}

void Attendance::report(const config::Workload& workload, const Verdict& verdict) {
  if (!verdict.trouble.empty()) {
    listener_.trouble("credentials of workload " + workload.name + ": " + verdict.trouble);
  }
  listener_.probed(workload, verdict);
}

/// Each of the init containers has succeeded at least once: kubelet then goes on to the next.
cri::Awaitable<Result<bool>> Attendance::predecessorsSucceeded(Key key, WorkloadPtr workload) {
  for (const auto& name : workload->startAfter) {
    const auto attempts = pods_.attemptsAt(key.first, name);
    bool succeeded = attempts.succeeded;
    for (const auto& id : attempts.notEnded) {
      if (succeeded) break;
      const auto code = co_await runtime_.exitCode(id);
      if (!code && code.error().reason != Reason::not_found) co_return tl::unexpected<Error>(code.error());
      succeeded = code && *code == 0;
    }
    if (!succeeded) co_return false;
  }
  co_return true;
}

/// Queried while the registry is asked: then a launch need not begin with this query.
void Attendance::learnStatusOnce(const std::string& sandboxId) {
  const auto* const pod = pods_.find(sandboxId);
  if (pod == nullptr || pod->status || std::exchange(notes_[sandboxId].statusAsked, true)) return;
  tasks_.spawn(learnStatus(sandboxId));
}

cri::Awaitable<void> Attendance::learnStatus(std::string sandboxId) {
  auto status = co_await runtime_.sandboxStatus(sandboxId);
  if (const auto notes = notes_.find(sandboxId); notes != notes_.end()) notes->second.statusAsked = false;
  if (status) pods_.setStatus(sandboxId, std::move(*status), clock_.now());
}

}  // namespace fallbackd::watcher
