#include "watcher/watcher.hpp"

#include "watcher/image_reference.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace fallbackd::watcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Labels that containerd's CRI plugin and kubelet put on everything they make.
constexpr const char* kKindLabel = "io.cri-containerd.kind";
constexpr const char* kPodNameLabel = "io.kubernetes.pod.name";
constexpr const char* kPodNamespaceLabel = "io.kubernetes.pod.namespace";
constexpr const char* kPodUidLabel = "io.kubernetes.pod.uid";
constexpr const char* kContainerNameLabel = "io.kubernetes.container.name";

constexpr auto kFirstReconnect = 50ms;
constexpr auto kLastReconnect = 2s;
// containerd could not be asked: ask again soon, it is not the registry's fault.
constexpr auto kUndecidedRetry = 250ms;

std::string labelOr(const cri::Labels& labels, const char* key) {
  const auto found = labels.find(key);
  return found == labels.end() ? std::string() : found->second;
}

/// Sleeps; returns early, without an exception, when the timer is cancelled as a wake-up call.
cri::Awaitable<void> pauseFor(std::shared_ptr<asio::steady_timer> timer, std::chrono::nanoseconds interval) {
  timer->expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(interval));
  boost::system::error_code ignored;
  co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

Watcher::Watcher(asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
                 Listener& listener, config::ConfigPtr config)
    : executor_(executor),
      runtime_(runtime),
      events_(events),
      listener_(listener),
      config_(std::move(config)),
      prober_(executor, runtime, config_->detection.maxConcurrentProbes),
      random_(std::random_device{}()),
      tasks_(executor) {}

cri::Awaitable<void> Watcher::run() {
  std::chrono::nanoseconds delay = kFirstReconnect;
  for (;;) {
    const auto began = Monotonic::now();
    const auto ended = co_await follow();
    listener_.connection(false, ended ? std::string() : ended.error().message());
    if (Monotonic::now() - began > kLastReconnect) delay = kFirstReconnect;
    const auto timer = std::make_shared<asio::steady_timer>(executor_);
    co_await pauseFor(timer, jittered(delay));
    delay = std::min<std::chrono::nanoseconds>(delay * 2, kLastReconnect);
  }
}

/// One life of the event stream. The subscription stands before the lists are taken, so nothing falls
/// between.
cri::Awaitable<Result<>> Watcher::follow() {
  using namespace asio::experimental::awaitable_operators;
  auto stream = co_await events_.subscribe();
  if (!stream) co_return tl::unexpected<Error>(stream.error());
  const auto synced = co_await resync();
  if (!synced) co_return synced;
  listener_.connection(true, {});

  auto events = [](Watcher& self, cri::EventStream& source) -> cri::Awaitable<Error> {
    for (;;) {
      auto event = co_await source.next();
      if (!event) co_return event.error();
      co_await self.handle(std::move(*event));
    }
  };
  const std::variant<Error, std::monostate> first = co_await (events(*this, **stream) || resyncRegularly());
  if (first.index() == 0) co_return tl::unexpected<Error>(std::get<0>(first));
  co_return fail(Stage::containerd, Reason::unavailable, "resync failed");
}

/// Ends when a resync fails: then the connection is set up anew.
cri::Awaitable<void> Watcher::resyncRegularly() {
  const auto timer = std::make_shared<asio::steady_timer>(executor_);
  for (;;) {
    co_await pauseFor(timer, jittered(config_->containerd.resyncInterval));
    const auto synced = co_await resync();
    if (!synced) co_return;
  }
}

cri::Awaitable<Result<>> Watcher::resync() {
  // Containers first: a container made between the two lists belongs to a sandbox that is older still, and
  // a sandbox that is newer than the container list has its container's own event.
  const auto asked = Monotonic::now();  // what came up since then need not be in the lists
  const auto containers = co_await runtime_.listContainers();
  if (!containers) co_return tl::unexpected<Error>(containers.error());
  const auto sandboxes = co_await runtime_.listSandboxes();
  if (!sandboxes) co_return tl::unexpected<Error>(sandboxes.error());

  const auto now = Monotonic::now();
  std::set<std::string> ready;
  for (const auto& sandbox : *sandboxes) {
    if (sandbox.ready) ready.insert(sandbox.id);
  }
  std::set<std::string> gone;
  for (const auto& [id, pod] : pods_) {
    if (!ready.contains(id) && pod.seen < asked) gone.insert(id);
  }
  for (const auto& id : gone) dropSandbox(id);

  std::map<std::string, std::vector<const cri::Container*>> bySandbox;
  std::set<std::string> listed;
  for (const auto& container : *containers) {
    bySandbox[container.sandboxId].push_back(&container);
    listed.insert(container.id);
  }
  for (const auto& sandbox : *sandboxes) {
    if (!sandbox.ready) continue;
    // Known containers first, so that a pod which has its container is never taken for one that waits.
    auto& pod = pods_.try_emplace(sandbox.id, Pod{sandbox, now, now, {}}).first->second;
    pod.sandbox = sandbox;
    for (const auto* container : bySandbox[sandbox.id])
      addContainer(sandbox.id, container->name, container->id);
    std::vector<std::string> removed;
    for (const auto& [id, container] : pod.containers) {
      if (!listed.contains(id) && container.seen < asked) removed.push_back(id);
    }
    for (const auto& id : removed) dropContainer(id);
    attendAll(pod);
  }
  co_return Result<>{};
}

cri::Awaitable<void> Watcher::handle(cri::Event event) {
  using Kind = cri::Event::Kind;
  switch (event.kind) {
    case Kind::task_started:
      if (const auto pod = pods_.find(event.id); pod != pods_.end()) {
        pod->second.since = event.at;
        listener_.sandboxStarted(event.id, event.at);
      } else if (!sandboxOf_.contains(event.id)) {
        co_await learn(event.id, event.at);
      }
      if (sandboxOf_.contains(event.id)) listener_.containerStarted(event.id, event.at);
      break;
    case Kind::container_created:
      co_await learn(event.id, event.at);
      break;
    case Kind::container_deleted:
      dropContainer(event.id);
      dropSandbox(event.id);
      break;
    case Kind::task_exited:
      dropSandbox(event.id);  // no sandbox has the id of an ordinary container
      break;
    case Kind::image_arrived:
      listener_.imageArrived(event.id);
      for (const auto& [key, attendance] : attended_) {
        if (normalizedReference(attendance.workload->image) == event.id) attendance.pause->cancel();
      }
      break;
  }
}

/// Finds out by containerd's labels whether an id is a sandbox or a container, and of which pod.
cri::Awaitable<void> Watcher::learn(std::string id, Stamp at) {
  const auto labels = co_await runtime_.containerLabels(id);
  if (!labels) co_return;  // gone already, or containerd is: the resync tells
  const auto kind = labelOr(*labels, kKindLabel);
  if (kind == "sandbox") {
    // Known from /containers/create where the labels are there by then: the probe pull then runs while the
    // sandbox still starts.
    cri::Sandbox sandbox;
    sandbox.id = id;
    sandbox.podName = labelOr(*labels, kPodNameLabel);
    sandbox.podNamespace = labelOr(*labels, kPodNamespaceLabel);
    sandbox.podUid = labelOr(*labels, kPodUidLabel);
    sandbox.labels = *labels;
    addSandbox(std::move(sandbox), at);
  } else if (kind == "container") {
    const auto uid = labelOr(*labels, kPodUidLabel);
    const auto name = labelOr(*labels, kContainerNameLabel);
    // The newest sandbox of the pod: an older one is on its way out.
    const Pod* newest = nullptr;
    for (const auto& [sandboxId, pod] : pods_) {
      if (pod.sandbox.podUid == uid && (newest == nullptr || pod.since > newest->since)) newest = &pod;
    }
    if (newest != nullptr && !name.empty()) addContainer(newest->sandbox.id, name, id);
  }
}

void Watcher::addSandbox(cri::Sandbox sandbox, Stamp since) {
  const std::string id = sandbox.id;
  const auto [entry, isNew] = pods_.try_emplace(id, Pod{std::move(sandbox), Monotonic::now(), since, {}});
  if (isNew) attendAll(entry->second);
}

void Watcher::addContainer(const std::string& sandboxId, const std::string& name, const std::string& id) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end() ||
      !pod->second.containers.emplace(id, KnownContainer{name, Monotonic::now()}).second) {
    return;
  }
  sandboxOf_[id] = sandboxId;
  leave({sandboxId, name});
  listener_.containerCreated(pod->second.sandbox.podUid, name, id);
}

void Watcher::dropContainer(const std::string& id) {
  const auto found = sandboxOf_.find(id);
  if (found == sandboxOf_.end()) return;
  const auto pod = pods_.find(found->second);
  sandboxOf_.erase(found);
  if (pod == pods_.end()) return;
  pod->second.containers.erase(id);
  attendAll(pod->second);  // the pod may wait for its next container now
}

void Watcher::dropSandbox(const std::string& sandboxId) {
  const auto found = pods_.find(sandboxId);
  if (found == pods_.end()) return;
  std::vector<Key> left;
  for (const auto& [key, attendance] : attended_) {
    if (key.first == sandboxId) left.push_back(key);
  }
  for (const auto& key : left) leave(key);
  for (const auto& [id, container] : found->second.containers) sandboxOf_.erase(id);
  pods_.erase(found);
  listener_.sandboxGone(sandboxId);
}

void Watcher::attendAll(const Pod& pod) {
  for (const auto& workload : workloadsFor(config_, pod.sandbox)) {
    const std::string& name = workload->match.container;
    const bool has = std::any_of(pod.containers.begin(), pod.containers.end(),
                                 [&](const auto& one) { return one.second.name == name; });
    const Key key{pod.sandbox.id, name};
    if (has || attended_.contains(key)) continue;
    auto pause = std::make_shared<asio::steady_timer>(executor_);
    const auto task = tasks_.spawn(attend(key, workload, pause));
    attended_.emplace(key, Attendance{workload, task, std::move(pause)});
  }
}

void Watcher::leave(const Key& key) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  tasks_.cancel(found->second.task);
  attended_.erase(found);
}

void Watcher::reconfigure(config::ConfigPtr config) {
  config_ = std::move(config);
  for (const auto& [key, attendance] : attended_) tasks_.cancel(attendance.task);
  attended_.clear();
  for (const auto& [id, pod] : pods_) attendAll(pod);
}

/// Looks after one waiting container until leave() cancels it. Goes on while its fallback runs: the pull that
/// succeeds at the end of the outage puts the image on the node, and kubelet starts it at its next sync.
cri::Awaitable<void> Watcher::attend(Key key, WorkloadPtr workload,
                                     std::shared_ptr<asio::steady_timer> pause) {
  for (;;) {
    const auto wait = co_await lookOnce(key, workload);
    co_await pauseFor(pause, wait);
  }
}

/// One look; returns how long to wait before the next.
cri::Awaitable<std::chrono::nanoseconds> Watcher::lookOnce(Key key, WorkloadPtr workload) {
  const auto interval = jittered(config_->detection.reprobeInterval);
  if (workload->detection.pullPolicy == config::PullPolicy::if_not_present) {
    const auto present = co_await runtime_.imagePresent(workload->image);
    if (!present) co_return kUndecidedRetry;
    if (*present) co_return interval;
  }
  const auto verdict = co_await prober_.probe(workload->image, workload->detection.stallTimeout);
  listener_.probed(*workload, verdict);
  if (verdict.kind == Verdict::Kind::undecided) co_return kUndecidedRetry;
  if (verdict.kind == Verdict::Kind::failed && workload->detection.triggers.contains(verdict.cause)) {
    const auto pod = pods_.find(key.first);
    if (pod != pods_.end()) {
      listener_.detected(Detection{pod->second.sandbox, workload, verdict.cause, verdict.text,
                                   pod->second.since, verdict.ended});
    }
  }
  co_return interval;
}

std::chrono::nanoseconds Watcher::jittered(std::chrono::nanoseconds interval) {
  std::uniform_real_distribution<double> spread(0.8, 1.2);
  return std::chrono::nanoseconds(
      static_cast<std::int64_t>(static_cast<double>(interval.count()) * spread(random_)));
}

}  // namespace fallbackd::watcher
