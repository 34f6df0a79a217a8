// SPDX-License-Identifier: Apache-2.0
#include "app/explain.hpp"

#include "base/strings.hpp"
#include "domain/image_reference.hpp"
#include "watcher/causes/pull_error.hpp"
#include "watcher/match.hpp"

#include <algorithm>

#include <boost/json.hpp>

namespace fallbackd::app {

namespace {

namespace json = boost::json;
using recovery::Incident;
using recovery::State;
using Verdict = ExplainStep::Verdict;

struct PodName {
  std::string podNamespace;  // empty: any
  std::string name;
};

PodName parsePodName(const std::string& text) {
  const auto slash = text.find('/');
  if (slash == std::string::npos) return {"", text};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

bool isOf(const PodName& wanted, const std::string& podNamespace, const std::string& name) {
  return wanted.name == name && (wanted.podNamespace.empty() || wanted.podNamespace == podNamespace);
}

/// Walks through one container; the first question whose answer is not yes decides.
class Walk {
 public:
  Walk(const Snapshot& snapshot, std::string podNamespace, std::string pod) : snapshot_(snapshot) {
    result_.podNamespace = std::move(podNamespace);
    result_.pod = std::move(pod);
  }

  Explanation unmatched(const cri::Sandbox& sandbox);
  Explanation annotations(const watcher::PodSummary& pod, const watcher::Covering& covering);
  Explanation container(const watcher::PodSummary& pod, const config::Workload& workload);
  Explanation past(const Incident& incident);

 private:
  void say(const char* question, Verdict verdict, std::string text) {
    result_.steps.push_back({question, verdict, std::move(text)});
  }
  Explanation end(std::string verdict, std::string next = {}) {
    result_.verdict = std::move(verdict);
    result_.next = std::move(next);
    return std::move(result_);
  }
  Explanation waiting(const watcher::Waiting& waiting);
  Explanation incident(const Incident& incident);
  Explanation failure(const Incident& incident);
  void cause(Cause cause, const std::string& text) {
    say("cause", Verdict::yes, std::string(toString(cause)) + (text.empty() ? "" : ": " + text));
  }
  /// The operation that failed and the innermost words, before the whole text: no table contains this cause.
  static std::string located(const watcher::Waiting& waiting) {
    if (waiting.text.empty()) return {};
    const auto error = watcher::readPullError(waiting.text, waiting.workload->image);
    return watcher::describe(error) + " (in: " + waiting.text + ")";
  }
  Explanation notStarted(const watcher::Waiting& waiting);
  [[nodiscard]] std::string describe(const watcher::HeldUp& heldUp) const;
  void heldUpNow(const Incident& incident);
  void circuit(const std::string& image);
  bool binary(const BinaryRef& ref);
  std::string binaryAdvice(const BinaryRef& ref) const;

  const Snapshot& snapshot_;
  Explanation result_;
};

/// The conditions of a workload that the pod does not meet.
std::string missedBy(const config::Workload& workload, const cri::Sandbox& sandbox) {
  const auto& match = workload.match;
  std::vector<std::string> missed;
  if (watcher::isOfJob(sandbox) && !workload.restart.policy) {
    missed.emplace_back("the pod is of a Job, and the workload does not say restart.policy");
  }
  if (match.namespaceName && *match.namespaceName != sandbox.podNamespace) {
    missed.push_back("namespace is " + sandbox.podNamespace + ", not " + *match.namespaceName);
  }
  for (const auto& [key, value] : match.labels) {
    const auto found = sandbox.labels.find(key);
    if (found == sandbox.labels.end()) {
      missed.push_back("label " + key + " is missing");
    } else if (found->second != value) {
      missed.push_back("label " + key + " is " + found->second + ", not " + value);
    }
  }
  return join(missed, "; ");
}

Explanation Walk::unmatched(const cri::Sandbox& sandbox) {
  constexpr std::size_t kMaxTold = 8;
  std::size_t told = 0;
  for (const auto& workload : snapshot_.config->workloads) {
    if (told++ == kMaxTold) break;
    say("match", Verdict::no, "workload " + workload.name + ": " + missedBy(workload, sandbox));
  }
  if (told == 0) say("match", Verdict::no, "there are no workloads in " + snapshot_.configFile);
  return end("no workload covers this pod",
             "add a workload to " + snapshot_.configFile + ", or correct the labels of the pod");
}

/// Which of the pod's annotations are ignored.
Explanation Walk::annotations(const watcher::PodSummary& pod, const watcher::Covering& covering) {
  for (const auto& trouble : covering.troubles) say("annotation", Verdict::no, trouble);
  if (pod.overLimit > 0) {
    say("annotation", Verdict::no,
        std::to_string(pod.overLimit) + " of its containers are ignored: too many containers of namespace " +
            pod.sandbox.podNamespace + " are waiting for annotated images");
  }
  return end("some annotations of this pod are ignored",
             "write fallbackd.io/binary.CONTAINER: NAME@VERSION and fallbackd.io/image.CONTAINER: the image "
             "as the pod names it, for at most " +
                 std::to_string(watcher::kMaxChosenContainers) + " containers");
}

Explanation Walk::container(const watcher::PodSummary& pod, const config::Workload& workload) {
  result_.container = workload.match.container;
  result_.workload = workload.name;
  say("match", Verdict::yes,
      "workload " + workload.name + " (" + workload.definedAt + ") covers the container");
  const auto of = [&](const auto& target) {
    return target.sandboxId == pod.sandbox.id && target.container == workload.match.container;
  };
  const auto found = std::find_if(snapshot_.incidents.begin(), snapshot_.incidents.end(),
                                  [&](const Incident& one) { return of(one.target); });
  if (found != snapshot_.incidents.end() && (!recovery::isEnd(found->state) || found->neverAgain))
    return incident(*found);

  const auto made = std::find_if(pod.containers.begin(), pod.containers.end(),
                                 [&](const auto& one) { return one.name == workload.match.container; });
  if (made != pod.containers.end()) {
    say("container", Verdict::no,
        made->exitCode ? "the real container was created, and ended with " + std::to_string(*made->exitCode)
                       : "the real container was created in this sandbox");
    if (found != snapshot_.incidents.end()) return incident(*found);
    return end("the real container exists: no fallback is needed");
  }
  say("container", Verdict::yes, "no container with that name has been created yet");
  const auto waits = std::find_if(snapshot_.waiting.begin(), snapshot_.waiting.end(), [&](const auto& one) {
    return one.sandbox.id == pod.sandbox.id && one.workload->match.container == workload.match.container;
  });
  if (found != snapshot_.incidents.end() && waits == snapshot_.waiting.end()) return incident(*found);
  if (waits != snapshot_.waiting.end()) return waiting(*waits);
  say("image", Verdict::pending, "the container is not being watched");
  return end("nothing is known yet", snapshot_.containerdConnected
                                         ? "ask again in a moment"
                                         : "containerd is not connected: check its unit and socket");
}

Explanation Walk::waiting(const watcher::Waiting& waiting) {
  using Waits = watcher::Waiting::State;
  const auto& workload = *waiting.workload;
  if (waiting.state == Waits::image_present) {
    say("image", Verdict::no, workload.image + " is on the node: kubelet can start the container itself");
    return end("the image is present: no fallback is needed",
               "kubectl describe pod shows what kubelet is waiting for");
  }
  if (waiting.state == Waits::not_started) return notStarted(waiting);
  if (waiting.state == Waits::never_pulled) {
    say("image", Verdict::no, "its pull policy is Never");
    return end("kubelet never pulls this image, so no registry can block it");
  }
  if (waiting.state == Waits::after_init_containers) {
    say("image", Verdict::pending, "its init containers (startAfter) have not succeeded yet");
    return end("it is not the container's turn", "check the pod's init containers");
  }
  say("image", Verdict::yes, workload.image + " is not on the node");
  if (!waiting.trouble.empty()) say("credentials", Verdict::notice, waiting.trouble);
  if (waiting.state == Waits::asking) {
    say("cause", Verdict::pending, "the registry is being asked");
    circuit(workload.image);
    return end("it is not known yet whether the image can be pulled", "ask again in a moment");
  }
  if (waiting.state == Waits::undecided) {
    if (watcher::readPullError(waiting.text, workload.image).operation == watcher::Operation::lock) {
      say("cause", Verdict::pending, waiting.text);
      return end("another pull on this node is writing a layer of this image", "ask again in a moment");
    }
    say("cause", Verdict::pending,
        waiting.text.empty() ? "the answer says nothing about the registry" : waiting.text);
    circuit(workload.image);
    return end(
        "the cause is undecided, and only a known cause starts a fallback",
        workload.imageFrom == Provenance::configuration
            ? "give fallbackd the credentials that kubelet has (registries, dockerconfigjson, or "
              "credentialProviders)"
            : "the node's credentials are not used for an image that only an annotation names; to allow "
              "that, list its repository under registries[].repositories");
  }
  cause(waiting.cause, waiting.cause == Cause::unknown ? located(waiting) : waiting.text);
  const bool triggers = workload.detection.triggers.contains(waiting.cause);
  say("trigger", triggers ? Verdict::yes : Verdict::no,
      std::string(toString(waiting.cause)) +
          (triggers ? " starts a fallback" : " is not among the triggers"));
  circuit(workload.image);
  const bool admitted = binary(workload.binary);
  if (!triggers) {
    return end("this cause starts no fallback", waiting.cause == Cause::not_found
                                                    ? "correct the image's tag in the pod"
                                                    : "fix the cause; or list it in detection.triggers if a "
                                                      "fallback is the right answer to it");
  }
  if (!admitted) return end("no binary is allowed to run", binaryAdvice(workload.binary));
  say("launch", Verdict::pending, "not yet");
  return end("a recovery is about to begin", "ask again in a moment");
}

std::string Walk::describe(const watcher::HeldUp& heldUp) const {
  if (const auto* backOff = std::get_if<watcher::BackOff>(&heldUp)) {
    return "backs off after pulls that failed until " + wallTime(snapshot_, backOff->failed) +
           ", and does not pull before " + wallTime(snapshot_, backOff->until);
  }
  const auto& pull = std::get<watcher::StalledPull>(heldUp);
  return "is stuck behind the pull of " + pull.image + " for container " + pull.container + " of pod " +
         pull.podNamespace + "/" + pull.pod + ": registry " + pull.registry + " stalls since " +
         wallTime(snapshot_, pull.since) + ", and kubelet pulls one image at a time";
}

/// What a recovery for not_started still waits for.
void Walk::heldUpNow(const Incident& incident) {
  for (const auto& one : snapshot_.waiting) {
    if (one.sandbox.id != incident.target.sandboxId) continue;
    if (one.workload->match.container != incident.target.container) continue;
    say("kubelet", one.heldUp ? Verdict::yes : Verdict::notice,
        one.heldUp ? describe(*one.heldUp)
                   : "is not known to be held up any more; it makes the container, or refuses it");
  }
}

Explanation Walk::notStarted(const watcher::Waiting& waiting) {
  const auto& workload = *waiting.workload;
  say("image", Verdict::yes,
      workload.image + " is on the node" +
          (waiting.imageSince ? ", as far as known since " + wallTime(snapshot_, *waiting.imageSince) : ""));
  cause(Cause::not_started, "no container " + formatDuration(workload.detection.startTimeout) + " later");
  if (!waiting.heldUp) {
    say("kubelet", Verdict::no, "nothing is known that would hold it up");
    return end(
        "kubelet has not started the container, and it is not known why: no fallback is started, since "
        "kubelet may be refusing it",
        "kubectl describe pod shows what kubelet says (configuration errors, runAsNonRoot, a crash "
        "loop, credentials)");
  }
  say("kubelet", Verdict::yes, describe(*waiting.heldUp));
  const bool triggers = workload.detection.triggers.contains(Cause::not_started);
  say("trigger", triggers ? Verdict::yes : Verdict::no,
      triggers ? "not_started starts a fallback while kubelet is held up"
               : "not_started is not among the triggers");
  const bool admitted = binary(workload.binary);
  if (!triggers) {
    return end("this cause starts no fallback",
               "list not_started in detection.triggers if a fallback is the right answer to it");
  }
  if (!admitted) return end("no binary is allowed to run", binaryAdvice(workload.binary));
  say("launch", Verdict::pending, "not yet");
  return end("a recovery is about to begin", "ask again in a moment");
}

void Walk::circuit(const std::string& image) {
  const auto reference = ImageReference::parse(image);
  if (!reference) return;
  const auto& host = reference->host();
  for (const auto& one : snapshot_.registries) {
    if (one.name != host) continue;
    const auto& openFor = one.namespaces;
    if (one.state == watcher::Circuits::State::closed &&
        std::find(openFor.begin(), openFor.end(), result_.podNamespace) != openFor.end()) {
      say("circuit", Verdict::notice,
          "of " + host + ": open for namespace " + result_.podNamespace +
              " only, because of images that only annotations name");
      return;
    }
    const bool closed = one.state == watcher::Circuits::State::closed;
    say("circuit", closed ? Verdict::yes : Verdict::notice,
        "of " + host + ": " + std::string(watcher::toString(one.state)) +
            (closed ? "" : ", " + std::string(toString(one.failure.cause))));
    return;
  }
  say("circuit", Verdict::yes, host + " was not asked recently");
}

bool Walk::binary(const BinaryRef& ref) {
  const auto* state = binaryOf(snapshot_, ref);
  if (state == nullptr) {
    say("binary", Verdict::notice, ref.toString() + " is admitted when it is needed");
    return true;
  }
  if (!state->serves) {
    say("binary", Verdict::no,
        state->refused ? state->refused->message() : ref.toString() + " is not admitted");
    return false;
  }
  const bool odd = state->inGrace || state->refused;
  say("binary", odd ? Verdict::notice : Verdict::yes,
      ref.toString() + " is admitted" +
          (state->expires ? ", until " + rfc3339(*state->expires).substr(0, 10) : "") +
          (state->inGrace ? " (expired, within its grace period)" : "") +
          (state->refused ? "; the file on disk is refused: " + state->refused->message() : ""));
  return true;
}

std::string Walk::binaryAdvice(const BinaryRef& ref) const {
  const auto* state = binaryOf(snapshot_, ref);
  const bool missing = state != nullptr && state->refused && state->refused->reason == Reason::not_found;
  return (missing
              ? "install it: fallbackctl install --attestation " + ref.attestationName() + " " + ref.name
              : "fallbackctl verify " + ref.toString() + " says what is wrong; sign and install it again");
}

Explanation Walk::incident(const Incident& incident) {
  result_.recovery = incident.id;
  const bool notStarted = incident.cause == Cause::not_started;
  say("image", Verdict::yes,
      notStarted ? "was on the node, but kubelet did not start the container" : "could not be pulled");
  cause(incident.cause, incident.causeText);
  if (notStarted && !recovery::isEnd(incident.state)) heldUpNow(incident);
  say("trigger", Verdict::yes, std::string(toString(incident.cause)) + " starts a fallback");
  if (incident.state == State::failed) return failure(incident);
  const auto millis = [&](const std::optional<Stamp>& at) {
    if (!at || incident.adopted) return std::string();
    auto text = std::to_string(toMillis(*at - incident.stamps.waitingSince));
    return ", " + text.substr(0, text.find('.') + 2) + " ms after the pod began to wait";
  };
  if (incident.adopted || incident.stamps.verified) {
    say("binary", Verdict::yes, incident.binary.toString() + " was admitted");
  } else {
    binary(incident.binary);
  }
  const bool started = incident.adopted || incident.stamps.started;
  say("launch", started ? Verdict::yes : Verdict::pending,
      started
          ? "started" + millis(incident.stamps.started) +
                (incident.restarts > 0 ? "; restarted " + std::to_string(incident.restarts) + " times" : "")
          : "not yet");
  const bool ready = incident.state == State::ready || incident.stamps.ready;
  if (started) {
    const std::string at = incident.address.empty() ? "" : " at " + incident.address;
    if (incident.error) {
      say("readiness", Verdict::notice, "cannot be probed: " + incident.error->message());
    } else {
      say("readiness", ready ? Verdict::yes : Verdict::pending,
          ready ? "answered" + at + millis(incident.stamps.ready) : "does not answer yet" + at);
    }
  }
  switch (incident.state) {
    case State::ready:
      return end("the fallback is serving");
    case State::handed_back:
      say("hand-back", Verdict::yes, "the real container arrived" + millis(incident.stamps.ended));
      return end("the fallback served and was handed back");
    case State::withdrawn:
      say("kubelet", Verdict::no, "was not held up any more" + millis(incident.stamps.ended));
      return end("the recovery was withdrawn before its fallback was launched");
    case State::completed:
      return end("the fallback did its work and ended with exit code 0; it is not run again for this pod");
    case State::pod_gone:
      say("hand-back", Verdict::yes, "the pod was removed" + millis(incident.stamps.ended));
      return end("the fallback ended with its pod");
    default:
      return end(started ? "the fallback is running but not ready yet" : "the recovery is in progress",
                 incident.restarts > 0 ? "it died before: read its log beside the pod's logs"
                                       : "ask again in a moment");
  }
}

Explanation Walk::failure(const Incident& incident) {
  const auto& error = *incident.error;
  if (error.stage == Stage::admission) {
    say("binary", Verdict::no, error.message());
    if (error.reason == Reason::not_permitted || error.reason == Reason::version_rollback) {
      return end("the pod may not choose this binary",
                 "name " + incident.binary.toString() + " in a workload of the configuration" +
                     (error.reason == Reason::not_permitted
                          ? ", or the namespace in its attestation (fallbackctl sign --namespace)"
                          : ", or a version that is not below the floor in the pod's annotation"));
    }
    return end("no binary was allowed to run", binaryAdvice(incident.binary));
  }
  say("binary", Verdict::yes, incident.binary.toString() + " was admitted");
  if (error.stage == Stage::readiness) {
    say("launch", Verdict::yes, "started");
    say("readiness", Verdict::no, error.message());
    return end(
        "the fallback ran but never answered",
        "compare the workload's readiness with the port that the program listens on; its log is beside "
        "the pod's logs");
  }
  if (incident.neverAgain) {
    say("launch", Verdict::yes, "started");
    say("end", Verdict::no, error.message());
    return end("the fallback ran and failed; it is not run again for this pod",
               "its log lies beside the pod's logs; the Job's next pod gets a fallback of its own");
  }
  say("launch", Verdict::no, error.message());
  if (error.stage == Stage::health_check) {
    return end(
        "the binary failed its health check, so it was not started",
        "its output is beside the pod's logs; check arguments, environment and volumes of the workload");
  }
  if (error.reason == Reason::volume_missing) {
    return end("a volume that the workload names is not in the pod", "compare its volumes with the pod's");
  }
  return end("the launch failed in stage " + std::string(toString(error.stage)),
             "journalctl -u fallbackd | grep " + incident.id + " shows the details");
}

Explanation Walk::past(const Incident& one) {
  result_.container = one.target.container;
  result_.workload = one.workload;
  say("match", Verdict::yes, "workload " + one.workload + " covered the container");
  return incident(one);
}

Explanation unknownPod(const Snapshot& snapshot, const PodName& wanted) {
  Explanation result;
  result.podNamespace = wanted.podNamespace;
  result.pod = wanted.name;
  std::vector<std::string_view> names;
  for (const auto& pod : snapshot.pods) names.emplace_back(pod.sandbox.podName);
  const auto near = closest(wanted.name, names);
  result.steps.push_back({"match", Verdict::no,
                          "no pod of that name has a ready sandbox on " + snapshot.nodeName +
                              (near ? " (did you mean " + std::string(*near) + "?)" : "")});
  result.verdict = "this pod is not known here";
  result.next = snapshot.containerdConnected ? "kubectl get pod -o wide shows its node; without a sandbox "
                                               "(pause image, CNI) no fallback can help"
                                             : "containerd is not connected: check its unit and socket";
  return result;
}

constexpr std::string_view word(Verdict verdict) {
  switch (verdict) {
    case Verdict::yes:
      return "yes";
    case Verdict::no:
      return "no";
    case Verdict::pending:
      return "pending";
    case Verdict::notice:
      return "notice";
  }
  return "";
}

}  // namespace

std::vector<Explanation> explain(const Snapshot& snapshot, const std::string& pod) {
  const auto wanted = parsePodName(pod);
  std::vector<Explanation> all;
  for (const auto& one : snapshot.pods) {
    const auto& sandbox = one.sandbox;
    if (!isOf(wanted, sandbox.podNamespace, sandbox.podName)) continue;
    const auto covering = watcher::workloadsFor(snapshot.config, sandbox, one.choices, one.made());
    if (!covering.troubles.empty() || one.overLimit > 0) {
      all.push_back(Walk(snapshot, sandbox.podNamespace, sandbox.podName).annotations(one, covering));
    } else if (covering.workloads.empty()) {
      all.push_back(Walk(snapshot, sandbox.podNamespace, sandbox.podName).unmatched(sandbox));
    }
    for (const auto& workload : covering.workloads) {
      all.push_back(Walk(snapshot, sandbox.podNamespace, sandbox.podName).container(one, *workload));
    }
  }
  if (!all.empty()) return all;
  for (const auto& incident : snapshot.incidents) {
    const auto& target = incident.target;
    if (isOf(wanted, target.podNamespace, target.podName)) {
      all.push_back(Walk(snapshot, target.podNamespace, target.podName).past(incident));
    }
  }
  if (all.empty()) all.push_back(unknownPod(snapshot, wanted));
  return all;
}

std::string explainJson(const std::vector<Explanation>& explanations) {
  json::array all;
  for (const auto& one : explanations) {
    json::array steps;
    for (const auto& step : one.steps) {
      steps.push_back(
          json::object{{"question", step.question}, {"verdict", word(step.verdict)}, {"text", step.text}});
    }
    all.push_back(json::object{{"namespace", one.podNamespace},
                               {"pod", one.pod},
                               {"container", one.container},
                               {"workload", one.workload},
                               {"recovery", one.recovery},
                               {"verdict", one.verdict},
                               {"next", one.next},
                               {"steps", std::move(steps)}});
  }
  return json::serialize(all);
}

}  // namespace fallbackd::app
