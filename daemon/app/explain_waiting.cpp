// SPDX-License-Identifier: Apache-2.0
#include "app/explain_walk.hpp"
#include "config/drill.hpp"
#include "domain/image_reference.hpp"
#include "watcher/causes/pull_error.hpp"

#include <algorithm>
#include <string>
#include <variant>

namespace fallbackd::app {

namespace {

/// The operation that failed and the innermost words, before the whole text: no table contains this cause.
std::string located(const watcher::Waiting& waiting) {
  if (waiting.text.empty()) return {};
  const auto error = watcher::readPullError(waiting.text, waiting.workload->image);
  return watcher::describe(error) + " (in: " + waiting.text + ")";
}
}  // namespace

/// Reports that the mirror served the image, and how old it may be.
void Walk::fromMirror(const std::string& image) {
  const auto reference = ImageReference::parse(image);
  if (!snapshot_.mirror || !reference) return;
  for (const auto& one : snapshot_.mirror->served) {
    if (one.name != reference->toString()) continue;
    const auto seen = one.byDigest   ? std::string("requested by its digest, which cannot change")
                      : one.lastSeen ? "last seen at the registry " + rfc3339(*one.lastSeen)
                                     : std::string("when the registry last had it is not known");
    say("mirror", Verdict::notice,
        "from the node, " + seen + "; its registry is down (" + std::string(toString(one.cause)) + ")");
  }
}

Explanation Walk::waiting(const watcher::Waiting& waiting) {
  using Waits = watcher::Waiting::State;
  const auto& workload = *waiting.workload;
  if (waiting.state == Waits::image_present) {
    say("image", Verdict::no, workload.image + " is on the node: kubelet can start the container itself");
    fromMirror(workload.image);
    return end("the image is present: no fallback is needed",
               "kubectl describe pod shows what kubelet is waiting for");
  }
  if (waiting.state == Waits::not_specified) {
    auto ending = notSpecified();
    return end(std::move(ending.verdict), std::move(ending.next));
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
  const bool drill = config::isDrill(workload);
  say("image", Verdict::yes,
      drill ? "a drill: it counts as one that cannot be pulled" : workload.image + " is not on the node");
  if (!waiting.trouble.empty()) say("credentials", Verdict::notice, waiting.trouble);
  if (waiting.state == Waits::asking) {
    say("cause", Verdict::pending, "the registry is being asked");
    circuit(workload.image);
    return end("it is not known yet whether the image can be pulled", "try again in a moment");
  }
  if (waiting.state == Waits::undecided) {
    if (watcher::readPullError(waiting.text, workload.image).operation == watcher::Operation::lock) {
      say("cause", Verdict::pending, waiting.text);
      return end("another pull on this node is writing a layer of this image", "try again in a moment");
    }
    say("cause", Verdict::pending,
        waiting.text.empty() ? "the answer says nothing about the registry" : waiting.text);
    circuit(workload.image);
    return end(
        "the cause is undecided, and only a known cause starts a fallback",
        workload.imageFrom == Provenance::configuration
            ? "give fallbackd the credentials that kubelet has (registries, dockerconfigjson, or "
              "credentialProviders)"
            : "the node's credentials are not used for an image that only the pod names; to allow that, "
              "list its repository under registries[].repositories");
  }
  cause(waiting.cause, waiting.cause == Cause::unknown ? located(waiting) : waiting.text);
  const bool triggers = workload.detection.triggers.contains(waiting.cause);
  say("trigger", triggers ? Verdict::yes : Verdict::no,
      std::string(toString(waiting.cause)) +
          (triggers ? " starts a fallback" : " is not among the triggers"));
  if (!drill) circuit(workload.image);
  const bool admitted = binary(workload.binary);
  if (!triggers) {
    return end("this cause starts no fallback", waiting.cause == Cause::not_found
                                                    ? "correct the image's tag in the pod"
                                                    : "fix the cause; or list it in detection.triggers if a "
                                                      "fallback is the right answer to it");
  }
  if (!admitted) return end("no binary is allowed to run", binaryAdvice(workload.binary));
  return due(waiting);
}

/// All conditions for a fallback are met. An operator may have ordered that none is started.
Explanation Walk::due(const watcher::Waiting& waiting) {
  const auto& all = snapshot_.withheld;
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) {
    return one.target.sandboxId == waiting.sandbox.id &&
           one.target.container == waiting.workload->match.container;
  });
  if (found == all.end()) {
    say("launch", Verdict::pending, "not yet");
    return end("a recovery is about to begin", "try again in a moment");
  }
  if (found->by == recovery::Withheld::By::observe) {
    say("launch", Verdict::no,
        found->wouldStartAfter
            ? "mode observe: it would have been started " +
                  formatDuration(std::chrono::floor<std::chrono::milliseconds>(*found->wouldStartAfter)) +
                  " after the wait began"
            : "mode observe: nothing is started");
    auto ending = coverage::observeOnly();
    return end(std::move(ending.verdict), std::move(ending.next));
  }
  const auto* order = snapshot_.pause.orderFor(waiting.sandbox.podNamespace);
  const auto words = order == nullptr || order->reason.empty() ? std::string() : ": " + order->reason;
  say("launch", Verdict::no, "new recoveries are paused" + words);
  return end("new recoveries are paused", snapshot_.pause.wayOut(waiting.sandbox.podNamespace));
}

std::string Walk::describe(const watcher::HeldUp& heldUp) const {
  if (const auto* backOff = std::get_if<watcher::BackOff>(&heldUp)) {
    return "backs off after pulls that failed until " + wallTime(snapshot_, backOff->failed) +
           ", and does not pull before " + wallTime(snapshot_, backOff->until);
  }
  const auto& pull = std::get<watcher::StalledPull>(heldUp);
  return "is stuck behind the pull of " + pull.image + " for container " + pull.container + " of pod " +
         pull.podNamespace + "/" + pull.pod + ": registry " + pull.registry + " has stalled since " +
         wallTime(snapshot_, pull.since) + ", and kubelet pulls one image at a time";
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
  return due(waiting);
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
  return missing ? coverage::installAdvice(ref) : coverage::verifyAdvice(ref);
}

}  // namespace fallbackd::app
