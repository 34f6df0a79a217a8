// SPDX-License-Identifier: Apache-2.0
#include "kube/event_recorder.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"
#include "base/query.hpp"
#include "kube/listing.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::kube {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kEventConnectLimit = 10s;
constexpr auto kEventWriteLimit = 10s;
constexpr Backoff::Limits kEventPauses{1s, 60s};
constexpr std::chrono::seconds kMaxEventRetryAfter = 5min;
// A connection that is idle for longer is opened again: servers and load balancers cut those, too.
constexpr auto kMaxIdle = 5s;
// An answer that is neither a success nor a clear refusal is believed after this many times.
constexpr unsigned kMaxEventTries = 5;

constexpr unsigned kForbidden = 403;
constexpr unsigned kNotFound = 404;
constexpr unsigned kConflict = 409;

std::string answerText(const OutgoingEvent& event, const Answer& answer) {
  return std::string(event.written ? "patch" : "create") + " events in namespace " +
         event.batch.note.namespaceName + ": the API server answered " + std::to_string(answer.status) +
         ": " + messageOf(answer.body);
}

/// The namespace is being deleted: nothing can be created there, whatever the permissions are.
bool isTerminating(const Answer& answer) {
  return answer.body.find("NamespaceTerminating") != std::string::npos ||
         answer.body.find("because it is being terminated") != std::string::npos;
}

/// Whether it is about the server rather than about this Event.
bool concernsTheServer(Outcome outcome) {
  return outcome == Outcome::unauthorized || outcome == Outcome::throttled ||
         outcome == Outcome::server_error;
}

}  // namespace

EventRecorder::EventRecorder(const asio::any_io_executor& executor, AccessSource access, std::string nodeName,
                             std::function<void(EventState)> tell)
    : clock_(LoopClock::of(executor)),
      access_(std::move(access)),
      nodeName_(std::move(nodeName)),
      tell_(std::move(tell)),
      wake_(executor),
      backoff_(kEventPauses) {
  state_.since = clock_.wall();
}

void EventRecorder::add(EventNote note) {
  note.message = eventMessage(note.message);
  queue_.add(std::move(note), clock_.now());
  reportState();
  wake_.notify();
}

void EventRecorder::lost(std::uint64_t notes) {
  queue_.count(EventResult::dropped_full, notes);
  reportState();
}

asio::awaitable<void> EventRecorder::run() {
  connection_.reset();
  for (;;) {
    const auto now = clock_.now();
    auto event = queue_.take(now);
    if (event) {
      const auto pause = co_await write(std::move(*event));
      if (pause) co_await pauseFor(*pause);
      continue;
    }
    if (queue_.results() != state_.results) reportState();  // something was dropped
    const auto next = queue_.lookAgain(now);
    const bool open = connection_.has_value();
    const auto until = open ? std::min(next, later(now, kMaxIdle)) : next;
    const bool woken = co_await wake_.waitUntil(until);
    if (!woken && open && until != next) connection_.reset();
  }
}

/// Returns how long to write nothing, if something is wrong.
asio::awaitable<EventRecorder::Pause> EventRecorder::write(OutgoingEvent event) {
  if (!event.written && event.name.empty()) event.name = newName(event.batch.note.pod);
  auto answer = co_await ask(event);
  if (answer) co_return answered(std::move(event), *answer);
  connection_.reset();
  event.uncertain = true;
  co_return failed(std::move(event), answer.error().message(), outcomeOf(answer.error()), std::nullopt);
}

asio::awaitable<Result<Answer>> EventRecorder::ask(OutgoingEvent event) {
  if (!connection_) {
    FB_CO_TRY(auto access, access_());
    FB_CO_TRY(auto connection, co_await Connection::open(std::move(access), kEventConnectLimit));
    connection_ = std::move(connection);
  }
  const auto& note = event.batch.note;
  // Named, not written into the calls: GCC 12 destroys temporaries in a co_await expression twice.
  auto target = "/api/v1/namespaces/" + queryEscaped(note.namespaceName) + "/events";
  Result<Answer> answer;
  if (event.written) {
    target += "/" + queryEscaped(event.written->name);
    auto body = eventPatch(event.batch, event.written->count + event.batch.count);
    answer = co_await connection_->patch(std::move(target), std::move(body), kEventWriteLimit);
  } else {
    auto body = eventObject(event.batch, event.name, nodeName_);
    answer = co_await connection_->post(std::move(target), std::move(body), kEventWriteLimit);
  }
  if (answer && !answer->keepsOpen) connection_.reset();
  co_return answer;
}

EventRecorder::Pause EventRecorder::answered(OutgoingEvent event, const Answer& answer) {
  const auto outcome = outcomeOf(answer.status);
  // An attempt whose answer never came has created it.
  const bool wasCreated = answer.status == kConflict && !event.written && event.uncertain;
  if (outcome == Outcome::ok || wasCreated) {
    queue_.sent(event, clock_.now());
    state_.forbiddenIn.erase(event.batch.note.namespaceName);
    backoff_.reset();
    become(Health::up, Outcome::ok);
  } else if (concernsTheServer(outcome)) {
    auto error = answerText(event, answer);
    return failed(std::move(event), std::move(error), outcome, answer.retryAfter);
  } else if (answer.status == kForbidden && !isTerminating(answer)) {
    forbidden(std::move(event), answer);
  } else if (answer.status == kConflict || (answer.status == kNotFound && event.written)) {
    tryAgain(std::move(event), answer);
  } else {
    drop(event, answer);
  }
  return std::nullopt;
}

void EventRecorder::forbidden(OutgoingEvent event, const Answer& answer) {
  const std::string name = event.batch.note.namespaceName;
  state_.error = answerText(event, answer);
  if (event.written) {
    queue_.count(EventResult::dropped_repeat, event.batch.count);
    queue_.blockCounting(name, clock_.now());
    return reportState();
  }
  state_.error += "; a Role or ClusterRole that allows to create events is missing";
  queue_.count(EventResult::failed);
  queue_.blockCreating(name, clock_.now());
  queue_.putBack(std::move(event));
  if (state_.forbiddenIn.size() < kMaxForbiddenShown) state_.forbiddenIn.insert(name);
  become(Health::failing, Outcome::forbidden);
}

/// Its name is taken, or the Event to be counted is gone: either way a new Event is created.
void EventRecorder::tryAgain(OutgoingEvent event, const Answer& answer) {
  if (++event.tries >= kMaxEventTries) return drop(event, answer);
  if (answer.status == kNotFound) queue_.forget(event.batch.note);
  event.name.clear();
  queue_.count(EventResult::failed);
  queue_.putBack(std::move(event));
  reportState();
}

/// Trying again would not help.
void EventRecorder::drop(const OutgoingEvent& event, const Answer& answer) {
  state_.error = answerText(event, answer);
  queue_.count(EventResult::dropped_refused, event.batch.count);
  reportState();
}

EventRecorder::Pause EventRecorder::failed(OutgoingEvent event, std::string error, Outcome outcome,
                                           std::optional<std::chrono::seconds> retryAfter) {
  queue_.count(EventResult::failed);
  queue_.putBack(std::move(event));
  state_.error = std::move(error);
  become(Health::failing, outcome);
  auto pause = jitter_(backoff_.next());
  // A server may not ask for more than this: it could silence us for ever.
  if (retryAfter) pause = std::max(pause, jitter_(std::min(*retryAfter, kMaxEventRetryAfter)));
  return pause;
}

void EventRecorder::become(Health health, Outcome outcome) {
  if (state_.health != health) state_.since = clock_.wall();
  state_.health = health;
  state_.outcome = outcome;
  reportState();
}

void EventRecorder::reportState() {
  state_.waiting = queue_.waiting();
  state_.results = queue_.results();
  if (tell_) tell_(state_);
}

/// A name with a larger number than all before it, including those of an earlier daemon on this node.
std::string EventRecorder::newName(const std::string& pod) {
  const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(clock_.wall().time_since_epoch());
  number_ = std::max(number_ + 1, static_cast<std::uint64_t>(now.count()));
  return eventName(pod, number_);
}

}  // namespace fallbackd::kube
