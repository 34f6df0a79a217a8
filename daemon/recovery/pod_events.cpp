// SPDX-License-Identifier: Apache-2.0
#include "recovery/pod_events.hpp"

#include <array>
#include <chrono>

namespace fallbackd::recovery {

namespace {

std::string inMillis(std::chrono::nanoseconds length) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(length).count()) + " ms";
}

/// The cause in words; for `unknown`, containerd's own words have to do.
std::string_view clauseOf(Cause cause) {
  switch (cause) {
    case Cause::unreachable:
      return "its registry cannot be reached";
    case Cause::dns:
      return "its registry's name cannot be resolved";
    case Cause::timeout:
      return "its registry does not answer in time";
    case Cause::tls:
      return "TLS with its registry fails";
    case Cause::server_error:
      return "its registry fails";
    case Cause::rate_limited:
      return "its registry limits the rate";
    case Cause::unauthorized:
      return "its registry refuses the credentials";
    case Cause::not_found:
      return "its registry does not have it";
    case Cause::policy:
      return "a policy of the node forbids it";
    case Cause::disk:
      return "the node's disk is full or fails";
    case Cause::not_started:
    case Cause::unknown:
      break;
  }
  return "for a reason that is not known";
}

/// The part after a quoted image or URL: "dial tcp 10.0.0.1:443: connect: connection refused".
std::string_view withoutNames(std::string_view words) {
  constexpr std::string_view kAfterQuote = "\": ";
  const auto quote = words.rfind(kAfterQuote);
  if (quote == std::string_view::npos) return {};
  const auto rest = words.substr(quote + kAfterQuote.size());
  return rest.find('/') == std::string_view::npos ? rest : std::string_view();
}

std::string seriesOf(const Error& error) {
  return std::string(toString(error.stage)) + "/" + std::string(toString(error.reason));
}

std::string named(const BinaryRef& binary) {
  return "Fallback " + binary.toString();
}

std::string ofFailure(const BinaryRef& binary, bool wasRefused, const Error& error) {
  return named(binary) + (wasRefused ? " was refused (" : " failed (") + seriesOf(error) +
         "): " + error.context + (error.errnum != 0 ? ": " + errnoText(error.errnum) : std::string());
}

}  // namespace

std::string_view toString(PodEventReason reason) {
  static constexpr std::array kNames = {
#define X(name, text, type) std::string_view(text),
      FALLBACKD_POD_EVENTS(X)
#undef X
  };
  return kNames.at(static_cast<std::size_t>(reason));
}

bool isWarning(PodEventReason reason) {
  enum class Type : std::uint8_t { normal, warning };
  static constexpr std::array kTypes = {
#define X(name, text, type) Type::type,
      FALLBACKD_POD_EVENTS(X)
#undef X
  };
  return kTypes.at(static_cast<std::size_t>(reason)) == Type::warning;
}

PodEvent waits(const Wait& wait, const BinaryRef& binary) {
  const auto due = "; fallback " + binary.toString() + " is due";
  const std::string cause(toString(wait.cause));
  if (wait.cause == Cause::not_started) {
    // What holds kubelet up may be another tenant's pull, which the text would name.
    return {PodEventReason::waits_for_start, cause,
            "The image is on the node, but kubelet, which is held up, does not start the container" + due};
  }
  auto message =
      "The image cannot be pulled: " + std::string(clauseOf(wait.cause)) + " (" + cause + ")" + due;
  const auto words =
      wait.learnt == Wait::Learnt::from_this_pod ? std::string_view(wait.words) : withoutNames(wait.words);
  if (!words.empty()) message.append(": ").append(words);
  return {PodEventReason::waits_for_image, cause, std::move(message)};
}

PodEvent serving(const Incident& incident) {
  auto message = named(incident.binary) + " serves";
  if (!incident.address.empty()) message += " on " + incident.address;
  if (incident.restarts > 0) {
    message += " again, after restart " + std::to_string(incident.restarts);
  } else if (!incident.adopted && incident.stamps.ready) {
    message +=
        ", " + inMillis(*incident.stamps.ready - incident.stamps.waitingSince) + " after the wait began";
  }
  return {PodEventReason::fallback_serving, incident.restarts > 0 ? "again" : "first", std::move(message)};
}

PodEvent exited(const Incident& incident, const launcher::ExitStatus& status) {
  return {PodEventReason::fallback_exited, "", named(incident.binary) + " ended: " + status.toString()};
}

PodEvent unhealthy(const Incident& incident, unsigned failures, const Error& error) {
  return {PodEventReason::fallback_unhealthy, "",
          named(incident.binary) + " failed its liveness check " + std::to_string(failures) +
              " times and is stopped: " + error.context};
}

std::optional<PodEvent> ended(const Incident& incident) {
  const auto& stamps = incident.stamps;
  switch (incident.state) {
    case State::handed_back: {
      if (!stamps.started && !incident.adopted) {
        return PodEvent{PodEventReason::fallback_not_needed, "",
                        "The container came before " + incident.binary.toString() + " was started"};
      }
      auto message = named(incident.binary) + " was handed back to the container";
      const auto served = stamps.stopped ? stamps.stopped : stamps.ended;
      if (stamps.ready && served && !incident.adopted) {
        message += "; it had served for " + inMillis(*served - *stamps.ready);
      }
      return PodEvent{PodEventReason::fallback_handed_back, "", std::move(message)};
    }
    case State::completed:
      return PodEvent{PodEventReason::fallback_completed, "",
                      named(incident.binary) + " has done its work: exit code 0"};
    case State::withdrawn:
      return PodEvent{PodEventReason::fallback_not_needed, "",
                      "kubelet is no longer held up; " + incident.binary.toString() + " was not started"};
    case State::failed:
      if (incident.error) return refused(incident.binary, *incident.error);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

PodEvent refused(const BinaryRef& binary, const Error& error) {
  // Decided before anything ran; all other errors are failures.
  const bool wasRefused = error.stage == Stage::admission || error.stage == Stage::config;
  return {wasRefused ? PodEventReason::fallback_refused : PodEventReason::fallback_failed, seriesOf(error),
          ofFailure(binary, wasRefused, error)};
}

PodEvent paused(const BinaryRef& binary, const std::string& reason) {
  auto message = named(binary) + " is not started: recoveries are paused";
  if (!reason.empty()) message += " (" + reason + ")";
  return {PodEventReason::fallback_paused, "", std::move(message)};
}

PodEvent observed(const BinaryRef& binary, std::chrono::nanoseconds after) {
  return {PodEventReason::fallback_observed, "",
          named(binary) + " would have started " + inMillis(after) +
              " after the wait began; mode observe starts none"};
}

PodEvent observedRefusal(const BinaryRef& binary, const Error& error) {
  auto event = refused(binary, error);
  event.series += "/observed";
  event.message = "Observed: " + event.message;
  return event;
}

}  // namespace fallbackd::recovery
