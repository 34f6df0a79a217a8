#include "watcher/watcher.hpp"

#include "watcher/image_reference.hpp"
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
// containerd could not be asked: ask again soon, it is not the registry's fault.
constexpr auto kUndecidedRetry = 250ms;
constexpr auto kShortestLook = 1ms;
constexpr auto kLookLimit = 10s;

std::string labelOr(const cri::Labels& labels, const char* key) {
  const auto found = labels.find(key);
  return found == labels.end() ? std::string() : found->second;
}

/// Sleeps; returns early, without an exception, when the timer is cancelled as a wake-up call. The timer is
/// the coroutine's own, or outlives it.
cri::Awaitable<void> pauseFor(asio::steady_timer& timer, std::chrono::nanoseconds interval) {
  timer.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(interval));
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

Watcher::Watcher(asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
                 Traffic& traffic, Listener& listener, config::ConfigPtr config)
    : executor_(executor),
      runtime_(runtime),
      events_(events),
      listener_(listener),
      config_(std::move(config)),
      prober_(executor, runtime, traffic, config_->detection.maxConcurrentProbes,
              config_->detection.reprobeInterval,
              [this](const std::string& host) {
                wake([&](const Key&, const Attendance& one) {
                  return registryHost(one.workload->image) == host;
                });
              }),
      random_(std::random_device{}()),
      tasks_(executor) {}

cri::Awaitable<void> Watcher::run() {
  std::chrono::nanoseconds delay = kFirstReconnect;
  for (;;) {
    const auto began = Monotonic::now();
    const auto ended = co_await follow();
    listener_.connection(false, ended ? std::string() : ended.error().message());
    if (Monotonic::now() - began > kLastReconnect) delay = kFirstReconnect;
    asio::steady_timer timer(executor_);
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
  asio::steady_timer timer(executor_);
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

  co_await learnImages(*containers);

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
  running_.clear();
  for (const auto& workload : config_->workloads) running_[workload.name] = {};
  for (const auto& sandbox : *sandboxes) {
    if (!sandbox.ready) continue;
    countRunning(sandbox, bySandbox[sandbox.id]);
    // Known containers first, so that a pod which has its container is never taken for one that waits.
    auto& pod = pods_.try_emplace(sandbox.id, Pod{sandbox, now, now, {}, {}}).first->second;
    pod.sandbox = sandbox;
    for (const auto* container : bySandbox[sandbox.id]) addContainer(sandbox.id, *container);
    std::vector<std::string> removed;
    for (const auto& [id, container] : pod.containers) {
      if (!listed.contains(id) && container.seen < asked) removed.push_back(id);
    }
    for (const auto& id : removed) dropContainer(id);
    attendAll(pod);
  }
  co_await checkSandboxImage();
  co_return Result<>{};
}

/// Before version 2 containerd tells a container's image by its id only. Asked for once as long as it runs.
cri::Awaitable<void> Watcher::learnImages(const std::vector<cri::Container>& containers) {
  std::map<std::string, std::vector<std::string>> known;
  for (const auto& container : containers) {
    const auto& id = container.imageId;
    const bool unnamed = container.image.empty() && !id.empty();
    const bool wanted = std::any_of(config_->workloads.begin(), config_->workloads.end(),
                                    [&](const auto& one) { return one.match.container == container.name; });
    if (!unnamed || !wanted || container.state != cri::Container::State::running || known.contains(id))
      continue;
    if (const auto before = imageTags_.find(id); before != imageTags_.end()) {
      known.insert(*before);
      continue;
    }
    auto tags = co_await runtime_.imageTags(id);
    if (tags) known.emplace(id, std::move(*tags));
  }
  imageTags_ = std::move(known);
}

/// By any of the tags that the image has in the workload's own repository. Nothing where none tells.
std::optional<bool> Watcher::runsVersion(const cri::Container& container,
                                         const config::Workload& workload) const {
  const auto& version = workload.binary.version;
  if (!container.image.empty()) return sameVersion(container.image, version);
  const auto tags = imageTags_.find(container.imageId);
  if (tags == imageTags_.end()) return std::nullopt;
  std::optional<bool> same;
  for (const auto& tag : tags->second) {
    if (repositoryOf(tag) != repositoryOf(workload.image)) continue;
    if (const auto one = sameVersion(tag, version)) same = same.value_or(false) || *one;
  }
  return same;
}

void Watcher::countRunning(const cri::Sandbox& sandbox,
                           const std::vector<const cri::Container*>& containers) {
  for (const auto& workload : workloadsFor(config_, sandbox).workloads) {
    for (const auto* container : containers) {
      if (container->name != workload->match.container ||
          container->state != cri::Container::State::running) {
        continue;
      }
      auto& skew = running_[workload->name];
      const auto same = runsVersion(*container, *workload);
      ++(!same ? skew.unknown : *same ? skew.same : skew.other);
    }
  }
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
        asked->second->next.cancel();
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
      wake([&](const Key&, const Attendance& one) {
        return normalizedReference(one.workload->image) == event.id;
      });
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
      const auto [asked, isNew] = learning_.try_emplace(id, std::make_shared<Learning>(executor_, at));
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
  if (!learning_.empty()) unplaced_.push_back({podUid, container});
}

cri::Awaitable<void> Watcher::learnAnnotated(std::string id, std::shared_ptr<Learning> learning) {
  const auto deadline = Monotonic::now() + kLookLimit;
  while (Monotonic::now() < deadline) {
    auto status = co_await runtime_.sandboxStatus(id);
    if (status && status->sandbox.ready) {
      learning_.erase(id);
      addSandbox(status->sandbox, learning->since);
      pods_.at(id).status = std::move(*status);
      co_return;
    }
    co_await pauseFor(learning->next, cri::pauseBeforeAskingAgain(learning->since, kShortestLook));
  }
  learning_.erase(id);  // the resync finds it, if it comes at all
}

/// Asked for while the registry is asked: a launch need not begin with this question then.
cri::Awaitable<void> Watcher::learnStatus(std::string id) {
  auto status = co_await runtime_.sandboxStatus(id);
  const auto pod = pods_.find(id);
  if (status && status->sandbox.ready && pod != pods_.end()) pod->second.status = std::move(*status);
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

void Watcher::wake(const std::function<bool(const Key&, const Attendance&)>& which) {
  for (const auto& [key, attendance] : attended_) {
    if (!which(key, attendance)) continue;
    attendance.pause->woken = true;
    attendance.pause->timer.cancel();
  }
}

void Watcher::addSandbox(cri::Sandbox sandbox, Stamp since) {
  const std::string id = sandbox.id;
  const auto [entry, isNew] = pods_.try_emplace(id, Pod{std::move(sandbox), Monotonic::now(), since, {}, {}});
  const std::string uid = entry->second.sandbox.podUid;
  for (const auto& one : std::exchange(unplaced_, {})) {
    if (one.podUid == uid) {
      addContainer(id, one.container);
    } else if (!learning_.empty()) {
      unplaced_.push_back(one);
    }
  }
  if (isNew) attendAll(entry->second);
}

/// What somebody else made in the pod, under whatever name, does not count.
void Watcher::addContainer(const std::string& sandboxId, const cri::Container& container) {
  const auto pod = pods_.find(sandboxId);
  if (pod == pods_.end() || !bearsKubeletsMark(container, pod->second.sandbox.podUid)) return;
  const auto& [id, name] = std::tie(container.id, container.name);
  if (!pod->second.containers.emplace(id, KnownContainer{name, Monotonic::now(), {}, {}}).second) return;
  sandboxOf_[id] = sandboxId;
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
  const auto covering = workloadsFor(config_, pod.sandbox);
  for (const auto& trouble : covering.troubles) listener_.trouble(trouble);
  for (const auto& workload : covering.workloads) {
    const std::string& name = workload->match.container;
    const bool has = std::any_of(pod.containers.begin(), pod.containers.end(),
                                 [&](const auto& one) { return one.second.name == name; });
    const Key key{pod.sandbox.id, name};
    if (has || attended_.contains(key)) continue;
    auto pause = std::make_shared<Pause>(executor_);
    const auto task = tasks_.spawn(attend(key, workload, pause));
    Attendance attendance;
    attendance.workload = workload;
    attendance.task = task;
    attendance.pause = std::move(pause);
    attended_.emplace(key, std::move(attendance));
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
  prober_.reconfigure(config_->detection.maxConcurrentProbes, config_->detection.reprobeInterval);
  for (const auto& [key, attendance] : attended_) tasks_.cancel(attendance.task);
  attended_.clear();
  for (const auto& [id, pod] : pods_) attendAll(pod);
}

/// Looks after one waiting container until leave() cancels it. Goes on while its fallback runs: the pull that
/// succeeds at the end of the outage puts the image on the node, and kubelet starts it at its next sync.
cri::Awaitable<void> Watcher::attend(Key key, WorkloadPtr workload, std::shared_ptr<Pause> pause) {
  for (;;) {
    pause->woken = false;
    const auto wait = co_await lookOnce(key, workload);
    if (!pause->woken) co_await pauseFor(pause->timer, wait);
  }
}

/// One look; returns how long to wait before the next.
cri::Awaitable<std::chrono::nanoseconds> Watcher::lookOnce(Key key, WorkloadPtr workload) {
  const auto interval = jittered(config_->detection.reprobeInterval);
  const auto& detection = workload->detection;
  if (detection.pullPolicy == config::PullPolicy::never) {
    // kubelet does not ask a registry, so none can have failed.
    note(key, "never pulled");
    co_return interval;
  }
  if (!workload->startAfter.empty()) {
    const auto ended = co_await predecessorsEnded(key, workload);
    if (!ended) co_return kUndecidedRetry;
    if (!*ended) {
      note(key, "after init containers");
      co_return interval;
    }
  }
  if (detection.pullPolicy == config::PullPolicy::if_not_present) {
    const auto present = co_await runtime_.imagePresent(workload->image);
    if (!present) co_return kUndecidedRetry;
    if (*present) {
      note(key, "image present");
      co_return interval;
    }
  }
  if (const auto pod = pods_.find(key.first); pod != pods_.end() && !pod->second.status) {
    tasks_.spawn(learnStatus(key.first));
  }
  const auto verdict = co_await prober_.probe(questionFor(*workload));
  if (verdict.fresh) report(*workload, verdict);
  if (verdict.kind == Verdict::Kind::undecided) {
    note(key, "undecided", &verdict);
    co_return kUndecidedRetry;
  }
  if (verdict.kind == Verdict::Kind::pulled) {
    note(key, "image present", &verdict);
    co_return interval;
  }
  // kubelet may have a password that we have not.
  const bool undecided = verdict.cause == Cause::unauthorized && !verdict.withCredentials;
  note(key, undecided ? "undecided" : "failed", &verdict);
  const auto pod = pods_.find(key.first);
  if (pod != pods_.end() && detection.triggers.contains(verdict.cause)) {
    listener_.detected(Detection{pod->second.sandbox, workload, verdict.cause, verdict.text,
                                 waitingSince(pod->second, *workload), verdict.ended,
                                 verdict.ended - verdict.started, pod->second.status});
  }
  co_return interval;
}

void Watcher::report(const config::Workload& workload, const Verdict& verdict) {
  if (!verdict.trouble.empty()) {
    listener_.trouble("credentials of workload " + workload.name + ": " + verdict.trouble);
  }
  listener_.probed(workload, verdict);
}

Question Watcher::questionFor(const config::Workload& workload) const {
  Question question{workload.image, workload.dockerConfig, workload.detection.stallTimeout};
  if (question.credentialsFile.empty()) {
    const auto host = registryHost(workload.image);
    for (const auto& registry : config_->registries) {
      if (registry.host == host) question.credentialsFile = registry.dockerConfig;
    }
  }
  return question;
}

/// Each of the init containers has ended well at least once: kubelet then goes on to the next.
cri::Awaitable<Result<bool>> Watcher::predecessorsEnded(Key key, WorkloadPtr workload) {
  for (const auto& name : workload->startAfter) {
    const auto pod = pods_.find(key.first);
    if (pod == pods_.end()) co_return false;
    std::vector<std::string> unknown;
    bool ended = false;
    for (const auto& [id, container] : pod->second.containers) {
      if (container.name != name) continue;
      if (!container.exitCode) unknown.push_back(id);
      ended = ended || container.exitCode == 0;
    }
    for (const auto& id : unknown) {
      if (ended) break;
      const auto code = co_await runtime_.exitCode(id);
      if (!code && code.error().reason != Reason::not_found) co_return tl::unexpected<Error>(code.error());
      ended = code && *code == 0;
    }
    if (!ended) co_return false;
  }
  co_return true;
}

/// When kubelet could have started the container, had it the image.
Stamp Watcher::waitingSince(const Pod& pod, const config::Workload& workload) const {
  auto since = pod.since;
  for (const auto& [id, container] : pod.containers) {
    const auto& names = workload.startAfter;
    if (container.exitCode == 0 && std::find(names.begin(), names.end(), container.name) != names.end()) {
      since = std::max(since, container.exited);
    }
  }
  return since;
}

void Watcher::note(const Key& key, std::string state, const Verdict* verdict) {
  const auto found = attended_.find(key);
  if (found == attended_.end()) return;
  auto& one = found->second;
  one.state = std::move(state);
  one.cause = verdict == nullptr ? Cause::unknown : verdict->cause;
  one.text = verdict == nullptr ? std::string() : verdict->text;
  // What is known already took no time; how long it took to get to know stays of interest.
  if (verdict != nullptr && (verdict->ended > verdict->started || !one.verdictTook)) {
    one.verdictTook = verdict->ended - verdict->started;
  }
}

std::vector<Waiting> Watcher::waitingContainers() const {
  std::vector<Waiting> all;
  for (const auto& [key, one] : attended_) {
    const auto& pod = pods_.at(key.first);
    all.push_back({pod.sandbox, one.workload, pod.since, one.state, one.cause, one.text, one.verdictTook});
  }
  return all;
}

std::vector<PodView> Watcher::pods() const {
  std::vector<PodView> all;
  for (const auto& [id, pod] : pods_) {
    auto& view = all.emplace_back(PodView{pod.sandbox, {}});
    for (const auto& [containerId, one] : pod.containers) view.containers.push_back({one.name, one.exitCode});
  }
  return all;
}

std::chrono::nanoseconds Watcher::jittered(std::chrono::nanoseconds interval) {
  std::uniform_real_distribution<double> spread(0.8, 1.2);
  return std::chrono::nanoseconds(
      static_cast<std::int64_t>(static_cast<double>(interval.count()) * spread(random_)));
}

}  // namespace fallbackd::watcher
