// SPDX-License-Identifier: Apache-2.0
// fallbackctl drill: an outage for one pod that was made for it.
#include "app/ctl/drill.hpp"

#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/input.hpp"
#include "app/ctl/order_places.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "config/drill.hpp"
#include "config/names.hpp"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;
using config::Drill;

constexpr std::chrono::seconds kDrillPatience{10};
constexpr std::chrono::seconds kMinDrill{30};

struct DrillOptions : OrderPlaces {
  std::string workload;
  std::string pod;  // NAMESPACE/NAME, of drill pod NAME alone, too; empty: WORKLOAD-drill
  std::string length = "10m";
  std::string reason;
  std::string file = "-";  // of drill pod, and the next two
  std::string node;
  std::string container;
};

void addSubject(CLI::App& command, DrillOptions& options) {
  command.add_option("WORKLOAD", options.workload, "a workload of the configuration")->required();
  command.add_option("--for", options.length, "when it ends by itself, 30s to 1h (default 10m)");
}

std::optional<std::chrono::seconds> drillLength(const DrillOptions& options) {
  const auto length = parseDuration(options.length);
  if (length && *length >= kMinDrill && *length <= config::kMaxDrill)
    return std::chrono::ceil<std::chrono::seconds>(*length);
  complain("--for " + fallbackd::quoted(options.length) + " is not a duration of 30s to 1h");
  return std::nullopt;
}

/// Namespace (may be empty) and name; nothing and a message if it is neither.
std::optional<std::pair<std::string, std::string>> podNamed(const DrillOptions& options) {
  const auto text = options.pod.empty() ? options.workload + "-drill" : options.pod;
  const auto slash = text.find('/');
  const auto space = slash == std::string::npos ? std::string() : text.substr(0, slash);
  const auto name = slash == std::string::npos ? text : text.substr(slash + 1);
  if (config::isDnsLabel(name) && (space.empty() || config::isDnsLabel(space))) return std::pair{space, name};
  complain("--pod " + fallbackd::quoted(text) +
           " is not NAMESPACE/NAME with a name of at most 63 of a-z, 0-9 and -");
  return std::nullopt;
}

std::string inSeconds(Wall::time_point when) {
  return rfc3339(when).substr(0, 19) + "Z";
}

/// The status' `drill`; null if the daemon is older.
const json::object* drillOf(const json::value& status) {
  const auto* const root = status.if_object();
  const auto* const drill = root == nullptr ? nullptr : root->if_contains("drill");
  return drill == nullptr ? nullptr : drill->if_object();
}

bool isReported(const json::object& reported, const std::optional<Drill>& wanted) {
  if (!wanted) return !reported.contains("pod");
  return rawText(reported, "pod") == wanted->pod && rawText(reported, "namespace") == wanted->podNamespace &&
         rawText(reported, "until") == rfc3339(wanted->until);
}

/// Waits until the daemon follows the order, or reports why it does not.
int awaitDaemon(const DrillOptions& options, const std::optional<Drill>& wanted) {
  std::string problem;
  const auto follows = [&](const std::string& status) {
    boost::json::error_code error;
    const auto value = json::parse(status, error);
    const auto* const reported = error ? nullptr : drillOf(value);
    if (reported == nullptr) return true;
    problem = rawText(*reported, "problem");
    return !problem.empty() || !isReported(*reported, wanted);
  };
  const auto done = listen(*options.socket, follows, kDrillPatience);
  const auto file = *options.state + "/" + std::string(config::kDrillFile);
  if (done) return kOk;
  if (!problem.empty()) {
    complain("written to " + file + ", but not held: " + problem + " (fallbackctl drill stop removes it)");
    return kFailed;
  }
  complain((wanted ? "written to " : "removed: ") + file +
           ", but the daemon does not confirm it: " + done.error().message());
  return kFailed;
}

const json::object* workloadOf(const json::value& status, const std::string& name) {
  for (const auto& one : list(status.as_object(), "workloads")) {
    if (rawText(one.as_object(), "name") == name) return &one.as_object();
  }
  return nullptr;
}

/// What is paused, so that nothing is started for that pod: "the node", "namespace shop"; or nothing.
std::string pausedBy(const json::value& status, const std::string& podNamespace) {
  const auto* const pause = status.as_object().if_contains("pause");
  if (pause == nullptr || !pause->is_object()) return {};
  if (pause->as_object().contains("node")) return "the node";
  for (const auto& one : list(pause->as_object(), "namespaces")) {
    if (rawText(one.as_object(), "name") == podNamespace) return "namespace " + podNamespace;
  }
  return {};
}

int startDrill(DrillOptions options) {
  if (!complete(options)) return kUsage;
  const auto length = drillLength(options);
  auto pod = podNamed(options);
  if (!length || !pod || !isReason(options.reason)) return kUsage;
  const auto status = askJson(*options.socket, "/status");
  if (!status) return complain(status.error());
  const auto* const workload = workloadOf(*status, options.workload);
  if (workload == nullptr) {
    complain("no workload of the daemon's configuration has the name " + fallbackd::quoted(options.workload) +
             " (fallbackctl status -o yaml lists them)");
    return kUsage;
  }
  if (pod->first.empty()) pod->first = rawText(*workload, "namespace");
  if (pod->first.empty()) {
    complain("workload " + options.workload + " is for every namespace: --pod NAMESPACE/NAME names one");
    return kUsage;
  }
  const auto* const reported = drillOf(*status);
  if (reported != nullptr && reported->contains("pod")) {
    complain("a drill holds already: " + drillLine(*reported, rawText(status->as_object(), "now")));
    return kFailed;
  }
  if (const auto paused = pausedBy(*status, pod->first); !paused.empty()) {
    complain(paused + " is paused, so a drill would start nothing (fallbackctl resume ends a pause)");
    return kFailed;
  }
  if (rawText(status->as_object(), "mode") == "observe") {
    complain(
        "the node's mode is observe: no fallback is started, and the drill shows only what would be, unless "
        "the workload or its namespace has mode recover");
  }
  const auto now = std::chrono::floor<std::chrono::seconds>(Clock::system().wall());
  const Drill drill{options.workload, pod->first, pod->second, now, now + *length, options.reason};
  if (const auto written = config::writeDrill(*options.state, drill); !written)
    return complain(written.error());
  if (const auto code = awaitDaemon(options, drill); code != kOk) return code;
  const auto node = rawText(status->as_object(), "node");
  std::printf("drill of workload %s until %s: only for pod %s/%s with the label %s=%s\n",
              drill.workload.c_str(), inSeconds(drill.until).c_str(), drill.podNamespace.c_str(),
              drill.pod.c_str(), std::string(config::kDrillLabel).c_str(), drill.pod.c_str());
  std::printf("create that pod from the Deployment (or whatever makes its pods):\n");
  std::printf("  kubectl -n %s get deploy NAME -o yaml | fallbackctl drill pod %s --node %s --container %s",
              drill.podNamespace.c_str(), drill.workload.c_str(), node.c_str(),
              rawText(*workload, "container").c_str());
  if (!options.pod.empty()) std::printf(" --pod %s/%s", drill.podNamespace.c_str(), drill.pod.c_str());
  if (options.length != "10m") std::printf(" --for %s", options.length.c_str());
  std::printf(" | kubectl apply -f -\nthen: fallbackctl explain %s/%s\n", drill.podNamespace.c_str(),
              drill.pod.c_str());
  return kOk;
}

int stopDrill(DrillOptions options) {
  if (!complete(options)) return kUsage;
  if (const auto written = config::writeDrill(*options.state, {}); !written) return complain(written.error());
  if (const auto code = awaitDaemon(options, {}); code != kOk) return code;
  std::printf("no drill holds; a fallback that it started goes on until its pod is deleted or handed back\n");
  return kOk;
}

int showDrill(DrillOptions options) {
  if (!complete(options)) return kUsage;
  const auto status = askJson(*options.socket, "/status");
  if (!status) return complain(status.error());
  const auto* const reported = drillOf(*status);
  const auto line =
      reported == nullptr ? std::string() : drillLine(*reported, rawText(status->as_object(), "now"));
  std::printf("%s\n", line.empty() ? "no drill holds" : line.c_str());
  return kOk;
}

int printPod(const DrillOptions& options) {
  const auto length = drillLength(options);
  const auto name = podNamed(options);
  if (!length || !name) return kUsage;
  const auto text = readInput(options.file);
  if (!text) {
    complain(text.error());
    return kUsage;
  }
  config::Problems problems;
  std::vector<coverage::Manifest> manifests;
  coverage::readManifests(options.file == "-" ? "standard input" : options.file, *text, manifests, problems);
  for (const auto& one : problems.take()) complain(one.toString());
  const auto pod = makeDrillPod(
      manifests, {options.workload, name->second, name->first, options.node, options.container, *length});
  if (!pod) {
    complain(pod.error());
    return pod.error().reason == Reason::not_permitted ? kFailed : kUsage;
  }
  std::printf("%s", yamlText(pod->object).c_str());
  for (const auto& note : pod->notes) complain(note);
  complain("to hand it back: kubectl -n " + pod->namespaceName + " set image pod/" + name->second + " " +
           pod->container + "=" + pod->image);
  return kOk;
}

}  // namespace

std::string drillLine(const json::object& drill, std::string_view now) {
  const auto problem = rawText(drill, "problem");
  if (!problem.empty()) return "a drill was ordered but does not hold: " + escaped(problem);
  if (!drill.contains("pod")) return {};
  const auto reason = rawText(drill, "reason");
  return "A DRILL of workload " + text(drill, "workload") + " holds for pod " + text(drill, "namespace") +
         "/" + text(drill, "pod") + " until " + when(drill, "until", now) +
         (reason.empty() ? "" : ": " + escaped(reason)) + "; fallbackctl drill stop ends it";
}

void addDrill(CLI::App& app, Run& run) {
  auto* drill = app.add_subcommand("drill", "rehearse an outage for one pod that is made for it");
  drill->require_subcommand(1);
  const auto add = [&](const char* name, const char* purpose, int (*act)(DrillOptions)) {
    auto options = std::make_shared<DrillOptions>();
    auto* command = drill->add_subcommand(name, purpose);
    addOrderPlaces(*command, *options);
    command->callback([options, act, &run] { run = [options, act] { return act(*options); }; });
    return std::pair{command, options};
  };
  const auto [start, starting] =
      add("start", "on this node, the image of that pod counts as refused", startDrill);
  addSubject(*start, *starting);
  start->add_option("--pod", starting->pod,
                    "NAMESPACE/NAME; default: WORKLOAD-drill in the workload's namespace");
  start->add_option("--reason", starting->reason, "shown in status, log and page");
  add("stop", "end it before its time", stopDrill);
  add("status", "show whether a drill holds, and for which pod", showDrill);

  auto options = std::make_shared<DrillOptions>();
  auto* pod =
      drill->add_subcommand("pod", "print that pod, from a manifest of the real ones; for kubectl apply");
  addSubject(*pod, *options);
  pod->add_option("FILE", options->file, "a Pod, Deployment, StatefulSet ...; default: standard input");
  pod->add_option("--node", options->node, "the node of the drill")->required();
  pod->add_option("--container", options->container, "the workload's container; default: the only one");
  pod->add_option("--pod", options->pod,
                  "[NAMESPACE/]NAME; default: WORKLOAD-drill in the object's namespace");
  pod->callback([options, &run] { run = [options] { return printPod(*options); }; });
}

}  // namespace fallbackd::ctl
