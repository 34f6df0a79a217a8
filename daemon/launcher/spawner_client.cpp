// SPDX-License-Identifier: Apache-2.0
#include "launcher/spawner_client.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/async/watched.hpp"
#include "launcher/spawner_process.hpp"
#include "sys/message_socket.hpp"
#include "sys/process.hpp"

#include <chrono>
#include <deque>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

/// A process that waits for an order; see spawner/spare.hpp.
struct Spare {
  std::uint64_t id = 0;
  sys::UniqueFd orders;
};

/// A pending report of the spawner, for one waiter.
template <class Value>
struct Awaited {
  explicit Awaited(const asio::any_io_executor& owner) : done(owner) {}

  void answer(Result<Value> given) {
    outcome = std::move(given);
    done.set();
  }
  /// Held by the waiter meanwhile.
  asio::awaitable<Result<Value>> wait() {
    co_await done.wait();
    co_return std::move(*outcome);
  }

  std::optional<Result<Value>> outcome;
  Event done;
};

Stamp stampOf(std::int64_t monotonicNs) {
  return Stamp(std::chrono::nanoseconds(monotonicNs));
}

}  // namespace

struct SpawnerClient::Pending : Awaited<StartedProcess> {
  using Awaited::Awaited;
};

struct SpawnerClient::State : std::enable_shared_from_this<SpawnerClient::State> {
  State(asio::any_io_executor owner, std::string file)
      : executor(std::move(owner)), spawner(executor, std::move(file)) {}

  /// False for a report that no working spawner sends.
  bool dispatch(sys::Message message);
  bool take(const SpareReport& report, std::vector<sys::UniqueFd>& fds);
  bool take(const StartedReport& report, std::vector<sys::UniqueFd>& fds);
  void giveSpare(Result<Spare> spare);
  void take(const FailedReport& report);
  void take(const PassedReport& report);
  void take(const ExitedReport& report);
  void answer(std::uint64_t id, Result<StartedProcess> outcome);
  void abandonAll(const std::string& why);
  void abort(std::uint64_t id) const;

  static asio::awaitable<void> serve(std::shared_ptr<State> self);
  asio::awaitable<void> readReports();
  asio::awaitable<Result<Spare>> takeSpare();
  asio::awaitable<Result<>> askForSpare();

  asio::any_io_executor executor;
  SpawnerProcess spawner;
  std::uint64_t lastSpare = 0;                        // of this spawner; a launch has the number of its spare
  std::vector<Spare> spares;                          // available
  std::deque<std::shared_ptr<Awaited<Spare>>> asked;  // launches that wait for one
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending;
  std::map<std::uint64_t, std::shared_ptr<ExitNotice>> running;
};

bool SpawnerClient::State::dispatch(sys::Message message) {
  const auto report = decodeReport(message.bytes);
  if (!report) return false;
  if (const auto* spare = std::get_if<SpareReport>(&*report)) return take(*spare, message.fds);
  if (const auto* started = std::get_if<StartedReport>(&*report)) return take(*started, message.fds);
  if (!message.fds.empty()) return false;
  if (const auto* failed = std::get_if<FailedReport>(&*report)) {
    take(*failed);
  } else if (const auto* passed = std::get_if<PassedReport>(&*report)) {
    take(*passed);
  } else if (const auto* exited = std::get_if<ExitedReport>(&*report)) {
    take(*exited);
  }
  return true;
}

/// Spares are numbered in order.
bool SpawnerClient::State::take(const SpareReport& report, std::vector<sys::UniqueFd>& fds) {
  if (fds.size() != 1 || report.id <= lastSpare) return false;
  lastSpare = report.id;
  giveSpare(Spare{report.id, std::move(fds.front())});
  return true;
}

/// Serves the longest waiter; skips cancelled ones.
void SpawnerClient::State::giveSpare(Result<Spare> spare) {
  while (!asked.empty()) {
    const auto question = std::move(asked.front());
    asked.pop_front();
    if (question.use_count() == 1) continue;
    question->answer(std::move(spare));
    return;
  }
  if (spare) spares.push_back(std::move(*spare));
}

/// The pidfd identifies the process; the pid in the report must be the same.
bool SpawnerClient::State::take(const StartedReport& report, std::vector<sys::UniqueFd>& fds) {
  if (fds.size() != 1 || report.id > lastSpare || running.contains(report.id)) return false;
  StartedProcess started;
  started.process = sys::PidFd(fds.front().release());
  const auto named = sys::pidOf(Stage::spawner, started.process);
  if (!named || (*named != report.pid && *named != 0)) return false;  // 0: it has ended and was reaped
  started.pid = report.pid;
  started.prepared = stampOf(report.preparedNs);
  started.healthChecked = stampOf(report.healthCheckedNs);
  started.started = stampOf(report.startedNs);
  if (!pending.contains(report.id)) {
    abort(report.id);  // no launch waits for it any more
    return true;
  }
  started.exit = std::make_shared<ExitNotice>(executor);
  running.emplace(report.id, started.exit);
  answer(report.id, std::move(started));
  return true;
}

void SpawnerClient::State::take(const FailedReport& report) {
  const auto failure = fail(report.stage, report.reason, report.text, report.errnum);
  if (report.id == 0) return giveSpare(failure);
  std::erase_if(spares, [&](const Spare& spare) { return spare.id == report.id; });
  answer(report.id, failure);
}

void SpawnerClient::State::take(const PassedReport& report) {
  answer(report.id, StartedProcess{});
}

void SpawnerClient::State::take(const ExitedReport& report) {
  const auto found = running.find(report.id);
  if (found == running.end()) return;
  ExitStatus status;
  status.kind = report.signaled ? ExitStatus::Kind::signaled : ExitStatus::Kind::exited;
  status.value = report.value;
  found->second->status = status;
  found->second->known.set();
  running.erase(found);
}

void SpawnerClient::State::answer(std::uint64_t id, Result<StartedProcess> outcome) {
  const auto found = pending.find(id);
  if (found == pending.end()) return;
  found->second->answer(std::move(outcome));
  pending.erase(found);
}

void SpawnerClient::State::abandonAll(const std::string& why) {
  spares.clear();
  while (!asked.empty()) giveSpare(fail(Stage::spawner, Reason::spawner_gone, why));
  while (!pending.empty()) answer(pending.begin()->first, fail(Stage::spawner, Reason::spawner_gone, why));
  for (const auto& [id, notice] : running) notice->known.set();
  running.clear();
  lastSpare = 0;
}

void SpawnerClient::State::abort(std::uint64_t id) const {
  const auto bytes = encode(Order(AbortOrder{id}));
  if (bytes && spawner.socket()) static_cast<void>(sys::sendMessage(spawner.socket(), *bytes, {}, true));
}

/// Until the spawner is gone.
asio::awaitable<void> SpawnerClient::State::readReports() {
  auto watched = watchCopy(executor, Stage::spawner, spawner.socket().get());
  for (Backoff pause; !watched;) {
    co_await pause.wait();
    if (!spawner.socket()) co_return;
    watched = watchCopy(executor, Stage::spawner, spawner.socket().get());
  }
  for (;;) {
    if (!spawner.socket()) co_return;  // a sender noticed first that it is broken
    auto message = sys::receiveMessage(spawner.socket(), true);
    if (message) {
      // A spawner that reports the impossible is replaced; what it started runs on.
      if (message->bytes.empty() || !dispatch(std::move(*message))) co_return;
      continue;
    }
    if (message.error().reason != Reason::unavailable) co_return;
    co_await watched->async_wait(Watched::wait_read, asio::use_awaitable);
  }
}

asio::awaitable<void> SpawnerClient::State::serve(std::shared_ptr<State> self) {
  for (;;) {
    if (self->spawner.socket()) co_await self->readReports();
    self->spawner.end();
    self->abandonAll("the spawner ended");
    co_await self->spawner.restart();
  }
}

SpawnerClient::SpawnerClient(asio::any_io_executor executor, std::string program)
    : state_(std::make_shared<State>(executor, std::move(program))), tasks_(executor) {}

SpawnerClient::~SpawnerClient() {
  tasks_.cancelAll();
  state_->spawner.end();
}

Result<> SpawnerClient::start() {
  FB_CHECK(state_->spawner.start());
  if (auto ready = state_->spawner.awaitReady(); !ready) {
    state_->spawner.end();
    return ready;
  }
  tasks_.spawn(State::serve(state_));
  return {};
}

unsigned SpawnerClient::restarts() const {
  return state_->spawner.restarts();
}

pid_t SpawnerClient::pid() const {
  return state_->spawner.pid();
}

asio::awaitable<Result<>> SpawnerClient::State::askForSpare() {
  FB_CO_TRY(const auto bytes, encode(Order(SpareOrder{})));
  for (;;) {
    const auto sent = sys::sendMessage(spawner.socket(), bytes, {}, true);
    if (sent || sent.error().reason != Reason::unavailable) co_return sent;
    FB_CO_TRY(auto watched, watchCopy(executor, Stage::spawner, spawner.socket().get()));
    co_await watched.async_wait(Watched::wait_write, asio::use_awaitable);
    if (!spawner.socket()) co_return fail(Stage::spawner, Reason::spawner_gone, "ask for a process");
  }
}

asio::awaitable<Result<Spare>> SpawnerClient::State::takeSpare() {
  if (!spares.empty()) {
    auto spare = std::move(spares.back());
    spares.pop_back();
    co_return spare;
  }
  const auto sent = co_await askForSpare();
  if (!sent) co_return tl::unexpected<Error>(sent.error());
  const auto question = std::make_shared<Awaited<Spare>>(executor);
  asked.push_back(question);
  auto spare = co_await question->wait();
  co_return spare;
}

asio::awaitable<Result<BegunLaunch>> SpawnerClient::begin(LaunchOrder order, LaunchFds fds) {
  const auto state = state_;
  FB_CO_TRY(const auto bytes, encode(order));
  const auto numbers = fds.numbers(order);
  const auto& clock = LoopClock::of(state->executor);
  const auto giveUpAt = clock.now() + kRespawnLimit;
  for (;;) {
    co_await state->spawner.awaitStarted();
    if (!state->spawner.socket())
      co_return fail(Stage::spawner, Reason::spawner_gone, "no spawner runs at present");
    auto spare = co_await state->takeSpare();
    const auto sent =
        spare ? sys::sendMessage(spare->orders, bytes, numbers, true) : tl::unexpected<Error>(spare.error());
    if (sent) {
      auto pending = std::make_shared<Pending>(state->executor);
      state->pending.emplace(spare->id, pending);
      co_return BegunLaunch(state, std::move(pending), spare->id, std::move(spare->orders));
    }
    // Spare or spawner are gone and the order was not read: try the next one.
    if (sent.error().reason != Reason::spawner_gone || clock.now() >= giveUpAt) {
      co_return tl::unexpected<Error>(sent.error());
    }
    if (!spare) state->spawner.closeSocket();  // the reader has not noticed yet
  }
}

asio::awaitable<Result<StartedProcess>> SpawnerClient::finish(BegunLaunch launch, EntryFds fds) {
  const auto sent = sys::sendMessage(launch.orders_, std::span(&kEntry, 1), fds.numbers(), true);
  // A process that is gone cannot take it; the outcome says why.
  if (!sent && sent.error().reason != Reason::spawner_gone) co_return tl::unexpected<Error>(sent.error());
  fds = EntryFds{};
  auto outcome = co_await launch.pending_->wait();
  co_return outcome;
}

BegunLaunch::BegunLaunch(std::shared_ptr<SpawnerClient::State> state,
                         std::shared_ptr<SpawnerClient::Pending> pending, std::uint64_t id,
                         sys::UniqueFd orders)
    : state_(std::move(state)), pending_(std::move(pending)), id_(id), orders_(std::move(orders)) {}

BegunLaunch& BegunLaunch::operator=(BegunLaunch&& other) noexcept {
  abort();
  state_ = std::move(other.state_);
  pending_ = std::move(other.pending_);
  id_ = other.id_;
  orders_ = std::move(other.orders_);
  return *this;
}

void BegunLaunch::abort() {
  if (state_ == nullptr) return;
  // A new spawner counts from one again.
  const auto found = state_->pending.find(id_);
  if (found != state_->pending.end() && found->second == pending_) {
    state_->pending.erase(found);
    state_->abort(id_);
  }
  state_.reset();
}

}  // namespace fallbackd::launcher
