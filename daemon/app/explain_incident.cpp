// SPDX-License-Identifier: Apache-2.0
#include "app/explain_walk.hpp"

#include <string>

namespace fallbackd::app {

using recovery::State;

/// What a recovery for not_started still waits for.
void Walk::heldUpNow(const Incident& incident) {
  for (const auto& one : snapshot_.waiting) {
    if (one.sandbox.id != incident.target.sandboxId) continue;
    if (one.workload->match.container != incident.target.container) continue;
    say("kubelet", one.heldUp ? Verdict::yes : Verdict::notice,
        one.heldUp ? describe(*one.heldUp)
                   : "is not known to be held up any more; it creates the container or refuses it");
  }
}

/// Whether Kubernetes sees the pod running.
void Walk::standIn(const recovery::Settlement& settlement) {
  using Settled = recovery::Settlement::State;
  switch (settlement.state) {
    case Settled::settled:
      return say("stand-in", Verdict::yes, "kubelet sees the pod run: " + settlement.why);
    case Settled::leaving:
      return say("stand-in", Verdict::yes, settlement.why);
    case Settled::held:
      return say("stand-in", Verdict::pending, "Kubernetes does not see the pod run yet: " + settlement.why);
    case Settled::refused:
      return say("stand-in", Verdict::notice, "Kubernetes does not see the pod run: " + settlement.why);
    case Settled::rejected:
      return say("stand-in", Verdict::notice, "kubelet did not adopt it: " + settlement.why);
    case Settled::failed:
      return say("stand-in", Verdict::notice, "could not be made: " + settlement.why);
  }
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
  // Between two attempts, and before the first that succeeds.
  const bool waits = incident.error && incident.state <= State::verified;
  if (waits) {
    say("launch", Verdict::notice, "not possible at present, tried again: " + incident.error->message());
  } else {
    say("launch", started ? Verdict::yes : Verdict::pending,
        started
            ? "started" + millis(incident.stamps.started) +
                  (incident.restarts > 0 ? "; restarted " + std::to_string(incident.restarts) + " times" : "")
            : "not yet");
  }
  const bool ready = incident.state == State::ready || incident.stamps.ready;
  const bool runs = started && !waits;
  if (runs) {
    const std::string at = incident.address.empty() ? "" : " at " + incident.address;
    if (incident.error) {
      say("readiness", Verdict::notice, "cannot be probed: " + incident.error->message());
    } else {
      say("readiness", ready ? Verdict::yes : Verdict::pending,
          ready ? "answered" + at + millis(incident.stamps.ready) : "does not answer yet" + at);
    }
  }
  if (incident.settlement) standIn(*incident.settlement);
  if (incident.stamps.stopped && !isEnd(incident.state)) {
    say("hand-back", Verdict::pending, "the fallback has stopped" + millis(incident.stamps.stopped));
    return end("the fallback has stopped; what is left of it is being removed", "try again in a moment");
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
      return end(runs ? "the fallback is running but not ready yet" : "the recovery is in progress",
                 incident.restarts > 0 ? "it died before: read its log beside the pod's logs"
                                       : "try again in a moment");
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
               "its log is beside the pod's logs; the Job's next pod gets its own fallback");
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

}  // namespace fallbackd::app
