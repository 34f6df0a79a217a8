// SPDX-License-Identifier: Apache-2.0
#include "app/pod_sources.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"
#include "kube/pod_spec.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

namespace fallbackd::app {

namespace {

// A recovery takes some milliseconds. Requests about a known pod would take CPU time from it: a TLS
// handshake, and kubelet's answer with all pods of the node, which the loop then compares.
constexpr auto kAfterRecovery = std::chrono::milliseconds(500);

// The maximum age of an answer about another pod of the same owner.
constexpr auto kSharedRollout = std::chrono::seconds(10);
constexpr auto kSharedEndpoints = std::chrono::seconds(1);

constexpr const char* kKubeletPort = "10250";
constexpr std::size_t kMaxTroubles = 256;
constexpr std::size_t kMaxNamedBytes = 32UL << 20;

std::size_t bytesOf(const kube::Facts& facts) {
  std::size_t bytes = 0;
  for (const auto* const contents : {&facts.configMaps, &facts.secrets}) {
    for (const auto& [name, content] : *contents) {
      if (!content) continue;
      for (const auto& [key, value] : *content) bytes += key.size() + value.size();
    }
  }
  return bytes;
}

/// ADDRESS:PORT, an IPv6 address in brackets.
std::string kubeletAddress(const std::string& nodeIp) {
  const auto host = nodeIp.empty() ? std::string("127.0.0.1") : nodeIp;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + kKubeletPort;
}

kube::SourceSettings settingsOf(const config::KubernetesSettings& from, const Options& options,
                                const std::string& stateFolder) {
  kube::SourceSettings settings;
  for (const auto source : from.sources) {
    settings.kinds.push_back(source == config::PodSource::kubelet ? kube::SourceKind::kubelet
                                                                  : kube::SourceKind::apiserver);
  }
  settings.nodeName = options.nodeName;
  settings.kubeconfig = from.kubeconfig;
  settings.kubeletAddress =
      from.kubeletAddress.empty() ? kubeletAddress(options.nodeIp) : from.kubeletAddress;
  settings.kubeletCertificate = from.kubeletCertificate;
  settings.viewFile = from.viewFile;
  settings.readVariablesIn = from.readVariablesIn;
  settings.events = from.events;
  settings.namespacePause = from.namespacePause;
  settings.stateFolder = stateFolder;
  return settings;
}

Result<kube::Pod> specificationIn(const kube::PodObject& pod) {
  if (!pod.json.empty()) return kube::parsePod(pod.json);
  return fail(Stage::config, Reason::too_large,
              "it is among the longest of this node's pods, for which there is no room");
}

}  // namespace

PodSources::PodSources(telemetry::Log& log, std::size_t maxPodBytes) : log_(log), pods_(maxPodBytes) {
  pods_.onState([this](const kube::SourceState& state) { tell(state); });
  pods_.onChange([this](const std::string& podUid) { podsChanged(podUid); });
}

watcher::SpecPtr PodSources::described(const std::string& podUid) const {
  auto object = pods_.find(podUid);
  if (object == nullptr) {
    parsed_.erase(podUid);
    return nullptr;
  }
  auto& parsed = parsed_[podUid];
  if (parsed.object == object) return parsed.spec;
  parsed.object = object;
  if (object->json.empty()) parsed.lacked = true;
  auto spec = specificationIn(*object);
  if (spec) {
    parsed.spec = std::make_shared<const kube::Pod>(std::move(*spec));
  } else {
    parsed.spec = nullptr;
    if (std::exchange(parsed.unreadable, object->lastingHash) == object->lastingHash) return nullptr;
    log_.warn(
        "the specification of a pod cannot be read",
        {{"namespace", object->namespaceName}, {"pod", object->name}, {"error", spec.error().message()}});
  }
  return parsed.spec;
}

void PodSources::podWaits(const std::string& podUid) {
  if (!sources_) return;
  if (rollouts_.size() < kube::View::kMaxPods) rollouts_.try_emplace(podUid);
  const auto pod = pods_.find(podUid);
  // Nothing starts before the pod and the values that its variables name are known; values may have changed
  // since. Other requests can wait until the fallback has started.
  if (pod == nullptr) return pods_.refresh(podUid);
  askObjects(*pod);
  if (toAsk_.size() < kube::View::kMaxPods && toAsk_.insert(podUid).second) later_->spawn(askLater(podUid));
}

/// Answers about a pod that is still described are removed with its description.
void PodSources::podGone(const std::string& podUid) {
  const auto found = rollouts_.find(podUid);
  if (found == rollouts_.end()) return;
  if (!found->second.asked || pods_.find(podUid) == nullptr) rollouts_.erase(found);
}

boost::asio::awaitable<void> PodSources::askLater(std::string podUid) {
  co_await pauseFor(kAfterRecovery);
  toAsk_.erase(podUid);
  pods_.refresh(podUid);
  const auto pod = pods_.find(podUid);
  if (pod == nullptr) co_return;
  askOwner(pod);
  askObjects(*pod);
}

kube::Facts PodSources::facts(const std::string& podUid) const {
  const auto found = named_.find(podUid);
  return found == named_.end() ? kube::Facts() : found->second.facts;
}

/// Called when the pod is described, so that the values are there when the API server is not, and again when
/// it waits, since they may have changed. One request for each pod at a time.
void PodSources::askObjects(const kube::PodObject& pod) {
  if (!sources_ || !wanted_(pod)) return;
  const auto spec = described(pod.uid);
  auto names = spec == nullptr ? kube::NamedObjects() : kube::namedObjects(*spec);
  if (names.empty()) return;
  auto& named = named_[pod.uid];
  if (named.asking) {
    named.again = true;
    return;
  }
  named.asking = sources_->objects(pod.namespaceName, std::move(names),
                                   [this, uid = pod.uid, ns = pod.namespaceName](kube::ObjectAnswers found) {
                                     learn(uid, ns, std::move(found));
                                   });
}

void PodSources::reconsider() {
  for (const auto& pod : pods_.all()) {
    if (!named_.contains(pod->uid)) askObjects(*pod);
  }
}

/// What could not be read this time stays as it was known.
void PodSources::learn(const std::string& podUid, const std::string& podNamespace,
                       kube::ObjectAnswers found) {
  const auto entry = named_.find(podUid);
  const auto pod = pods_.find(podUid);
  if (entry == named_.end() || pod == nullptr) return;
  auto& named = entry->second;
  named.asking = false;
  if (pod->namespaceName != podNamespace) return askObjects(*pod);  // another pod has the uid now
  if (named.namespaceName != podNamespace) named.facts = {};
  named.namespaceName = podNamespace;
  bool other = false;
  const auto take = [&](kube::ObjectContents& known, kube::ObjectContents& news) {
    for (auto& [name, content] : news) {
      auto& mine = known[name];
      other = other || mine != content;
      mine = std::move(content);
    }
  };
  take(named.facts.configMaps, found.configMaps);
  take(named.facts.secrets, found.secrets);
  for (const auto& trouble : found.troubles) sayOnce(trouble);
  named.bytes = bytesOf(named.facts);
  std::size_t all = 0;
  for (const auto& [uid, one] : named_) all += one.bytes;
  if (all > kMaxNamedBytes) {
    sayOnce("ConfigMaps and Secrets that pods name have more than " + std::to_string(kMaxNamedBytes >> 20U) +
            " MiB together: those of pod " + podNamespace + "/" + pod->name + " are not kept");
    named.facts = {};
    named.bytes = 0;
  }
  if (std::exchange(named.again, false)) askObjects(*pod);
  if (other && changed_) changed_(podUid);
}

void PodSources::sayOnce(const std::string& trouble) {
  if (troubles_.size() >= kMaxTroubles) troubles_.clear();
  if (troubles_.insert(trouble).second) log_.warn("variables of pods cannot be read", {{"error", trouble}});
}

std::optional<kube::RolloutView> PodSources::rollout(const std::string& podUid) const {
  const auto found = rollouts_.find(podUid);
  return found == rollouts_.end() ? std::nullopt : found->second.answer;
}

std::optional<standin::RolloutFacts> PodSources::rolloutFacts(const std::string& podUid) const {
  using Known = standin::RolloutFacts::State;
  const auto view = rollout(podUid);
  if (!view) return std::nullopt;
  auto state = Known::unknown;
  if (view->rollout == kube::Rollout::complete) state = Known::complete;
  if (view->rollout == kube::Rollout::in_progress) state = Known::in_progress;
  return standin::RolloutFacts{state, view->otherRevisionReady, view->why};
}

void PodSources::askRollout(const std::string& podUid) {
  askAgain(podUid, kSharedRollout);
}

void PodSources::askEndpoints(const std::string& podUid) {
  if (!sources_) return;
  pods_.refresh(podUid);
  askAgain(podUid, kSharedEndpoints);
}

void PodSources::askAgain(const std::string& podUid, std::chrono::nanoseconds maxAge) {
  const auto pod = pods_.find(podUid);
  if (!sources_ || pod == nullptr) return;
  if (rollouts_.size() >= kube::View::kMaxPods && !rollouts_.contains(podUid)) return;
  auto& rollout = rollouts_[podUid];
  rollout.asked = false;
  // An answer from before the pod existed shows nothing about its revision.
  askOwner(pod, rollout.answer ? maxAge : std::chrono::nanoseconds(0));
}

/// Once, when the pod waits and is known.
void PodSources::askOwner(const kube::PodPtr& pod, std::chrono::nanoseconds maxAge) {
  const auto found = rollouts_.find(pod->uid);
  if (found == rollouts_.end() || std::exchange(found->second.asked, true)) return;
  sources_->rollout(pod, maxAge, [this, uid = pod->uid](const kube::RolloutView& view) {
    const auto asked = rollouts_.find(uid);
    if (asked == rollouts_.end()) return;
    asked->second.answer = view;
    asked->second.answeredAt = clock_->now();
  });
}

std::optional<standin::EndpointFacts> PodSources::endpoints(const std::string& podUid) const {
  const auto pod = pods_.find(podUid);
  if (pod == nullptr || !pod->owner) return std::nullopt;
  standin::EndpointFacts facts;
  facts.ready = pod->ready && !pod->deleting;
  for (const auto& other : pods_.all()) {
    if (other->uid == podUid || other->namespaceName != pod->namespaceName || other->owner != pod->owner)
      continue;
    if (other->deleting) continue;
    ++facts.onNode;
    if (other->ready) ++facts.readyOnNode;
  }
  const auto asked = rollouts_.find(podUid);
  if (asked == rollouts_.end() || !asked->second.answer) return facts;
  facts.wanted = asked->second.answer->wanted;
  facts.ownerReady = asked->second.answer->ready;
  facts.asOf = asked->second.answeredAt;
  return facts;
}

std::optional<bool> PodSources::readyWithout(const std::string& podUid, const std::string& container,
                                             const std::string& containerId) const {
  const auto pod = pods_.find(podUid);
  if (pod == nullptr) return std::nullopt;
  const auto now = pod->containerIds.find(container);
  if (now == pod->containerIds.end() || now->second == containerId) return std::nullopt;
  return pod->ready && !pod->deleting;
}

bool PodSources::isDeleting(const std::string& podUid) const {
  const auto pod = pods_.find(podUid);
  return pod != nullptr && pod->deleting;
}

/// Sources report every change of a status; nothing here needs those.
void PodSources::podsChanged(const std::string& podUid) {
  if (!podUid.empty()) {
    const auto pod = pods_.find(podUid);
    if (pod != nullptr) {
      askOwner(pod);
      tellIfOther(*pod);
      if (described_) described_(podUid);
      return;
    }
    announced_.erase(podUid);
    parsed_.erase(podUid);
    rollouts_.erase(podUid);
    named_.erase(podUid);
    return;
  }
  const auto isGone = [&](const auto& one) { return pods_.find(one.first) == nullptr; };
  std::erase_if(announced_, isGone);
  std::erase_if(parsed_, isGone);
  std::erase_if(named_, isGone);
  std::erase_if(rollouts_, [&](const auto& one) { return one.second.asked && isGone(one); });
  for (const auto& pod : pods_.all()) {
    if (sources_) askOwner(pod);
    tellIfOther(*pod);
  }
  if (described_) described_({});
}

void PodSources::tellIfOther(const kube::PodObject& pod) {
  const auto [announced, isNew] = announced_.try_emplace(pod.uid, pod.lastingHash);
  const bool isSame = !isNew && std::exchange(announced->second, pod.lastingHash) == pod.lastingHash;
  // A caller that asked while there was no room for the specification got none.
  const auto asked = parsed_.find(pod.uid);
  const bool isBack =
      asked != parsed_.end() && !pod.json.empty() && std::exchange(asked->second.lacked, false);
  if (isSame && !isBack) return;
  if (changed_) changed_(pod.uid);
  askObjects(pod);
}

void PodSources::start(const boost::asio::any_io_executor& loop, const config::Config& config,
                       const Options& options) {
  const auto& settings = config.kubernetes;
  if (settings.sources.empty() && !settings.events && !settings.namespacePause) return;
  clock_ = &LoopClock::of(loop);
  later_.emplace(loop);
  sources_.emplace(
      loop, settingsOf(settings, options, config.cache.state), pods_, [this](const std::string& what) {
        log_.warn("what the API server reported is not kept for the next start", {{"error", what}});
      });
  if (settings.namespacePause) {
    sources_->onNamespaces(pauses_, [this](const kube::SourceState& now) { namespacesChanged(now); });
  }
  if (settings.events) {
    events_.emplace().since = Clock::system().wall();
    sources_->onEvents([this](const kube::EventState& now) { eventsChanged(now); });
  }
  sources_->start();
}

void PodSources::tell(kube::EventNote note) {
  if (sources_) sources_->tell(std::move(note));
}

/// Logs each change once. A namespace where nothing is allowed is not a failure of the others.
void PodSources::eventsChanged(const kube::EventState& now) {
  const auto before = std::exchange(events_, now).value_or(kube::EventState());
  for (const auto& name : now.forbiddenIn) {
    if (before.forbiddenIn.contains(name)) continue;
    log_.warn("no Events are written about the pods of this namespace",
              {{"namespace", name}, {"error", now.error}});
  }
  for (const auto& name : before.forbiddenIn) {
    if (now.forbiddenIn.contains(name)) continue;
    log_.info("Events are written about the pods of this namespace again", {{"namespace", name}});
  }
  const auto failing = [](const kube::EventState& state) {
    return state.health == kube::Health::failing && state.outcome != kube::Outcome::forbidden;
  };
  if (failing(now) && !failing(before)) {
    log_.warn("Events cannot be written; recoveries go on without them", {{"error", now.error}});
  } else if (failing(before) && now.health == kube::Health::up) {
    log_.info("Events are written again", {{"waiting", now.waiting}});
  }
}

/// Logs each change once, as for the sources of pods.
void PodSources::namespacesChanged(const kube::SourceState& now) {
  const auto before = std::exchange(namespaces_, now).value_or(kube::SourceState());
  const bool failing = now.health == kube::Health::failing;
  if (failing && (before.health != now.health || before.error != now.error)) {
    log_.warn("namespaces are not watched: pauses by their annotations stay as they were last known",
              {{"error", now.error}});
  } else if (now.health == kube::Health::up && before.health != now.health) {
    log_.info("namespaces are watched for pauses", {});
  }
}

void PodSources::tell(const kube::SourceState& state) {
  const std::string source(toString(state.kind));
  if (state.health == kube::Health::failing) {
    log_.warn("a source of pods fails; recoveries go on without it",
              {{"source", source}, {"error", state.error}});
  } else if (state.health == kube::Health::up) {
    log_.info("a source of pods answers", {{"source", source}, {"pods", pods_.size()}});
  }
}

}  // namespace fallbackd::app
