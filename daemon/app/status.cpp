// SPDX-License-Identifier: Apache-2.0
#include "app/status.hpp"

#include "base/strings.hpp"
#include "config/settle.hpp"
#include "coverage/report.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <sys/resource.h>

#include <boost/json.hpp>

namespace fallbackd::app {

namespace {

namespace json = boost::json;

constexpr std::chrono::seconds kNowStep{10};

/// Milliseconds since the pod began to wait, for each transition that happened.
json::object phases(const recovery::Incident& incident) {
  const auto& stamps = incident.stamps;
  json::object object;
  if (incident.adopted) return object;  // the stamps were an earlier daemon's
  const auto add = [&](const char* name, const std::optional<Stamp>& at) {
    if (at) object[name] = toMillis(*at - stamps.waitingSince);
  };
  add("detected", stamps.detected);
  add("verified", stamps.verified);
  add("prepared", stamps.prepared);
  add("healthChecked", stamps.healthChecked);
  add("started", stamps.started);
  add("ready", stamps.ready);
  add("standIn", stamps.standIn);
  add("adopted", stamps.adopted);
  add("podReady", stamps.podReady);
  add("stopped", stamps.stopped);
  add("ended", stamps.ended);
  return object;
}

json::object toJson(const recovery::Incident& incident) {
  json::object object{{"id", incident.id},
                      {"namespace", incident.target.podNamespace},
                      {"pod", incident.target.podName},
                      {"podUid", incident.target.podUid},
                      {"sandbox", incident.target.sandboxId},
                      {"container", incident.target.container},
                      {"workload", incident.workload},
                      {"binary", incident.binary.toString()},
                      {"cause", toString(incident.cause)},
                      {"causeText", incident.causeText},
                      {"state", recovery::toString(incident.state)},
                      {"podIp", incident.podIp},
                      {"address", incident.address},
                      {"pid", incident.pid},
                      {"restarts", incident.restarts},
                      {"adopted", incident.adopted},
                      {"begun", rfc3339(incident.begun)},
                      {"sinceWaitingMs", phases(incident)}};
  if (const auto& one = incident.settlement) {
    object["settlement"] = json::object{
        {"state", recovery::toString(one->state)}, {"why", one->why}, {"standIn", one->container}};
  }
  if (!incident.adopted) object["verdictMs"] = toMillis(incident.verdictTook);
  if (incident.error) {
    object["error"] = json::object{{"stage", toString(incident.error->stage)},
                                   {"reason", toString(incident.error->reason)},
                                   {"message", incident.error->message()}};
  }
  return object;
}

json::object heldUpJson(const watcher::HeldUp& heldUp, const Snapshot& snapshot) {
  json::object object{{"by", watcher::wordOf(heldUp)}};
  if (const auto* pull = std::get_if<watcher::StalledPull>(&heldUp)) {
    object["image"] = pull->image;
    object["registry"] = pull->registry;
    object["namespace"] = pull->podNamespace;
    object["pod"] = pull->pod;
    object["container"] = pull->container;
    object["since"] = wallTime(snapshot, pull->since);
  } else {
    object["until"] = wallTime(snapshot, std::get<watcher::BackOff>(heldUp).until);
  }
  return object;
}

bool hasCause(watcher::Waiting::State state) {
  using Waits = watcher::Waiting::State;
  return state == Waits::failed || state == Waits::undecided || state == Waits::not_started;
}

json::object toJson(const watcher::Waiting& waiting, const Snapshot& snapshot) {
  json::object object{{"namespace", waiting.sandbox.podNamespace},
                      {"pod", waiting.sandbox.podName},
                      {"container", waiting.workload->match.container},
                      {"workload", waiting.workload->name},
                      {"image", waiting.workload->image},
                      {"imageFrom", toString(waiting.workload->imageFrom)},
                      {"binary", waiting.workload->binary.toString()},
                      {"state", toString(waiting.state)}};
  if (waiting.verdictTook) object["verdictMs"] = toMillis(*waiting.verdictTook);
  if (hasCause(waiting.state)) {
    object["cause"] = toString(waiting.cause);
    object["text"] = waiting.text;
    if (!waiting.trouble.empty()) object["trouble"] = waiting.trouble;
  }
  if (waiting.heldUp) object["heldUp"] = heldUpJson(*waiting.heldUp, snapshot);
  return object;
}

json::object toJson(const config::Pause::Order& order) {
  return {{"since", rfc3339(order.since)}, {"reason", order.reason}};
}

json::object pauseJson(const Snapshot& snapshot) {
  json::object object;
  if (snapshot.pause.node) object["node"] = toJson(*snapshot.pause.node);
  json::array namespaces;
  const auto add = [&](const config::Pause::Orders& orders, const char* by) {
    for (const auto& [name, order] : orders) {
      auto one = toJson(order);
      one["name"] = name;
      one["by"] = by;
      namespaces.push_back(std::move(one));
    }
  };
  add(snapshot.pause.namespaces, "fallbackctl");
  add(snapshot.pause.annotated, "annotation");
  object["namespaces"] = std::move(namespaces);
  object["removeStandIns"] = snapshot.pause.withoutStandIns;
  object["standInsGone"] = snapshot.standInsGone;
  object["problem"] = snapshot.pauseProblem;
  return object;
}

json::object settleJson(const config::Config& config) {
  constexpr std::array<const char*, 3> kNames{"auto", "always", "never"};
  return {{"node", kNames.at(static_cast<std::size_t>(config.settle))},
          {"problem", config::problemOfSettle(config)}};
}

/// Without a drill only the problem: why an ordered drill does not hold.
json::object drillJson(const Snapshot& snapshot) {
  json::object object{{"problem", snapshot.drillProblem}};
  if (!snapshot.drill) return object;
  const auto& drill = *snapshot.drill;
  object["workload"] = drill.workload;
  object["namespace"] = drill.podNamespace;
  object["pod"] = drill.pod;
  object["since"] = rfc3339(drill.since);
  object["until"] = rfc3339(drill.until);
  object["reason"] = drill.reason;
  return object;
}

json::object unstickJson(const Snapshot& snapshot) {
  json::object object{{"state", watcher::toString(snapshot.unstick)}};
  for (std::size_t i = 0; i < snapshot.unsticks.size(); ++i) {
    object[watcher::toString(static_cast<watcher::UnstickResult>(i))] = snapshot.unsticks.at(i);
  }
  return object;
}

json::object mirrorJson(const Snapshot& snapshot) {
  json::object object{{"on", snapshot.mirror.has_value()},
                      {"address", snapshot.config->mirror.listen.value_or("")},
                      {"problem", snapshot.mirrorProblem}};
  json::array served;
  if (snapshot.mirror) {
    for (const auto& one : snapshot.mirror->served) {
      json::object image{
          {"image", one.name},
          {"digest", one.digest},
          {"cause", toString(one.cause)},
          {"text", one.text},
          {"at", rfc3339(one.at)},
          {"times", one.times},
          {"freshness", one.byDigest   ? "requested by its digest, which cannot change"
                        : one.lastSeen ? "from the node, last seen at the registry " + rfc3339(*one.lastSeen)
                                       : "from the node; when the registry last had it is not known"}};
      if (one.lastSeen) image["lastSeen"] = rfc3339(*one.lastSeen);
      served.push_back(std::move(image));
    }
  }
  object["served"] = std::move(served);
  return object;
}

json::object toJson(const recovery::Withheld& withheld) {
  json::object object{{"namespace", withheld.target.podNamespace}, {"pod", withheld.target.podName},
                      {"container", withheld.target.container},    {"workload", withheld.workload},
                      {"binary", withheld.binary.toString()},      {"cause", toString(withheld.cause)},
                      {"by", recovery::toString(withheld.by)},     {"since", rfc3339(withheld.since)}};
  if (withheld.wouldStartAfter) object["wouldStartAfterMs"] = toMillis(*withheld.wouldStartAfter);
  if (withheld.refused) object["refused"] = withheld.refused->message();
  return object;
}

json::object toJson(const watcher::Circuits::Host& host, const Snapshot& snapshot) {
  json::object object{{"host", host.name},
                      {"state", watcher::toString(host.state)},
                      {"since", wallTime(snapshot, host.since)}};
  json::array namespaces;
  for (const auto& one : host.namespaces) namespaces.emplace_back(one);
  object["openFor"] = std::move(namespaces);
  if (host.state != watcher::Circuits::State::closed) {
    object["cause"] = toString(host.failure.cause);
    object["text"] = host.failure.text;
  }
  return object;
}

json::object toJson(const recovery::BinaryState& binary) {
  json::object object{{"name", binary.ref.name},   {"version", binary.ref.version},
                      {"serves", binary.serves},   {"resident", binary.resident},
                      {"inGrace", binary.inGrace}, {"bytes", binary.bytes},
                      {"digest", binary.digest}};
  if (binary.expires) object["expires"] = rfc3339(*binary.expires);
  if (binary.refused) {
    object["reason"] = toString(binary.refused->reason);
    object["error"] = binary.refused->message();
  }
  return object;
}

bool covered(const Snapshot& snapshot, const config::Workload& workload) {
  const auto* binary = binaryOf(snapshot, workload.binary);
  return binary != nullptr && binary->serves;
}

std::size_t coveredWorkloads(const Snapshot& snapshot) {
  const auto& all = snapshot.config->workloads;
  return static_cast<std::size_t>(
      std::count_if(all.begin(), all.end(), [&](const auto& one) { return covered(snapshot, one); }));
}

json::object coverageOf(const Snapshot& snapshot, const std::optional<coverage::Counts>& counts) {
  json::object object{{"workloads", snapshot.config->workloads.size()},
                      {"covered", coveredWorkloads(snapshot)}};
  if (counts) object["containers"] = coverage::countsJson(*counts);
  return object;
}

json::array workloadsJson(const Snapshot& snapshot) {
  json::array workloads;
  for (const auto& workload : snapshot.config->workloads) {
    workloads.push_back(json::object{{"name", workload.name},
                                     {"namespace", workload.match.namespaceName.value_or("")},
                                     {"container", workload.match.container},
                                     {"image", workload.image},
                                     {"binary", workload.binary.toString()},
                                     {"definedAt", workload.definedAt},
                                     {"covered", covered(snapshot, workload)}});
  }
  return workloads;
}

json::array trustProblems(const cache::Cache::Trust& trust) {
  json::array problems;
  for (const auto* error : {&trust.keyring, &trust.revocations}) {
    if (*error) problems.emplace_back((*error)->message());
  }
  return problems;
}

json::array rollbacksJson(const std::vector<cache::RolledBack>& all) {
  json::array list;
  for (const auto& one : all) {
    json::object object{{"name", one.rollback.from.name},
                        {"from", one.rollback.from.version},
                        {"to", one.rollback.to},
                        {"state", cache::toString(one.state)}};
    if (one.floor) object["floor"] = *one.floor;
    list.push_back(std::move(object));
  }
  return list;
}

template <class List, class... More>
json::array listOf(const List& list, const More&... more) {
  json::array array;
  for (const auto& one : list) array.push_back(toJson(one, more...));
  return array;
}

}  // namespace

std::string statusJson(const Snapshot& snapshot, const std::optional<coverage::Counts>& counts) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(snapshot.taken);
  const auto rounded = seconds - seconds.time_since_epoch() % kNowStep;
  json::array problems;
  for (const auto& one : snapshot.configProblems) problems.emplace_back(one);
  return asUtf8(json::serialize(json::object{
      {"version", snapshot.version},
      {"node", snapshot.nodeName},
      {"now", rfc3339(rounded)},
      {"started", rfc3339(snapshot.started)},
      {"containerd", json::object{{"connected", snapshot.containerdConnected},
                                  {"socket", snapshot.containerdSocket},
                                  {"problem", snapshot.containerdProblem}}},
      {"spawner", json::object{{"running", snapshot.spawnerRuns}, {"restarts", snapshot.spawnerRestarts}}},
      {"config", json::object{{"file", snapshot.configFile},
                              {"dropIns", snapshot.dropInDir},
                              {"current", snapshot.configProblems.empty()},
                              {"problems", std::move(problems)}}},
      {"cache", json::object{{"problems", trustProblems(snapshot.trust)},
                             {"rollbacks", rollbacksJson(snapshot.rolledBack)}}},
      {"coverage", coverageOf(snapshot, counts)},
      {"mode", snapshot.config->mode == config::Mode::observe ? "observe" : "recover"},
      {"settle", settleJson(*snapshot.config)},
      {"pause", pauseJson(snapshot)},
      {"drill", drillJson(snapshot)},
      {"withheld", listOf(snapshot.withheld)},
      {"waiting", listOf(snapshot.waiting, snapshot)},
      {"annotations", json::object{{"refused", snapshot.ignoredAnnotations.refused},
                                   {"cutOff", snapshot.ignoredAnnotations.cutOff}}},
      {"kubernetes", podsJson(snapshot.knownPods)},
      {"registries", listOf(snapshot.registries, snapshot)},
      {"unstick", unstickJson(snapshot)},
      {"mirror", mirrorJson(snapshot)},
      {"workloads", workloadsJson(snapshot)},
      {"binaries", listOf(snapshot.binaries.value_or(std::vector<recovery::BinaryState>()))},
      {"recoveries", listOf(snapshot.incidents)}}));
}

std::string varsJson(const Snapshot& snapshot) {
  struct rusage usage {};
  static_cast<void>(::getrusage(RUSAGE_SELF, &usage));
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  json::object recoveries;
  for (const auto& incident : snapshot.incidents) {
    auto& count = recoveries[recovery::toString(incident.state)];
    count = count.is_null() ? 1 : count.as_int64() + 1;
  }
  json::object calls;
  for (const auto& [method, count] : snapshot.containerdCalls) calls[method] = count;
  return asUtf8(json::serialize(json::object{
      {"version", snapshot.version},
      {"uptimeSeconds", std::chrono::duration<double>(snapshot.taken - snapshot.started).count()},
      {"process", json::object{{"cpuUserSeconds", seconds(usage.ru_utime)},
                               {"cpuSystemSeconds", seconds(usage.ru_stime)},
                               {"peakResidentBytes", usage.ru_maxrss * 1024}}},
      {"spawnerRestarts", snapshot.spawnerRestarts},
      {"pods", snapshot.pods.size()},
      {"waiting", snapshot.waiting.size()},
      {"registries", snapshot.registries.size()},
      {"recoveries", std::move(recoveries)},
      {"cache", json::object{{"residentBytes", snapshot.cacheUsage.residentBytes},
                             {"budgetBytes", snapshot.cacheUsage.budgetBytes},
                             {"residents", snapshot.cacheUsage.residents},
                             {"hashedBytes", snapshot.cacheUsage.hashedBytes}}},
      {"containerdCalls", std::move(calls)}}));
}

Readiness readiness(const Snapshot& snapshot) {
  Readiness result;
  const auto part = [&](std::string_view name, const std::string& missing, const std::string& warning) {
    const char* verdict = !missing.empty() ? "not ready " : !warning.empty() ? "warning " : "ok ";
    result.text.append(verdict).append(name);
    if (!missing.empty() || !warning.empty()) result.text.append(": ").append(missing).append(warning);
    result.text.append("\n");
    result.ready = result.ready && missing.empty();
  };
  part("containerd", snapshot.containerdConnected ? "" : snapshot.containerdTrouble(), "");
  part("spawner", snapshot.spawnerRuns ? "" : "is not running", "");
  // If the revocation list cannot be read, a new daemon would have no binaries at all, while this one has
  // those that it admitted before: a rollout must wait. An empty keyring may only mean a new node.
  const auto& trust = snapshot.trust;
  part(
      "cache",
      !snapshot.binaries  ? "has not been read yet"
      : trust.revocations ? "nothing new is admitted: " + trust.revocations->context
                          : "",
      trust.keyring ? (trust.revocations ? "; " : "nothing new is admitted: ") + trust.keyring->context : "");
  const auto configured = snapshot.config->workloads.size();
  const auto good = coveredWorkloads(snapshot);
  part("coverage", "",
       good == configured || !snapshot.binaries
           ? ""
           : std::to_string(configured - good) + " of " + std::to_string(configured) +
                 " workloads have no admitted binary (fallbackctl list)");
  if (!snapshot.mirrorProblem.empty()) part("mirror", "", "does not run: " + snapshot.mirrorProblem);
  part("pause", "",
       snapshot.pause.node || snapshot.pause.namespaceCount() > 0
           ? "new recoveries are paused (fallbackctl status)"
           : "");
  part("drill", "", snapshot.drill ? "one holds (fallbackctl drill status)" : "");
  part("config", "",
       snapshot.configProblems.empty() ? "" : "the file on disk is invalid, an earlier one is in use");
  return result;
}

}  // namespace fallbackd::app
