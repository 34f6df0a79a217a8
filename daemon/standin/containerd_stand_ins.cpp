// SPDX-License-Identifier: Apache-2.0
#include "standin/containerd_stand_ins.hpp"

#include "base/async/backoff.hpp"
#include "base/async/loop_clock.hpp"
#include "base/async/within.hpp"
#include "domain/stand_in.hpp"
#include "standin/signals.hpp"
#include "sys/process.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <boost/asio/this_coro.hpp>

namespace fallbackd::standin {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kExitLimit = 2s;
constexpr Backoff::Limits kEndLooks{10ms, 200ms};
constexpr int kMaxEndLooks = 15;  // 2 s
constexpr Backoff::Limits kRemovalPauses{100ms, 1s};
constexpr auto kStopGrace = 0s;  // the process is no longer needed
constexpr const char* kPodUid = "io.kubernetes.pod.uid";

class ContainerdStandIn final : public StandIn {
 public:
  ContainerdStandIn(cri::Control& control, std::string id, Times times, Signals signals)
      : control_(control), id_(std::move(id)), times_(times), signals_(std::move(signals)) {}
  [[nodiscard]] const std::string& containerId() const override { return id_; }
  [[nodiscard]] const Times& times() const override { return times_; }
  asio::awaitable<int> signalled() override {
    if (!signal_) signal_ = co_await signals_.next();
    co_return *signal_;
  }
  asio::awaitable<void> outOfMemory() override {
    const auto told = co_await control_.tellOutOfMemory(id_);
    static_cast<void>(told);  // its exit code shows it, too, if less clearly
  }
  asio::awaitable<void> exit(int code) override {
    if (!signals_.end(code)) co_return;
    const bool inTime = co_await signals_.ended(kExitLimit);
    static_cast<void>(inTime);
  }

 private:
  cri::Control& control_;
  std::string id_;
  Times times_;
  Signals signals_;
  std::optional<int> signal_;
};

bool isOurs(const cri::Container& container, const std::string& runDir) {
  const auto owner = container.annotations.find(kStandInOwner);
  return container.labels.contains(kStandInLabel) && owner != container.annotations.end() &&
         owner->second == runDir;
}

std::string labelOf(const cri::Container& container, const char* key) {
  const auto found = container.labels.find(key);
  return found == container.labels.end() ? std::string() : found->second;
}

/// The sandbox's user namespace has to be the node's: we do not know its mapping.
Result<> checkSandbox(const cri::SandboxStatus& sandbox) {
  const auto its = sys::namespaceOf(Stage::sandbox, sandbox.pausePid, "user");
  const auto ours = sys::namespaceOf(Stage::sandbox, 1, "user");
  if (!its || !ours || *its == *ours) return {};
  return fail(Stage::sandbox, Reason::sandbox_changed, "the pod has a user namespace of its own");
}

/// A start without an answer may have succeeded, and kubelet adopts what runs.
tl::unexpected<Error> mayRun(const Error& start, const Error& removal) {
  return fail(Stage::run, start.reason,
              start.context + "; it may run all the same, and is not removed: " + removal.context);
}

}  // namespace

/// Our stand-ins, of all sandboxes.
cri::Awaitable<Result<std::vector<cri::Container>>> ContainerdStandIns::mine() {
  auto list = co_await runtime_.listContainers();
  if (list) std::erase_if(*list, [&](const auto& one) { return !isOurs(one, runDir_); });
  co_return list;
}

/// The pod's containers, of all its sandboxes. The runtime learns only later that a stand-in ended with the
/// previous fallback; if it were removed before that, kubelet would never see how it ended.
cri::Awaitable<Result<std::vector<cri::Container>>> ContainerdStandIns::containersOf(const Request& request) {
  Backoff pause(kEndLooks);
  for (int look = 1;; ++look) {
    auto list = co_await runtime_.listContainers();
    if (!list) co_return list;
    const auto& sandbox = request.sandbox.sandbox;
    std::erase_if(*list, [&](const auto& one) {
      return one.sandboxId != sandbox.id && labelOf(one, kPodUid) != sandbox.podUid;
    });
    const bool ends = std::any_of(list->begin(), list->end(), [&](const auto& one) {
      return one.sandboxId == sandbox.id && one.name == request.container && isOurs(one, runDir_) &&
             one.state == cri::Container::State::running && one.attempt < kFirstAttempt + request.restarts;
    });
    if (!ends || look == kMaxEndLooks) co_return list;
    co_await pause.wait();
  }
}

asio::awaitable<Result<std::unique_ptr<StandIn>>> ContainerdStandIns::make(Request request) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  FB_CO_CHECK(checkSandbox(request.sandbox));
  const auto use = images_.use();
  const auto ofPod = co_await containersOf(request);
  if (!ofPod) co_return tl::unexpected<Error>(ofPod.error());
  const auto room = co_await makeRoom(request, *ofPod);
  if (!room) co_return tl::unexpected<Error>(room.error());
  const auto begun = clock.now();
  const auto image = co_await images_.ensure(request);
  if (!image) co_return tl::unexpected<Error>(image.error());
  const auto haveImage = clock.now();
  auto order = orderOf(request, runDir_, *ofPod);
  const auto id = co_await control_.createContainer(request.sandbox, std::move(order));
  if (!id) co_return tl::unexpected<Error>(id.error());
  const Times times{haveImage - begun, clock.now() - haveImage, {}};
  const auto expected = co_await images_.check(*id, *image);
  if (!expected) {
    const auto removed = co_await control_.removeContainer(*id);
    static_cast<void>(removed);  // the next attempt removes it, too
    co_return tl::unexpected<Error>(expected.error());
  }
  // Before it runs: a daemon that dies in between leaves no stand-in without its link.
  link(request, *id);
  auto standIn = co_await start(*id, times);
  if (standIn) unlinkFallback(request, *id);
  if (!standIn) {
    unlink(request, *id);
    images_.suspect(imageNameOf(request.binary, request.executable));
    const auto removed = co_await removeById(*id);
    if (!removed) co_return mayRun(standIn.error(), removed.error());
  }
  co_return standIn;
}

/// kubelet considers the pod initialised once it sees a regular container.
cri::Awaitable<Result<>> ContainerdStandIns::checkSucceeded(const std::string& name,
                                                            const std::vector<cri::Container>& there) {
  const cri::Container* latest = nullptr;
  for (const auto& one : there) {
    if (one.name == name && (latest == nullptr || one.attempt > latest->attempt)) latest = &one;
  }
  if (latest == nullptr) co_return fail(Stage::sandbox, Reason::not_ready, "init container " + name);
  const auto code = co_await runtime_.exitCode(latest->id);
  if (!code) co_return tl::unexpected<Error>(code.error());
  if (*code != 0) co_return fail(Stage::sandbox, Reason::not_ready, "init container " + name + " failed");
  co_return Result<>{};
}

/// Nothing else that kubelet would see may have the container's name.
cri::Awaitable<Result<>> ContainerdStandIns::makeRoom(const Request& request,
                                                      const std::vector<cri::Container>& ofPod) {
  std::vector<cri::Container> there;
  for (const auto& one : ofPod) {
    if (one.sandboxId == request.sandbox.sandbox.id) there.push_back(one);
  }
  const auto missing = missingBefore(request, there);
  if (!missing.empty()) co_return fail(Stage::sandbox, Reason::not_ready, missing);
  for (const auto& name : request.initContainers) {
    auto succeeded = co_await checkSucceeded(name, there);
    if (!succeeded) co_return succeeded;
  }
  const cri::Container* latest = nullptr;
  for (const auto& one : there) {
    if (one.name != request.container) continue;
    if (!one.labels.contains(kStandInLabel)) {
      if (one.state == cri::Container::State::exited) continue;
      co_return fail(Stage::sandbox, Reason::already_exists, "kubelet has created container " + one.id);
    }
    if (!isOurs(one, runDir_)) {
      co_return fail(Stage::sandbox, Reason::already_exists, "another fallbackd made stand-in " + one.id);
    }
    if (latest == nullptr || one.attempt > latest->attempt) latest = &one;
  }
  for (const auto& one : there) {
    if (one.name != request.container || !isOurs(one, runDir_)) continue;
    const bool kept = &one == latest && one.state == cri::Container::State::exited &&
                      one.attempt < kFirstAttempt + request.restarts;
    if (kept) continue;
    const bool serves = one.attempt == kFirstAttempt + request.restarts;
    auto removed = co_await remove(one, serves ? Fallback::serves : Fallback::ended);
    if (!removed) co_return removed;
  }
  // CRI's name of a container contains its pod, not its sandbox.
  for (const auto& one : ofPod) {
    const bool elsewhere = one.sandboxId != request.sandbox.sandbox.id;
    if (!elsewhere || one.name != request.container || !isOurs(one, runDir_)) continue;
    auto removed = co_await remove(one, Fallback::ended);
    if (!removed) co_return removed;
  }
  co_return Result<>{};
}

cri::Awaitable<Result<std::unique_ptr<StandIn>>> ContainerdStandIns::start(std::string id, Times times) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  const auto begun = clock.now();
  const auto started = co_await control_.startContainer(id);
  if (!started) co_return tl::unexpected<Error>(started.error());
  times.start = clock.now() - begun;
  co_return co_await take(std::move(id), times);
}

cri::Awaitable<Result<std::unique_ptr<StandIn>>> ContainerdStandIns::take(std::string id, Times times) {
  const auto pid = co_await control_.containerPid(id);
  if (!pid) co_return tl::unexpected<Error>(pid.error());
  if (*pid == 0) co_return fail(Stage::run, Reason::exited, "stand-in " + id + " has ended");
  auto signals = co_await Signals::of(*pid);
  if (!signals) co_return tl::unexpected<Error>(signals.error());
  // The number may have been given to another process meanwhile.
  const auto still = co_await control_.containerPid(id);
  if (!still) co_return tl::unexpected<Error>(still.error());
  if (*still != *pid) co_return fail(Stage::run, Reason::exited, "stand-in " + id + " has ended");
  co_return std::unique_ptr<StandIn>(
      std::make_unique<ContainerdStandIn>(control_, std::move(id), times, std::move(*signals)));
}

asio::awaitable<Result<std::unique_ptr<StandIn>>> ContainerdStandIns::find(std::string recoveryId) {
  const auto list = co_await mine();
  if (!list) co_return tl::unexpected<Error>(list.error());
  for (const auto& one : *list) {
    if (one.labels.at(kStandInLabel) != recoveryId || one.state != cri::Container::State::running) continue;
    co_return co_await take(one.id, {});
  }
  co_return nullptr;
}

void ContainerdStandIns::link(const Request& request, const std::string& id) {
  if (request.logPath.empty()) return;
  const auto& pod = request.sandbox.sandbox;
  const auto log = request.sandbox.logDirectory + "/" + request.logPath;
  const auto made = links_.make({pod.podName, pod.podNamespace, request.container, id}, log);
  if (!made && trouble_) trouble_(made.error());
}

/// Removes the link from before the stand-in: a collector would read the log twice. Only if the stand-in has
/// one.
void ContainerdStandIns::unlinkFallback(const Request& request, const std::string& id) const {
  const auto& pod = request.sandbox.sandbox;
  const auto log = links_.target({pod.podName, pod.podNamespace, request.container, id});
  if (!log.empty()) links_.remove({pod.podName, pod.podNamespace, request.container, sys::idOfLog(log)});
}

void ContainerdStandIns::unlink(const Request& request, const std::string& id) const {
  const auto& sandbox = request.sandbox.sandbox;
  links_.remove({sandbox.podName, sandbox.podNamespace, request.container, id});
}

void ContainerdStandIns::linkFallback(sys::LogOwner owner) const {
  const auto log = links_.target(owner);
  if (log.empty()) return;
  owner.containerId = sys::idOfLog(log);
  const auto made = links_.make(owner, log);
  if (!made && trouble_) trouble_(made.error());
}

/// Its link first: once the container is gone, no later daemon would know that it had one. The log stays, as
/// a container's does, and a fallback that goes on writing it gets back the link that it had before.
cri::Awaitable<Result<>> ContainerdStandIns::remove(cri::Container standIn, Fallback fallback) {
  sys::LogOwner owner{labelOf(standIn, "io.kubernetes.pod.name"),
                      labelOf(standIn, "io.kubernetes.pod.namespace"), standIn.name, standIn.id};
  if (fallback == Fallback::serves) linkFallback(owner);
  links_.remove(owner);
  co_return co_await removeById(standIn.id);
}

cri::Awaitable<Result<>> ContainerdStandIns::removeById(std::string id) {
  auto stopped = co_await control_.stopContainer(id, kStopGrace);
  if (!stopped) co_return stopped;
  co_return co_await control_.removeContainer(std::move(id));
}

asio::awaitable<Result<>> ContainerdStandIns::removeAll(std::string sandboxId, std::string container,
                                                        Fallback fallback) {
  auto list = co_await mine();
  if (!list) co_return tl::unexpected<Error>(list.error());
  std::erase_if(*list, [&](const auto& one) { return one.sandboxId != sandboxId || one.name != container; });
  std::uint32_t latest = 0;
  for (const auto& one : *list) latest = std::max(latest, one.attempt);
  Result<> result;
  for (const auto& one : *list) {
    auto removed = co_await remove(one, one.attempt == latest ? fallback : Fallback::ended);
    if (!removed) result = std::move(removed);
  }
  if (!list->empty()) co_await images_.removeUnused();
  co_return result;
}

asio::awaitable<Result<std::size_t>> ContainerdStandIns::removeOthers(
    std::function<bool(const std::string& recoveryId)> isKept) {
  std::size_t count = 0;
  const auto removed = co_await removeThose(std::move(isKept), Fallback::ended, count);
  if (!removed) co_return tl::unexpected<Error>(removed.error());
  co_return count;
}

/// Adds their number to `count`, even if others cannot be removed.
cri::Awaitable<Result<>> ContainerdStandIns::removeThose(
    std::function<bool(const std::string& recoveryId)> isKept, Fallback fallback, std::size_t& count) {
  const auto list = co_await mine();
  if (!list) co_return tl::unexpected<Error>(list.error());
  Result<> result;
  for (const auto& one : *list) {
    if (isKept(one.labels.at(kStandInLabel))) continue;
    const bool serves = one.state == cri::Container::State::running;
    auto removed = co_await remove(one, serves ? fallback : Fallback::ended);
    if (removed) ++count;
    if (!removed) result = std::move(removed);
  }
  co_await images_.removeUnused();
  co_return result;
}

asio::awaitable<Result<std::size_t>> ContainerdStandIns::removeEvery(std::chrono::nanoseconds limit) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  const auto deadline = clock.now() + limit;
  auto last = fail(Stage::containerd, Reason::timeout, "no answer in time");
  Backoff pause(kRemovalPauses);
  const auto none = [](const std::string&) { return false; };
  std::size_t count = 0;
  while (clock.now() < deadline) {
    const auto before = count;
    auto round = removeThose(none, Fallback::serves, count);
    const auto removed = co_await within(deadline, std::move(round));
    if (!removed) break;
    if (*removed && count == before) co_return count;
    if (!*removed) {
      last = tl::unexpected<Error>(removed->error());
      co_await pause.wait();
    }
  }
  co_return last;
}

}  // namespace fallbackd::standin
