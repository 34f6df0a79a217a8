#include "app/status.hpp"

#include <boost/json.hpp>

namespace fallbackd::app {

namespace {

namespace json = boost::json;

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
                      {"pid", incident.pid},
                      {"restarts", incident.restarts},
                      {"adopted", incident.adopted},
                      {"begun", rfc3339(incident.begun)},
                      {"sinceWaitingMs", phases(incident)}};
  if (!incident.adopted) object["verdictMs"] = toMillis(incident.verdictTook);
  if (incident.error) {
    object["error"] = json::object{{"stage", toString(incident.error->stage)},
                                   {"reason", toString(incident.error->reason)},
                                   {"message", incident.error->message()}};
  }
  return object;
}

json::object toJson(const watcher::Waiting& waiting) {
  json::object object{{"namespace", waiting.sandbox.podNamespace},
                      {"pod", waiting.sandbox.podName},
                      {"container", waiting.workload->match.container},
                      {"workload", waiting.workload->name},
                      {"image", waiting.workload->image},
                      {"binary", waiting.workload->binary.toString()},
                      {"state", waiting.state}};
  if (waiting.verdictTook) object["verdictMs"] = toMillis(*waiting.verdictTook);
  if (waiting.state == "failed" || waiting.state == "undecided") {
    object["cause"] = toString(waiting.cause);
    object["text"] = waiting.text;
  }
  return object;
}

json::object toJson(const watcher::Circuits::Host& host) {
  json::object object{{"host", host.name},
                      {"state", watcher::toString(host.state)},
                      {"forMs", toMillis(Monotonic::now() - host.since)}};
  if (host.state != watcher::Circuits::State::closed) {
    object["cause"] = toString(host.failure.cause);
    object["text"] = host.failure.text;
  }
  return object;
}

}  // namespace

std::string statusJson(const Status& status, const config::Config& config,
                       const std::vector<recovery::Incident>& incidents) {
  json::array workloads;
  for (const auto& workload : config.workloads) {
    workloads.push_back(json::object{{"name", workload.name},
                                     {"image", workload.image},
                                     {"binary", workload.binary.toString()},
                                     {"definedAt", workload.definedAt}});
  }
  json::array waiting;
  for (const auto& one : status.waiting) waiting.push_back(toJson(one));
  json::array registries;
  for (const auto& one : status.registries) registries.push_back(toJson(one));
  json::array recoveries;
  for (const auto& incident : incidents) recoveries.push_back(toJson(incident));
  return json::serialize(
      json::object{{"version", status.version},
                   {"node", status.nodeName},
                   {"containerd", json::object{{"connected", status.containerdConnected}}},
                   {"config", json::object{{"file", status.configFile}, {"current", status.configCurrent}}},
                   {"waiting", std::move(waiting)},
                   {"registries", std::move(registries)},
                   {"workloads", std::move(workloads)},
                   {"recoveries", std::move(recoveries)}});
}

}  // namespace fallbackd::app
