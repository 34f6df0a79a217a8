// SPDX-License-Identifier: Apache-2.0
#include "workers/pool.hpp"

#include "base/async/event.hpp"
#include "base/async/within.hpp"
#include "base/strings.hpp"
#include "sys/message_socket.hpp"
#include "workers/worker.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <list>
#include <optional>
#include <utility>
#include <vector>

namespace fallbackd::workers {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kStartedAtOnce = 2;
constexpr int kTriesPerTask = 3;

std::size_t indexOf(Work work) {
  return static_cast<std::size_t>(work);
}

}  // namespace

/// A task in progress. Held by run() while a caller waits.
struct Pool::Job {
  Job(const asio::any_io_executor& executor, Task given)
      : task(std::move(given)), deadline(later(LoopClock::of(executor).now(), task.limit)), done(executor) {}
  void finish(Result<Outcome> result) {
    outcome = std::move(result);
    done.set();
  }
  /// So late that the worker's own deadline has passed.
  [[nodiscard]] Error missed() const {
    return {task.stage, Reason::timeout, 0, task.what + ": no answer within " + formatDuration(task.limit)};
  }

  Task task;
  Stamp deadline;
  bool begun = false;
  int tries = 0;
  std::shared_ptr<Worker> worker;  // the one that has the request
  std::optional<Result<Outcome>> outcome;
  Event done;
};

struct Pool::State : std::enable_shared_from_this<Pool::State> {
  State(asio::any_io_executor owner, std::string file, PoolLimits given)
      : executor(owner), program(std::move(file)), limits(given), tasks(std::move(owner)) {}

  using JobPtr = std::shared_ptr<Job>;
  using WorkerPtr = std::shared_ptr<Worker>;
  struct Stuck {
    Owner owner;
    Touches touches;
    WorkerPtr worker;
  };

  std::optional<Error> refusal(const Task& task);
  [[nodiscard]] std::size_t stuckOn(Touches touches) const;
  [[nodiscard]] std::size_t stuckOf(std::string Owner::*part, const Task& task) const;
  [[nodiscard]] bool mayRun(const Task& task) const;
  JobPtr takeNext();
  void dispatch();
  Result<WorkerPtr> takeWorker();
  Result<WorkerPtr> startWorker();
  void close();
  void giveBack(WorkerPtr worker);
  void giveUp(const JobPtr& job, WorkerPtr worker);

  void discard(WorkerPtr worker);
  Result<> hand(Job& job);
  void finish(const JobPtr& job, Result<Outcome> outcome);

  static asio::awaitable<void> conduct(std::shared_ptr<State> self, JobPtr job);
  asio::awaitable<Result<sys::Message>> answerOf(JobPtr job);
  asio::awaitable<Result<Outcome>> outcomeOf(JobPtr job);
  static asio::awaitable<void> bury(WorkerPtr worker);
  static asio::awaitable<void> buryStuck(std::shared_ptr<State> self, std::list<Stuck>::iterator place);

  asio::any_io_executor executor;
  std::string program;
  PoolLimits limits;
  std::function<void(const Missed&)> tell;
  std::deque<JobPtr> queue;
  std::vector<JobPtr> running;
  std::vector<WorkerPtr> idle;
  std::list<Stuck> stuck;
  std::vector<std::weak_ptr<Worker>> all;
  bool closes = false;
  bool dispatches = false;
  PoolCounts counts;
  TaskGroup tasks;
};

std::size_t Pool::State::stuckOn(Touches touches) const {
  const auto same = [&](const Stuck& one) { return one.touches == touches; };
  return static_cast<std::size_t>(std::count_if(stuck.begin(), stuck.end(), same));
}

std::size_t Pool::State::stuckOf(std::string Owner::*part, const Task& task) const {
  const auto same = [&](const Stuck& one) {
    return one.touches == touchedBy(task.work) && one.owner.*part == task.owner.*part;
  };
  return static_cast<std::size_t>(std::count_if(stuck.begin(), stuck.end(), same));
}

/// Pods of different namespaces may share a name, but not a uid; `pod` is assumed to be unique.
std::optional<Error> Pool::State::refusal(const Task& task) {
  const auto refuse = [&](const std::string& whose, std::size_t count) {
    ++counts.refused[indexOf(task.work)];
    return Error{task.stage, Reason::unavailable, 0,
                 task.what + ": not tried because " + std::to_string(count) + " workers hang on " +
                     (touchedBy(task.work) == Touches::pipes ? "pipes" : "files") + " of " + whose +
                     " already"};
  };
  if (const auto count = stuckOf(&Owner::pod, task); count >= limits.stuckOfPod) {
    return refuse("this pod", count);
  }
  if (const auto count = stuckOf(&Owner::namespaceName, task); count >= limits.stuckOfNamespace) {
    return refuse("namespace " + fallbackd::quoted(task.owner.namespaceName), count);
  }
  if (const auto total = stuckOn(touchedBy(task.work)); total >= limits.stuck) {
    return refuse("pods of this node", total);
  }
  return std::nullopt;
}

bool Pool::State::mayRun(const Task& task) const {
  if (running.size() >= limits.running) return false;
  std::size_t background = 0;
  std::size_t ofNamespace = 0;
  for (const auto& job : running) {
    if (job->task.urgency == Urgency::background) ++background;
    if (job->task.owner.namespaceName == task.owner.namespaceName) ++ofNamespace;
  }
  if (task.urgency == Urgency::launch) return ofNamespace < limits.runningOfNamespace;
  // One place of each namespace is left to launches.
  const auto share = std::max<std::size_t>(limits.runningOfNamespace, 2) - 1;
  return ofNamespace < share && background < limits.runningBackground;
}

/// Launches first, each kind in order of arrival; skips tasks whose namespace has its share.
Pool::State::JobPtr Pool::State::takeNext() {
  // The queue holds the only reference: the waiter was cancelled, or gave up.
  std::erase_if(queue, [](const JobPtr& job) { return job.use_count() == 1; });
  for (const auto urgency : {Urgency::launch, Urgency::background}) {
    const auto place = std::find_if(queue.begin(), queue.end(), [&](const JobPtr& job) {
      return job->task.urgency == urgency && mayRun(job->task);
    });
    if (place == queue.end()) continue;
    auto job = std::move(*place);
    queue.erase(place);
    return job;
  }
  return nullptr;
}

/// An idle worker gets its request before this returns: the caller may do something else meanwhile.
void Pool::State::dispatch() {
  // A spawned task runs at once, and may be finished before spawn() returns.
  if (closes || std::exchange(dispatches, true)) return;
  while (const auto job = takeNext()) {
    job->begun = true;
    running.push_back(job);
    if (auto handed = hand(*job)) {
      tasks.spawn(conduct(shared_from_this(), job));
    } else {
      finish(job, tl::unexpected<Error>(std::move(handed).error()));
    }
  }
  dispatches = false;
}

void Pool::State::finish(const JobPtr& job, Result<Outcome> outcome) {
  std::erase(running, job);
  job->finish(std::move(outcome));
}

void Pool::State::discard(WorkerPtr worker) {
  --counts.workers;
  worker->kill();
  tasks.spawn(bury(std::move(worker)));
}

Result<> Pool::State::hand(Job& job) {
  const auto question = encodeQuestion(job.task.work, job.task.bytes);
  std::vector<int> numbers;
  for (const auto& fd : job.task.fds) {
    // The copy failed. The worker did nothing wrong.
    if (!fd) return fail(job.task.stage, Reason::system, job.task.what + ": copy a descriptor", EMFILE);
    numbers.push_back(fd.get());
  }
  for (;;) {
    FB_TRY(job.worker, takeWorker());
    auto sent = sys::sendMessage(job.worker->socket(), question, numbers, true);
    if (sent) return {};
    discard(std::move(job.worker));
    if (sent.error().reason != Reason::spawner_gone || ++job.tries >= kTriesPerTask) return sent;
  }
}

Result<Pool::State::WorkerPtr> Pool::State::takeWorker() {
  if (!idle.empty()) {
    auto worker = std::move(idle.back());
    idle.pop_back();
    return worker;
  }
  return startWorker();
}

Result<Pool::State::WorkerPtr> Pool::State::startWorker() {
  FB_TRY(auto worker, Worker::start(executor, program));
  ++counts.workers;
  std::erase_if(all, [](const auto& one) { return one.expired(); });
  all.push_back(worker);
  return worker;
}

void Pool::State::close() {
  closes = true;
  queue.clear();
  for (const auto& one : all) {
    if (const auto worker = one.lock()) worker->end();
  }
  tasks.cancelAll();
}

void Pool::State::giveBack(WorkerPtr worker) {
  if (idle.size() < limits.idle) {
    idle.push_back(std::move(worker));
    return;
  }
  --counts.workers;
  worker->dismiss();
  tasks.spawn(bury(std::move(worker)));
}

void Pool::State::giveUp(const JobPtr& job, WorkerPtr worker) {
  --counts.workers;
  ++counts.missed[indexOf(job->task.work)];
  worker->giveUp();
  const auto place =
      stuck.insert(stuck.end(), {job->task.owner, touchedBy(job->task.work), std::move(worker)});
  tasks.spawn(buryStuck(shared_from_this(), place));
  if (tell) {
    tell({job->task.work, job->task.owner, job->task.what, stuckOf(&Owner::pod, job->task)});
  }
}

asio::awaitable<void> Pool::State::bury(WorkerPtr worker) {
  co_await worker->ended();
}

asio::awaitable<void> Pool::State::buryStuck(std::shared_ptr<State> self, std::list<Stuck>::iterator place) {
  co_await place->worker->ended();
  self->stuck.erase(place);
}

asio::awaitable<void> Pool::State::conduct(std::shared_ptr<State> self, JobPtr job) {
  auto outcome = co_await self->outcomeOf(job);
  self->finish(job, std::move(outcome));
  self->dispatch();
}

/// Reason timeout if none comes in time. Empty if the worker is gone.
asio::awaitable<Result<sys::Message>> Pool::State::answerOf(JobPtr job) {
  for (bool inTime = true;;) {
    auto message = sys::receiveMessage(job->worker->socket(), true);
    if (message || message.error().reason != Reason::unavailable) co_return message;
    if (!inTime) co_return tl::unexpected<Error>(job->missed());
    inTime = co_await within(job->deadline, job->worker->answered());
  }
}

asio::awaitable<Result<Outcome>> Pool::State::outcomeOf(JobPtr job) {
  for (;;) {
    auto message = co_await answerOf(job);
    auto worker = std::move(job->worker);
    if (message && !message->bytes.empty()) {
      giveBack(std::move(worker));
      auto bytes = decodeAnswer(message->bytes);
      if (!bytes) co_return tl::unexpected<Error>(bytes.error());
      co_return Outcome{std::move(*bytes), std::move(message->fds)};
    }
    if (!message && message.error().reason == Reason::timeout) {
      giveUp(job, std::move(worker));
      co_return tl::unexpected<Error>(message.error());
    }
    // It was killed, perhaps while it was idle. Every task may be repeated.
    discard(std::move(worker));
    if (++job->tries >= kTriesPerTask) {
      co_return fail(job->task.stage, Reason::killed, job->task.what + ": the worker died");
    }
    if (auto handed = hand(*job); !handed) co_return tl::unexpected<Error>(handed.error());
  }
}

Pool::Pool(asio::any_io_executor executor, std::string program, PoolLimits limits)
    : state_(std::make_shared<State>(
          std::move(executor), program.empty() ? defaultWorkerProgram() : std::move(program), limits)) {}

Pool::~Pool() {
  state_->close();
}

Result<> Pool::start() {
  while (state_->idle.size() < std::min(kStartedAtOnce, state_->limits.idle)) {
    FB_TRY(auto worker, state_->startWorker());
    state_->idle.push_back(std::move(worker));
  }
  return {};
}

void Pool::onMissed(std::function<void(const Missed&)> tell) {
  state_->tell = std::move(tell);
}

PoolCounts Pool::counts() const {
  auto counts = state_->counts;
  counts.stuck = state_->stuck.size();
  return counts;
}

/// Returned by begin(): holds the job, so that it counts as waited for.
struct Pool::Ticket final : Begun {
  Ticket(std::shared_ptr<State> pool, std::shared_ptr<Job> given)
      : state(std::move(pool)), job(std::move(given)) {}
  asio::awaitable<Result<Outcome>> outcome() override { return wait(state, job); }
  static asio::awaitable<Result<Outcome>> wait(std::shared_ptr<State> state, std::shared_ptr<Job> job);

  std::shared_ptr<State> state;
  std::shared_ptr<Job> job;
};

std::unique_ptr<Begun> Pool::begin(Task task) {
  const auto job = std::make_shared<Job>(state_->executor, std::move(task));
  if (state_->closes) {
    job->outcome = fail(job->task.stage, Reason::cancelled, job->task.what + ": the daemon is stopping");
  } else if (auto refused = state_->refusal(job->task)) {
    job->outcome = tl::unexpected<Error>(std::move(*refused));
  } else {
    state_->queue.push_back(job);
    state_->dispatch();
  }
  return std::make_unique<Ticket>(state_, job);
}

asio::awaitable<Result<Outcome>> Pool::Ticket::wait(std::shared_ptr<State> state, std::shared_ptr<Job> job) {
  if (!job->outcome) {
    const bool inTime = co_await job->done.waitUntil(job->deadline);
    if (!inTime && job->begun) {
      co_await job->done.wait();  // it ends by its own deadline, at this very moment
    } else if (!inTime) {
      std::erase(state->queue, job);
      ++state->counts.missed[indexOf(job->task.work)];
      job->outcome = fail(job->task.stage, Reason::timeout, job->task.what + ": no worker was free in time");
    }
  }
  co_return std::move(*job->outcome);
}

}  // namespace fallbackd::workers
