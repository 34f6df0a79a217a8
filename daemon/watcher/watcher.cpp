// SPDX-License-Identifier: Apache-2.0
#include "watcher/watcher.hpp"

#include "base/async/backoff.hpp"
#include "base/async/pause.hpp"
#include "watcher/real_container.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <tuple>
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

constexpr auto kFirstReconnect = 50ms;
constexpr auto kLastReconnect = 2s;
constexpr auto kShortestLook = 1ms;
constexpr auto kLookLimit = 10s;
constexpr std::size_t kMaxLabelBytes = 16384;

std::string labelOr(const cri::Labels& labels, const char* key) {
  const auto found = labels.find(key);
  return found == labels.end() ? std::string() : found->second;
}

std::size_t bytesOf(const cri::Labels& labels) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : labels) bytes += key.size() + value.size();
  return bytes;
}

}  // namespace

Watcher::Watcher(asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
                 Traffic& traffic, Listener& listener, config::ConfigPtr config)
    : executor_(executor),
      clock_(LoopClock::of(executor)),
      runtime_(runtime),
      events_(events),
      listener_(listener),
      config_(std::move(config)),
      prober_(executor, runtime, traffic, config_->detection.maxConcurrentProbes,
              config_->detection.reprobeInterval,
              [this](const std::string& host, const Scope& scope) {
                wake([&](const Key& key, const Attendance& one) {
                  return one.reference.host() == host &&
                         (!scope || pods_.at(key.first).sandbox.podNamespace == *scope);
                });
              }),
      tasks_(executor) {
  useConfig(config_);
}

cri::Awaitable<void> Watcher::run() {
  Backoff delay({kFirstReconnect, kLastReconnect});
  for (;;) {
    const auto began = clock_.now();
    const auto ended = co_await follow();
    listener_.connection(false, ended ? std::string() : ended.error().message());
    if (clock_.now() - began > kLastReconnect) delay.reset();
    co_await pauseFor(jittered_(delay.next()));
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

/// Ends when a resync fails: then the connection is set up again.
cri::Awaitable<void> Watcher::resyncRegularly() {
  for (;;) {
    co_await pauseFor(jittered_(config_->containerd.resyncInterval));
    const auto synced = co_await resync();
    if (!synced) co_return;
  }
}

cri::Awaitable<Result<>> Watcher::resync() {
  // Containers first: a container made between the two lists belongs to a sandbox that is older still, and
  // a sandbox that is newer than the container list has its container's own event.
  const auto asked = clock_.now();  // what came up since then need not be in the lists
  const auto containers = co_await runtime_.listContainers();
  if (!containers) co_return tl::unexpected<Error>(containers.error());
  const auto sandboxes = co_await runtime_.listSandboxes();
  if (!sandboxes) co_return tl::unexpected<Error>(sandboxes.error());

  co_await learnImages(*containers);

  const auto now = clock_.now();
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
  running_.clear();
  for (const auto& workload : config_->workloads) running_[workload.name] = {};
  for (const auto& sandbox : *sandboxes) {
    if (!sandbox.ready) continue;
    auto& pod = pods_.try_emplace(sandbox.id, now, now).first->second;
    keep(pod, sandbox);
    countRunning(pod, bySandbox[sandbox.id]);
    // Known containers first, so that a pod which has its container is never taken for one that waits.
    for (const auto* container : bySandbox[sandbox.id]) addContainer(sandbox.id, *container);
    std::vector<std::string> removed;
    for (const auto& [id, container] : pod.containers) {
      if (!listed.contains(id) && container.seen < asked) removed.push_back(id);
    }
    for (const auto& id : removed) dropContainer(id);
    attendAll(pod, Seen::later);
  }
  co_await checkSandboxImage();
  co_return Result<>{};
}

cri::Awaitable<void> Watcher::handle(cri::Event event) {
  using Kind = cri::Event::Kind;
  switch (event.kind) {
    case Kind::task_started:
      if (const auto pod = pods_.find(event.id); pod != pods_.end()) {
        pod->second.since = event.at;
        listener_.sandboxStarted(event.id, event.at);
      } else if (const auto asked = learning_.find(event.id); asked != learning_.end()) {
        asked->second->since = event.at;
        asked->second->next.notify();
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
      exited(event);
      dropSandbox(event.id);  // no sandbox has the id of an ordinary container
      break;
    case Kind::image_arrived:
      listener_.imageArrived(event.id);
      if (const auto arrived = ImageReference::parse(event.id)) {
        wake([&](const Key&, const Attendance& one) { return one.reference == *arrived; });
      }
      break;
  }
}

/// Finds out by containerd's labels whether an id is a sandbox or a container, and of which pod.
cri::Awaitable<void> Watcher::learn(std::string id, Stamp at) {
  const auto stored = co_await runtime_.storedContainer(id);
  if (!stored) co_return;  // gone already, or containerd is: the resync tells
  const auto* labels = &stored->labels;
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
    if (annotationsCount(*config_, sandbox.podNamespace)) {
      // Annotations are not in containerd's own store: CRI has them, once the sandbox stands.
      const auto [asked, isNew] =
          learning_.try_emplace(id, std::make_shared<Learning>(executor_, sandbox.podUid, at));
      if (isNew) tasks_.spawn(learnAnnotated(id, asked->second));
    } else {
      addSandbox(std::move(sandbox), at);
    }
  } else if (kind == "container") {
    place(labelOr(*labels, kPodUidLabel), *stored);
  }
}

/// Into the sandbox that it names; else into the newest of the pod, since an older one is on its way out.
void Watcher::place(const std::string& podUid, const cri::Container& container) {
  if (pods_.contains(container.sandboxId)) return addContainer(container.sandboxId, container);
  const Pod* newest = nullptr;
  for (const auto& [sandboxId, pod] : pods_) {
    if (pod.sandbox.podUid == podUid && (newest == nullptr || pod.since > newest->since)) newest = &pod;
  }
  if (newest != nullptr) return addContainer(newest->sandbox.id, container);
  const bool isLearnt = std::any_of(learning_.begin(), learning_.end(),
                                    [&](const auto& one) { return one.second->podUid == podUid; });
  if (isLearnt) unplaced_.push_back({podUid, container});
}

cri::Awaitable<void> Watcher::learnAnnotated(std::string id, std::shared_ptr<Learning> learning) {
  const auto deadline = clock_.now() + kLookLimit;
  while (clock_.now() < deadline) {
    auto status = co_await runtime_.sandboxStatus(id);
    if (status && status->sandbox.ready) {
      learning_.erase(id);
      addSandbox(status->sandbox, learning->since);
      keepStatus(pods_.at(id), std::move(status));
      co_return;
    }
    co_await learning->next.waitFor(
        cri::pauseBeforeAskingAgain(learning->since, clock_.now(), kShortestLook));
  }
  learning_.erase(id);  // the resync finds it, if it comes at all
  std::erase_if(unplaced_, [&](const auto& one) { return one.podUid == learning->podUid; });
}

/// Asked for while the registry is asked: a launch need not begin with this question then.
cri::Awaitable<void> Watcher::learnStatus(std::string id) {
  auto status = co_await runtime_.sandboxStatus(id);
  const auto pod = pods_.find(id);
  if (pod != pods_.end()) keepStatus(pod->second, std::move(status));
}

void Watcher::keepStatus(Pod& pod, Result<cri::SandboxStatus> status) {
  pod.statusAsked = false;
  if (!status || !status->sandbox.ready) return;
  status->sandbox.annotations.clear();
  pod.status = std::move(*status);
}

/// Without the pause image RunPodSandbox fails, and there is nothing that a fallback could join.
cri::Awaitable<void> Watcher::checkSandboxImage() {
  std::string reference = config_->containerd.sandboxImage;
  if (reference.empty()) {
    const auto told = co_await runtime_.sandboxImage();
    if (!told || told->empty()) co_return;
    reference = *told;
  }
  const auto present = co_await runtime_.imagePresent(reference);
  if (present) listener_.sandboxImage(reference, *present);
}

void Watcher::exited(const cri::Event& event) {
  const auto sandbox = sandboxOf_.find(event.id);
  if (sandbox == sandboxOf_.end()) return;
  auto& container = pods_.at(sandbox->second).containers.at(event.id);
  container.exitCode = event.exitCode;
  container.exited = event.at;
  wake([&](const Key& key, const Attendance& one) {
    return key.first == sandbox->second && !one.workload->startAfter.empty();
  });
}

void Watcher::addSandbox(cri::Sandbox sandbox, Stamp since) {
  const std::string id = sandbox.id;
  const auto [entry, isNew] = pods_.try_emplace(id, clock_.now(), since);
  if (isNew) keep(entry->second, std::move(sandbox));
  const std::string uid = entry->second.sandbox.podUid;
  for (const auto& one : std::exchange(unplaced_, {})) {
    if (one.podUid == uid) {
      addContainer(id, one.container);
    } else {
      unplaced_.push_back(one);
    }
  }
  if (isNew) attendAll(entry->second, Seen::to_begin);
}

/// What is needed of a sandbox: a pod's author can write more into it than there is memory for.
void Watcher::keep(Pod& pod, cri::Sandbox sandbox) const {
  pod.choices = readChoices(sandbox.annotations);
  sandbox.annotations.clear();
  if (bytesOf(sandbox.labels) > kMaxLabelBytes) {
    const auto job = jobLabels();
    std::erase_if(sandbox.labels, [&](const auto& one) {
      return !matchedLabels_.contains(one.first) && std::find(job.begin(), job.end(), one.first) == job.end();
    });
  }
  pod.sandbox = std::move(sandbox);
}

/// What somebody else made in the pod, under whatever name, does not count.
void Watcher::addContainer(const std::string& sandboxId, const cri::Container& container) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end() || !bearsKubeletsMark(container, pod->second.sandbox.podUid)) return;
  const auto& [id, name] = std::tie(container.id, container.name);
  if (!pod->second.containers.emplace(id, KnownContainer{name, clock_.now(), {}, {}}).second) return;
  sandboxOf_[id] = sandboxId;
  pod->second.everMade.insert(name);
  leave({sandboxId, name});
  listener_.containerCreated(pod->second.sandbox.podUid, container);
}

void Watcher::dropContainer(const std::string& id) {
  const auto found = sandboxOf_.find(id);
  if (found == sandboxOf_.end()) return;
  const auto pod = pods_.find(found->second);
  sandboxOf_.erase(found);
  if (pod == pods_.end()) return;
  pod->second.containers.erase(id);
  attendAll(pod->second, Seen::later);  // the pod may wait for its next container now
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

void Watcher::useConfig(config::ConfigPtr config) {
  config_ = std::move(config);
  configuredImages_.clear();
  matchedLabels_.clear();
  for (const auto& workload : config_->workloads) {
    for (const auto& [key, value] : workload.match.labels) matchedLabels_.insert(key);
    if (const auto image = ImageReference::parse(workload.image))
      configuredImages_.emplace(image->toString(), credentialsFor(workload, *image),
                                providersFor(workload).has_value());
  }
}

void Watcher::reconfigure(config::ConfigPtr config) {
  useConfig(std::move(config));
  prober_.reconfigure(config_->detection.maxConcurrentProbes, config_->detection.reprobeInterval);
  for (const auto& [key, attendance] : attended_) tasks_.cancel(attendance.task);
  const auto before = std::exchange(attended_, {});
  chosenOf_.clear();
  ready_.clear();
  stalled_.clear();  // asked for again at once
  for (auto& [id, pod] : pods_) attendAll(pod, Seen::later, before);
}

}  // namespace fallbackd::watcher
