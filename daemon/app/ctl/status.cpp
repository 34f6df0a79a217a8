// SPDX-License-Identifier: Apache-2.0
// fallbackctl status and recoveries: what the daemon is doing, and what it did.
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/drill.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "config/pause.hpp"

#include <cstdio>
#include <memory>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;
using Rows = std::vector<std::vector<std::string>>;

/// Pods that wait without a fallback, and why.
void printWaiting(const json::array& waiting) {
  if (waiting.empty()) return;
  Rows rows{{"WAITING", "CONTAINER", "IMAGE", "STATE", "CAUSE", "TEXT"}};
  for (const auto& item : waiting) {
    const auto& one = item.as_object();
    const auto image = rawText(one, "image");
    rows.push_back({podOf(one), text(one, "container"), image.empty() ? "not known" : image,
                    text(one, "state"), text(one, "cause"), text(one, "text")});
  }
  printTable(rows);
}

/// "closed", or "closed, open for evil": what was found for one namespace applies only to that namespace.
std::string circuitOf(const json::object& registry) {
  std::string circuit = text(registry, "state");
  for (const auto& one : list(registry, "openFor")) circuit += ", open for " + std::string(one.as_string());
  return circuit;
}

void printRegistries(const json::array& registries, std::string_view now) {
  if (registries.empty()) return;
  Rows rows{{"REGISTRY", "CIRCUIT", "SINCE (UTC)", "CAUSE", "TEXT"}};
  for (const auto& item : registries) {
    const auto& one = item.as_object();
    rows.push_back(
        {text(one, "host"), circuitOf(one), when(one, "since", now), text(one, "cause"), text(one, "text")});
  }
  printTable(rows);
}

void printAnnotations(const json::object& root) {
  const auto* ignored = root.if_contains("annotations");
  if (ignored == nullptr) return;  // from an older daemon
  const auto refused = text(ignored->as_object(), "refused");
  const auto cutOff = text(ignored->as_object(), "cutOff");
  if (refused == "0" && cutOff == "0") return;
  std::printf(
      "annotations of pods: %s refused, %s beyond the limits (the log names the pods; fallbackctl explain)\n",
      refused.c_str(), cutOff.c_str());
}

/// Where the daemon learns what its pods are.
void printPodSources(const json::object& root, std::string_view now) {
  const auto* kubernetes = root.if_contains("kubernetes");
  if (kubernetes == nullptr) return;  // from an older daemon
  const auto& known = kubernetes->as_object();
  const auto sources = list(known, "sources");
  if (sources.empty()) return;
  const bool remembered = known.contains("rememberedSince");
  std::printf("%s pods described%s%s\n", text(known, "pods").c_str(),
              remembered ? ", as an earlier daemon knew them at " : "",
              remembered ? when(known, "rememberedSince", now).c_str() : "");
  Rows rows{{"SOURCE OF PODS", "STATE", "SINCE (UTC)", "LAST ANSWER", "ERROR"}};
  for (const auto& item : sources) {
    const auto& one = item.as_object();
    const bool fails = text(one, "state") == "failing";
    rows.push_back({text(one, "name"), text(one, "state"), when(one, "since", now),
                    when(one, "lastSuccess", now), fails ? text(one, "error") : ""});
  }
  printTable(rows);
}

/// Whether the annotations of namespaces are known.
void printNamespaces(const json::object& root, std::string_view now) {
  const auto* kubernetes = root.if_contains("kubernetes");
  if (kubernetes == nullptr) return;  // from an older daemon
  const auto* found = kubernetes->as_object().if_contains("namespaces");
  if (found == nullptr) return;
  const auto& watch = found->as_object();
  const auto state = text(watch, "state");
  const bool fails = state == "failing";
  std::printf("pauses by namespaces' annotations: %s since %s%s%s\n", state.c_str(),
              when(watch, "since", now).c_str(), fails ? ", as last known: " : "",
              fails ? escaped(text(watch, "error")).c_str() : "");
}

/// Whether the pods' Events are written.
void printEvents(const json::object& root, std::string_view now) {
  const auto* kubernetes = root.if_contains("kubernetes");
  if (kubernetes == nullptr) return;  // from an older daemon
  const auto* found = kubernetes->as_object().if_contains("events");
  if (found == nullptr) return;
  const auto& events = found->as_object();
  const auto number = [&](const char* key) { return events.contains(key) ? text(events, key) : "0"; };
  const auto state = text(events, "state");
  std::printf("Events of Kubernetes: %s since %s, %s written, %s counted, %s wait%s%s\n", state.c_str(),
              when(events, "since", now).c_str(), number("created").c_str(), number("counted").c_str(),
              number("waiting").c_str(), state == "failing" ? ": " : "",
              state == "failing" ? escaped(text(events, "error")).c_str() : "");
}

/// Only what is wrong: fallbackctl list shows everything.
void printRefused(const json::array& binaries) {
  Rows rows{{"BINARY", "VERSION", "EARLIER COPY SERVES", "REASON", "ERROR"}};
  for (const auto& item : binaries) {
    const auto& one = item.as_object();
    if (!one.contains("reason")) continue;
    rows.push_back({text(one, "name"), text(one, "version"), text(one, "serves") == "true" ? "yes" : "NO",
                    text(one, "reason"), text(one, "error")});
  }
  if (rows.size() > 1) printTable(rows);
}

void printRecoveries(const json::array& recoveries, std::string_view now) {
  if (recoveries.empty()) {
    std::printf("no recoveries since the daemon started\n");
    return;
  }
  Rows rows{recoveryHead()};
  for (const auto& item : recoveries) rows.push_back(recoveryCells(item.as_object(), now));
  printTable(rows);
}

/// Only what gives `settle` another meaning than it seems to have.
void printSettle(const json::object& root) {
  const auto* settle = root.if_contains("settle");
  if (settle == nullptr) return;  // from an older daemon
  const auto problem = rawText(settle->as_object(), "problem");
  if (!problem.empty()) std::printf("%s\n", escaped(problem).c_str());
}

/// A rehearsal for one pod.
void printDrill(const json::object& root) {
  const auto* found = root.if_contains("drill");
  if (found == nullptr) return;  // from an older daemon
  const auto line = drillLine(found->as_object(), rawText(root, "now"));
  if (!line.empty()) std::printf("%s\n", line.c_str());
}

/// What an operator has ordered: nothing new is started, or fallbacks are only observed.
void printOrders(const json::object& root) {
  if (text(root, "mode") == "observe") std::printf("mode observe: fallbacks are decided and not started\n");
  printDrill(root);
  const auto* pause = root.if_contains("pause");
  if (pause == nullptr) return;  // from an older daemon
  const auto& orders = pause->as_object();
  const auto tell = [&](const std::string& what, const json::object& order) {
    const auto reason = rawText(order, "reason");
    const auto wayOut = text(order, "by") == "annotation"
                            ? "kubectl annotate namespace " + text(order, "name") + " " +
                                  std::string(config::kPauseAnnotation) + "-"
                            : std::string("fallbackctl resume");
    std::printf("%s paused since %s%s%s; %s ends it\n", what.c_str(),
                when(order, "since", text(root, "now")).c_str(), reason.empty() ? "" : ": ",
                escaped(reason).c_str(), wayOut.c_str());
  };
  if (const auto* node = orders.if_contains("node")) tell("NEW RECOVERIES ARE", node->as_object());
  if (flag(orders, "removeStandIns"))
    std::printf("stand-ins are removed and not made again; fallbackctl resume ends it\n");
  for (const auto& one : list(orders, "namespaces")) {
    tell("new recoveries in namespace " + text(one.as_object(), "name") + " are", one.as_object());
  }
}

/// Fallbacks that are due and were not started.
void printWithheld(const json::array& withheld, std::string_view now) {
  if (withheld.empty()) return;
  Rows rows{{"NOT STARTED", "CONTAINER", "BINARY", "CAUSE", "BY", "SINCE (UTC)", "WOULD HAVE STARTED"}};
  for (const auto& item : withheld) {
    const auto& one = item.as_object();
    const auto decided = one.contains("wouldStartAfterMs") ? "after " + duration(one, "wouldStartAfterMs")
                         : one.contains("refused")         ? "no: " + text(one, "refused")
                                                           : "-";
    rows.push_back({podOf(one), text(one, "container"), text(one, "binary"), text(one, "cause"),
                    text(one, "by"), when(one, "since", now), decided});
  }
  printTable(rows);
}

/// Images that come from the node because their registries are down, and how old they may be.
void printMirror(const json::object& root) {
  const auto* mirror = root.if_contains("mirror");
  if (mirror == nullptr) return;  // from an older daemon
  const auto& object = mirror->as_object();
  const auto problem = rawText(object, "problem");
  if (!problem.empty()) std::printf("the mirror does not run: %s\n", escaped(problem).c_str());
  for (const auto& item : list(object, "served")) {
    const auto& one = item.as_object();
    std::printf("image %s: %s (its registry: %s)\n", escaped(text(one, "image")).c_str(),
                text(one, "freshness").c_str(), text(one, "cause").c_str());
  }
}

/// "containerd does not answer at SOCKET: WHY"; an older daemon reports neither.
std::string containerdTrouble(const json::object& root) {
  const auto& containerd = root.at("containerd").as_object();
  if (!containerd.contains("socket")) return "containerd is not connected";
  const auto why = rawText(containerd, "problem");
  return "containerd does not answer at " + text(containerd, "socket") + (why.empty() ? "" : ": " + why);
}

/// Older daemons do not report them.
void printRollbacks(const json::object& root) {
  const auto* const cache = root.if_contains("cache");
  if (cache == nullptr) return;
  for (const auto& item : list(cache->as_object(), "rollbacks")) {
    const auto& one = item.as_object();
    const auto state = text(one, "state");
    const auto ends = "in effect until a workload or a minimumVersion is above " + text(one, "from");
    const auto floor = one.contains("floor") ? "; the version floor is " + text(one, "floor") : std::string();
    std::printf("  rollback of %s@%s to %s: %s%s\n", text(one, "name").c_str(), text(one, "from").c_str(),
                text(one, "to").c_str(),
                state == "in_effect"    ? ends.c_str()
                : state == "not_needed" ? "not needed"
                                        : "over, the version floor is above it: remove it",
                floor.c_str());
  }
}

void printStatus(const json::object& root) {
  const auto& config = root.at("config").as_object();
  const auto& coverage = root.at("coverage").as_object();
  const auto now = text(root, "now");
  const bool connected = root.at("containerd").as_object().at("connected").as_bool();
  std::printf(
      "fallbackd %s on %s: containerd %s, %s of %s workloads covered, %zu waiting%s%s\n",
      text(root, "version").c_str(), text(root, "node").c_str(), connected ? "connected" : "NOT CONNECTED",
      text(coverage, "covered").c_str(), text(coverage, "workloads").c_str(), list(root, "waiting").size(),
      root.at("spawner").as_object().at("running").as_bool() ? "" : "; THE SPAWNER DOES NOT RUN",
      config.at("current").as_bool() ? ""
                                     : "; THE CONFIGURATION ON DISK IS INVALID, an earlier one is in use");
  if (!connected) std::printf("  %s\n", escaped(containerdTrouble(root)).c_str());
  for (const auto& problem : list(config, "problems"))
    std::printf("  %s\n", escaped(problem.as_string()).c_str());
  printRollbacks(root);
  printOrders(root);
  printSettle(root);
  printAnnotations(root);
  printPodSources(root, now);
  printNamespaces(root, now);
  printEvents(root, now);
  printRegistries(list(root, "registries"), now);
  printMirror(root);
  printRefused(list(root, "binaries"));
  printWithheld(list(root, "withheld"), now);
  printWaiting(list(root, "waiting"));
  printRecoveries(list(root, "recoveries"), now);
}

/// Whether the container of the recovery still waits for its image.
bool isWaiting(const json::object& root, const json::object& recovery) {
  for (const auto& item : list(root, "waiting")) {
    const auto& one = item.as_object();
    if (podOf(one) == podOf(recovery) && text(one, "container") == text(recovery, "container")) return true;
  }
  return false;
}

/// What needs attention now: pods are down, or would be in an outage that begins now.
std::vector<std::string> troubles(const json::object& root) {
  std::vector<std::string> found;
  const auto& coverage = root.at("coverage").as_object();
  if (!root.at("containerd").as_object().at("connected").as_bool()) {
    found.push_back(containerdTrouble(root));
  }
  if (!root.at("spawner").as_object().at("running").as_bool()) found.emplace_back("the spawner does not run");
  const auto& config = root.at("config").as_object();
  if (!config.at("current").as_bool())
    found.push_back(text(config, "file") + " is refused, an earlier one is in use");
  if (text(coverage, "covered") != text(coverage, "workloads")) {
    found.push_back(text(coverage, "covered") + " of " + text(coverage, "workloads") +
                    " workloads are covered");
  }
  for (const auto& item : list(root, "recoveries")) {
    const auto& one = item.as_object();
    // A failed recovery does not end while its pod is there.
    if (text(one, "state") == "failed" && isWaiting(root, one)) {
      found.push_back("the recovery of " + podOf(one) + ", container " + text(one, "container") + " failed");
    }
  }
  return found;
}

struct StatusOptions {
  ClientOptions client;
  bool exitCode = false;
};

int showStatus(const StatusOptions& options) {
  const auto root = askJson(options.client.socket, "/status");
  if (!root) return complain(root.error());
  if (options.client.table()) {
    printStatus(root->as_object());
  } else {
    printDocument(*root, options.client.format);
  }
  if (!options.exitCode) return kOk;
  const auto found = troubles(root->as_object());
  for (const auto& one : found) complain(one);
  return found.empty() ? kOk : kFailed;
}

struct RecoveriesOptions {
  ClientOptions client;
  std::string workload;
  std::string state;
  std::size_t limit = 0;
};

int showRecoveries(const RecoveriesOptions& options) {
  const auto root = askJson(options.client.socket, "/status");
  if (!root) return complain(root.error());
  json::array kept;
  for (const auto& item : list(root->as_object(), "recoveries")) {
    const auto& one = item.as_object();
    if (!options.workload.empty() && text(one, "workload") != options.workload) continue;
    if (!options.state.empty() && text(one, "state") != options.state) continue;
    if (options.limit != 0 && kept.size() == options.limit) break;
    kept.push_back(item);
  }
  if (!options.client.table()) {
    printDocument(kept, options.client.format);
  } else {
    printRecoveries(kept, text(root->as_object(), "now"));
  }
  return kOk;
}

}  // namespace

void addStatus(CLI::App& app, Run& run) {
  auto options = std::make_shared<StatusOptions>();
  auto* command = app.add_subcommand("status", "show what fallbackd on this node is doing");
  addClientOptions(*command, options->client);
  command->add_flag("--exit-code", options->exitCode,
                    "exit with 1, and report why, if pods are down or the next outage would not be covered");
  command->callback([options, &run] { run = [options] { return showStatus(*options); }; });
}

void addRecoveries(CLI::App& app, Run& run) {
  auto options = std::make_shared<RecoveriesOptions>();
  auto* command = app.add_subcommand("recoveries", "list running recoveries, then the last ones that ended");
  addClientOptions(*command, options->client);
  command->add_option("--workload", options->workload, "only of this workload");
  command->add_option("--state", options->state, "only in this state")
      ->check(CLI::IsMember({"detected", "verified", "health_checked", "started", "ready", "handed_back",
                             "completed", "pod_gone", "withdrawn", "failed"}));
  command->add_option("--limit", options->limit, "at most this many")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1000000}));
  command->callback([options, &run] { run = [options] { return showRecoveries(*options); }; });
}

}  // namespace fallbackd::ctl
