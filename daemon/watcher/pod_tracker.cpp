// SPDX-License-Identifier: Apache-2.0
#include "watcher/pod_tracker.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/within.hpp"
#include "watcher/match.hpp"
#include "watcher/real_container.hpp"

#include <algorithm>
#include <chrono>
#include <set>

namespace fallbackd::watcher {

using namespace std::chrono_literals;

namespace {

// Labels that containerd's CRI plugin and kubelet put on everything they create.
constexpr const char* kKindLabel = "io.cri-containerd.kind";
constexpr const char* kPodNameLabel = "io.kubernetes.pod.name";
constexpr const char* kPodNamespaceLabel = "io.kubernetes.pod.namespace";
constexpr const char* kPodUidLabel = "io.kubernetes.pod.uid";

constexpr auto kShortestPause = 1ms;  // between questions about a newcomer
constexpr auto kLearnLimit = 10s;
constexpr auto kMetricsLimit = 30s;  // for all questions after one list

std::string labelOr(const cri::Labels& labels, const char* key) {
  const auto found = labels.find(key);
  return found == labels.end() ? std::string() : found->second;
}

}  // namespace

PodTracker::PodTracker(boost::asio::any_io_executor executor, cri::Runtime& runtime, PodView& pods,
                       Attendance& attendance, RunningVersions& versions, Listener& listener,
                       config::ConfigPtr config)
    : executor_(executor),
      clock_(LoopClock::of(executor)),
      runtime_(runtime),
      pods_(pods),
      attendance_(attendance),
      versions_(versions),
      listener_(listener),
      config_(std::move(config)),
      tasks_(executor) {}

cri::Awaitable<void> PodTracker::listed(Lists lists) {
  std::erase_if(lists.containers, [](const auto& one) { return isStandIn(one); });
  const auto ready = takeIn(lists);
  if (lists.storeSilent) {
    listener_.trouble("a pod that is being made now is noticed only with the next list: " +
                      lists.storeSilent->message());
  }
  if (lists.beingMade) {
    for (const auto& id : *lists.beingMade) {
      const bool known = pods_.find(id) != nullptr || pods_.hasContainer(id);
      if (!known) co_await learn(id, clock_.now(), Standing::unknown);
    }
  }
  // Containers first, so that a pod which has its container is never taken for one that waits.
  for (const auto& id : ready) {
    if (pods_.find(id) != nullptr) attendance_.attendAll(id, Attendance::Seen::later);
  }
  // A separate task: containerd may take a second for each image, and until this returns no event counts.
  if (!std::exchange(learnsForMetrics_, true)) tasks_.spawn(learnForMetrics(std::move(lists.containers)));
}

/// Queries for which nothing waits. What is not known in time is queried after the next list.
cri::Awaitable<void> PodTracker::learnForMetrics(std::vector<cri::Container> containers) {
  auto questions = askForMetrics(containers);
  const bool inTime = co_await within(kMetricsLimit, std::move(questions));
  static_cast<void>(inTime);
  countVersions(containers);
  learnsForMetrics_ = false;
}

cri::Awaitable<void> PodTracker::askForMetrics(const std::vector<cri::Container>& containers) {
  co_await checkSandboxImage();
  co_await versions_.learnImages(containers);
}

/// Pods and containers may have gone since the list.
void PodTracker::countVersions(const std::vector<cri::Container>& containers) {
  std::map<std::string, std::vector<const cri::Container*>> bySandbox;
  for (const auto& container : containers) {
    if (!deleted_.contains(container.id)) bySandbox[container.sandboxId].push_back(&container);
  }
  versions_.restart();
  for (const auto& [id, ofPod] : bySandbox) {
    if (const auto* pod = pods_.find(id)) versions_.count(*pod, ofPod);
  }
}

std::vector<std::string> PodTracker::takeIn(Lists& lists) {
  const auto now = clock_.now();
  PodView::Listed listed{lists.asked, {}, {}};
  for (const auto& sandbox : lists.sandboxes)
    (sandbox.ready ? listed.ready : listed.ended).insert(sandbox.id);
  ended_.listed(listed.ready, lists.asked);
  if (lists.beingMade) {
    listed.ready.insert(lists.beingMade->begin(), lists.beingMade->end());
    listed.making = 0s;
  }
  for (const auto& id : pods_.missingSandboxes(listed)) dropSandbox(id);

  std::map<std::string, std::vector<const cri::Container*>> bySandbox;
  std::set<std::string> containers;
  for (const auto& container : lists.containers) {
    containers.insert(container.id);
    if (!deleted_.contains(container.id)) bySandbox[container.sandboxId].push_back(&container);
  }
  deleted_.listed(containers, lists.asked);
  std::vector<std::string> ids;
  for (auto& sandbox : lists.sandboxes) {
    if (!sandbox.ready || ended_.contains(sandbox.id)) continue;
    const auto& id = ids.emplace_back(sandbox.id);
    pods_.updateSandbox(std::move(sandbox), now);
    for (const auto* container : bySandbox[id]) addContainer(id, *container);
    for (const auto& gone : pods_.missingContainers(id, containers, lists.asked)) pods_.dropContainer(gone);
  }
  return ids;
}

cri::Awaitable<void> PodTracker::happened(cri::Event event) {
  using Kind = cri::Event::Kind;
  switch (event.kind) {
    case Kind::task_started:
      co_await taskStarted(event.id, event.at);
      break;
    case Kind::container_created:
      co_await learn(event.id, event.at);
      break;
    case Kind::container_deleted:
      deleted_.add(event.id, clock_.now());
      dropContainer(event.id);
      sandboxEnded(event.id);
      break;
    case Kind::task_exited:
      if (const auto sandbox = pods_.containerExited(event.id, event.exitCode, event.at)) {
        attendance_.containerExited(*sandbox);
      }
      sandboxEnded(event.id);  // no sandbox has the id of an ordinary container
      break;
    case Kind::image_arrived:
      listener_.imageArrived(event.id);
      if (const auto arrived = ImageReference::parse(event.id)) attendance_.imageArrived(*arrived);
      break;
  }
}

cri::Awaitable<void> PodTracker::taskStarted(std::string id, Stamp at) {
  if (pods_.sandboxStarted(id, at)) {
    listener_.sandboxStarted(id, at);
  } else if (const auto newcomer = newcomers_.find(id); newcomer != newcomers_.end()) {
    newcomer->second->since = at;
    newcomer->second->askAgain.notify();
  } else if (!pods_.hasContainer(id)) {
    co_await learn(id, at);
  }
  if (pods_.hasContainer(id)) listener_.containerStarted(id, at);
}

/// Finds out by containerd's labels whether an id is a sandbox or a container, and of which pod.
cri::Awaitable<void> PodTracker::learn(std::string id, Stamp at, Standing standing) {
  const auto stored = co_await runtime_.storedContainer(id);
  if (!stored) co_return;  // gone already, or containerd is: the next list shows it
  const auto kind = labelOr(stored->labels, kKindLabel);
  if (kind == "sandbox") {
    learnSandbox(id, stored->labels, at, standing);
  } else if (kind == "container") {
    adopt(labelOr(stored->labels, kPodUidLabel), *stored);
  }
}

/// Known from /containers/create if the labels are there by then: the probe pull then runs while the sandbox
/// still starts.
void PodTracker::learnSandbox(const std::string& id, const cri::Labels& labels, Stamp at, Standing standing) {
  cri::Sandbox sandbox;
  sandbox.id = id;
  sandbox.podName = labelOr(labels, kPodNameLabel);
  sandbox.podNamespace = labelOr(labels, kPodNamespaceLabel);
  sandbox.podUid = labelOr(labels, kPodUidLabel);
  sandbox.labels = labels;
  if (standing == Standing::being_made && !annotationsCount(*config_, sandbox.podNamespace)) {
    return addSandbox(std::move(sandbox), at);
  }
  // Annotations are not in containerd's own store: CRI has them, once the sandbox exists.
  const auto [newcomer, isNew] =
      newcomers_.try_emplace(id, std::make_shared<Newcomer>(executor_, sandbox.podUid, at));
  if (isNew) tasks_.spawn(learnAnnotations(id, newcomer->second));
}

cri::Awaitable<void> PodTracker::learnAnnotations(std::string id, std::shared_ptr<Newcomer> newcomer) {
  const auto deadline = clock_.now() + kLearnLimit;
  while (clock_.now() < deadline) {
    auto status = co_await runtime_.sandboxStatus(id);
    const auto still = newcomers_.find(id);
    if (still == newcomers_.end() || still->second != newcomer) co_return;  // it has ended meanwhile
    if (status && status->sandbox.ready) {
      newcomers_.erase(id);
      addSandbox(status->sandbox, newcomer->since);
      pods_.setStatus(id, std::move(*status), clock_.now());
      co_return;
    }
    co_await newcomer->askAgain.waitFor(
        cri::pauseBeforeAskingAgain(newcomer->since, clock_.now(), kShortestPause));
  }
  forgetNewcomer(id);  // the next list finds it, if it comes at all
}

void PodTracker::forgetNewcomer(const std::string& id) {
  const auto newcomer = newcomers_.find(id);
  if (newcomer == newcomers_.end()) return;
  const auto& uid = newcomer->second->podUid;
  std::erase_if(orphans_, [&](const auto& one) { return belongs(one, id, uid); });
  newcomer->second->askAgain.notify();
  newcomers_.erase(newcomer);
}

/// Without the pause image RunPodSandbox fails, and there is nothing that a fallback could join.
cri::Awaitable<void> PodTracker::checkSandboxImage() {
  std::string reference = config_->containerd.sandboxImage;
  if (reference.empty()) {
    const auto configured = co_await runtime_.sandboxImage();
    if (!configured || configured->empty()) co_return;
    reference = *configured;
  }
  const auto present = co_await runtime_.imagePresent(reference);
  if (present) listener_.sandboxImage(reference, *present);
}

void PodTracker::addSandbox(cri::Sandbox sandbox, Stamp since) {
  const std::string id = sandbox.id;
  const bool isNew = pods_.addSandbox(std::move(sandbox), clock_.now(), since);
  const std::string uid = pods_.at(id).sandbox.podUid;
  for (const auto& one : std::exchange(orphans_, {})) {
    if (belongs(one, id, uid)) {
      addContainer(id, one.container);
    } else {
      orphans_.push_back(one);
    }
  }
  if (isNew) attendance_.attendAll(id, Attendance::Seen::from_its_beginning);
}

/// An orphan may not name its sandbox.
bool PodTracker::belongs(const Orphan& one, const std::string& sandboxId, const std::string& podUid) {
  return one.container.sandboxId.empty() ? one.podUid == podUid : one.container.sandboxId == sandboxId;
}

/// Adds a container to its pod, or keeps it until the pod's sandbox is known.
void PodTracker::adopt(const std::string& podUid, const cri::Container& container) {
  const bool itsOwnComes = newcomers_.contains(container.sandboxId);
  const auto sandbox = itsOwnComes ? std::nullopt : pods_.sandboxFor(podUid, container);
  if (sandbox) return addContainer(*sandbox, container);
  const bool comes = std::any_of(newcomers_.begin(), newcomers_.end(),
                                 [&](const auto& one) { return one.second->podUid == podUid; });
  if (comes) orphans_.push_back({podUid, container});
}

void PodTracker::addContainer(const std::string& sandboxId, const cri::Container& container) {
  if (!pods_.addContainer(sandboxId, container, clock_.now())) return;
  attendance_.leave({sandboxId, container.name});
  listener_.containerCreated(pods_.at(sandboxId).sandbox.podUid, container);
}

void PodTracker::dropContainer(const std::string& id) {
  // The pod may wait for its next container now.
  if (const auto sandbox = pods_.dropContainer(id)) attendance_.attendAll(*sandbox, Attendance::Seen::later);
}

void PodTracker::sandboxEnded(const std::string& id) {
  ended_.add(id, clock_.now());
  forgetNewcomer(id);
  dropSandbox(id);
}

void PodTracker::dropSandbox(const std::string& sandboxId) {
  if (pods_.find(sandboxId) == nullptr) return;
  attendance_.leavePod(sandboxId);
  pods_.dropSandbox(sandboxId);
  listener_.sandboxGone(sandboxId);
}

}  // namespace fallbackd::watcher
