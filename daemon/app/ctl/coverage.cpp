// SPDX-License-Identifier: Apache-2.0
// fallbackctl coverage: would each container be rescued, by which binary, and what is missing. Asks the
// daemon for its node's pods; or judges manifests, without a cluster and without a daemon.
#include "app/ctl/cache_options.hpp"
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/document.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/input.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/program.hpp"
#include "base/strings.hpp"
#include "cache/admission.hpp"
#include "config/load.hpp"
#include "coverage/report.hpp"
#include "coverage/templates.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

struct CoverageOptions {
  ClientOptions client;
  std::vector<std::string> from;
  bool cluster = false;
  std::string configFile = "/etc/fallbackd/fallbackd.yaml";
  std::vector<std::string> binaries;
  std::string space;
  std::vector<std::string> accepted;
  bool problemsOnly = false;
  bool details = false;

  [[nodiscard]] bool offline() const { return cluster || !from.empty(); }
};

using Texts = std::vector<std::pair<std::string, std::string>>;  // name and content

Result<Texts> texts(const CoverageOptions& options) {
  Texts all;
  for (const auto& file : options.from) {
    FB_TRY(auto text, readInput(file));
    all.emplace_back(file == "-" ? "standard input" : file, std::move(text));
  }
  if (!options.cluster) return all;
  std::vector<std::string> argv{"kubectl", "get", "deployments,statefulsets,daemonsets,jobs,cronjobs",
                                "--output=json"};
  argv.push_back(options.space.empty() ? "--all-namespaces" : "--namespace=" + options.space);
  auto text = runProgram(argv, coverage::kMaxManifestBytes);
  if (!text && text.error().reason == Reason::not_found) {
    return fail(
        Stage::cli, Reason::not_found,
        "kubectl is not installed here; where it is: kubectl get deployments,statefulsets,daemonsets -A "
        "-o json, and give the file to --from");
  }
  if (!text && text.error().reason == Reason::too_large && options.space.empty())
    text.error().context += "; --namespace limits it to one namespace";
  FB_TRY(auto found, std::move(text));
  all.emplace_back("kubectl get", std::move(found));
  return all;
}

/// All binaries that a pod or a workload names.
std::set<BinaryRef> refsIn(const config::Config& config, const std::vector<coverage::Template>& templates) {
  std::set<BinaryRef> refs;
  for (const auto& one : config.workloads) refs.insert(one.binary);
  for (const auto& one : templates) {
    for (const auto& choice : watcher::readChoices(one.pod.annotations).choices) refs.insert(choice.binary);
  }
  return refs;
}

/// Examines them as the node would; changes nothing.
std::map<BinaryRef, coverage::Binary> examined(const config::Config& config,
                                               const std::set<BinaryRef>& refs) {
  cache::AdmissionOptions options;
  options.floor = cache::FloorUse::check;
  cache::Admission admission(config.cache, options);
  std::map<BinaryRef, coverage::Binary> all;
  for (const auto& ref : refs) {
    const bool named = std::any_of(config.workloads.begin(), config.workloads.end(),
                                   [&](const auto& one) { return one.binary == ref; });
    const auto result = admission.admit(ref, Clock::system().wall(),
                                        named ? cache::NamedBy::configuration : cache::NamedBy::others);
    if (result) {
      all[ref] = {true, result->inGrace, {}, result->image, result->namespaces};
    } else {
      all[ref] = {false, false, result.error(), {}, {}};
    }
  }
  return all;
}

struct Judged {
  json::object report;
  int code = kOk;  // otherwise nothing could be judged
};

Judged nothing(int code) {
  return {{}, code};
}

Judged judgeOffline(const CoverageOptions& options) {
  const auto loaded = config::load(options.configFile);
  for (const auto& one : loaded.diagnostics) complain(one.toString());
  if (loaded.config == nullptr) return nothing(kUsage);
  const auto all = texts(options);
  if (!all) {
    complain(all.error());
    return nothing(kUsage);
  }
  std::vector<coverage::Manifest> manifests;
  config::Problems problems;
  for (const auto& [name, text] : *all) coverage::readManifests(name, text, manifests, problems);
  const auto templates =
      coverage::templatesOf(manifests, options.space.empty() ? "default" : options.space, problems);
  const auto wrong = problems.take();
  for (const auto& one : wrong) std::fprintf(stderr, "%s\n", escaped(one.toString()).c_str());
  if (!wrong.empty()) return nothing(kUsage);
  if (templates.all.empty()) {
    complain(
        "there is nothing that creates pods: give it Deployments, StatefulSets, DaemonSets, Jobs, CronJobs "
        "or Pods");
    return nothing(kUsage);
  }
  coverage::Node node;
  node.config = loaded.config;
  if (options.binaries.empty()) {
    node.binaries = examined(*loaded.config, refsIn(*loaded.config, templates.all));
  }
  for (const auto& text : options.binaries) {
    auto ref = parseBinaryRef(text);
    if (!ref) {
      complain(ref.error().context);
      return nothing(kUsage);
    }
    node.binaries[std::move(*ref)] = {};
  }
  std::vector<coverage::PodCoverage> pods;
  std::size_t homeless = 0;
  for (const auto& one : templates.all) {
    homeless += one.namespaceName.empty() && options.space.empty() ? 1 : 0;
    auto& pod = pods.emplace_back(coverage::judge(node, one.pod));
    pod.owner = one.kind == "Pod" ? pod.owner : one.owner();
  }
  if (homeless > 0) {
    const bool one = homeless == 1;
    complain(std::to_string(homeless) + (one ? " object names" : " objects name") + " no namespace and " +
             (one ? "is" : "are") + " judged as in namespace default; give --namespace");
  }
  return {coverage::reportOf(pods)};
}

Judged judgeNode(const CoverageOptions& options) {
  const auto answer = askJson(options.client.socket, "/coverage");
  if (!answer) {
    complain(answer.error());
    return nothing(kUsage);
  }
  if (!answer->is_object()) {
    complain("the daemon's answer is not a report");
    return nothing(kUsage);
  }
  return {answer->get_object()};
}

bool counts(const json::object& container, const std::vector<std::string>& accepted) {
  const auto* const problem = container.if_contains("problem");
  return problem != nullptr && problem->is_bool() && problem->get_bool() &&
         std::find(accepted.begin(), accepted.end(), text(container, "verdict")) == accepted.end();
}

/// Removes what was not requested; returns the number of problems that count.
std::size_t select(json::object& report, const CoverageOptions& options) {
  std::size_t problems = 0;
  json::array pods;
  json::object verdicts;
  for (const auto& item : list(report, "pods")) {
    auto pod = item.as_object();
    if (!options.space.empty() && text(pod, "namespace") != options.space) continue;
    json::array containers;
    for (const auto& one : list(pod, "containers")) {
      const bool problem = counts(one.as_object(), options.accepted);
      problems += problem ? 1 : 0;
      auto& number = verdicts[text(one.as_object(), "verdict")];
      number = number.is_null() ? 1 : number.as_int64() + 1;
      if (problem || !options.problemsOnly) containers.push_back(one);
    }
    if (containers.empty()) continue;
    pod["containers"] = std::move(containers);
    pods.push_back(std::move(pod));
  }
  report["pods"] = std::move(pods);
  report["verdicts"] = std::move(verdicts);
  report["problems"] = problems;
  return problems;
}

void printReport(const json::object& report, const CoverageOptions& options, std::size_t problems) {
  std::vector<std::vector<std::string>> rows{{"POD", "CONTAINER", "VERDICT", "BINARY", "WORKLOAD", "WHY"}};
  const auto detail = [&](const std::string& words) { rows.push_back({"  " + words}); };
  for (const auto& item : list(report, "pods")) {
    const auto& pod = item.as_object();
    const auto owner = rawText(pod, "owner");
    const auto* const specified = pod.if_contains("specified");
    const bool alone = specified != nullptr && specified->is_bool() && !specified->get_bool();
    for (const auto& one : list(pod, "containers")) {
      const auto& container = one.as_object();
      auto name = text(container, "container");
      if (text(container, "kind") != "container") name += " (" + text(container, "kind") + ")";
      rows.push_back({podOf(pod) + (options.offline() && !owner.empty() ? " (" + owner + ")" : ""),
                      std::move(name), text(container, "verdict"), text(container, "binary"),
                      text(container, "workload"),
                      rawText(container, "why") +
                          (alone ? " (by the configuration alone: its specification is not known)" : "")});
      if (!options.details) continue;
      for (const auto& difference : list(container, "differs")) detail(std::string(difference.as_string()));
      if (const auto next = rawText(container, "next"); !next.empty()) detail("next: " + next);
    }
  }
  printTable(rows);
  std::string summary;
  for (const auto& entry : *report.if_contains("verdicts")->if_object()) {
    summary +=
        (summary.empty() ? "" : ", ") + json::serialize(entry.value()) + " " + std::string(entry.key());
  }
  std::printf("%s: %zu %s\n", summary.empty() ? "no containers" : summary.c_str(), problems,
              problems == 1 ? "problem" : "problems");
}

int show(const CoverageOptions& options) {
  auto judged = options.offline() ? judgeOffline(options) : judgeNode(options);
  if (judged.code != kOk) return judged.code;
  const auto problems = select(judged.report, options);
  if (!options.client.table()) {
    printDocument(judged.report, options.client.format);
  } else {
    printReport(judged.report, options, problems);
  }
  return problems == 0 ? kOk : kFailed;
}

std::vector<std::string> problemVerdicts() {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < coverage::kVerdicts; ++i) {
    const auto verdict = static_cast<coverage::Verdict>(i);
    if (coverage::isProblem(verdict)) all.emplace_back(toString(verdict));
  }
  return all;
}

}  // namespace

void addCoverage(CLI::App& app, Run& run) {
  auto options = std::make_shared<CoverageOptions>();
  auto* command = app.add_subcommand(
      "coverage", "show which containers would be rescued: those of the node, of a cluster or of manifests");
  addClientOptions(*command, options->client);
  auto* from = command->add_option("--from", options->from,
                                   "judge these manifests instead (YAML or JSON); - is standard input");
  auto* cluster = command->add_flag("--cluster", options->cluster,
                                    "judge everything that `kubectl get` finds in the cluster");
  command
      ->add_option("-c,--config", options->configFile, "for --from and --cluster: the node's configuration")
      ->capture_default_str();
  command
      ->add_option("--binaries", options->binaries,
                   "for --from and --cluster: NAME@VERSION,... that exist, instead of the cache")
      ->delimiter(',');
  command->add_option("-n,--namespace", options->space,
                      "only this namespace; for manifests, also that of objects that name none");
  command->add_option("--accept", options->accepted, "verdicts that do not count as problems")
      ->delimiter(',')
      ->check(CLI::IsMember(problemVerdicts()));
  command->add_flag("--problems", options->problemsOnly, "show only what is not rescued");
  command->add_flag("--details", options->details, "show what each fallback would lack, and what to do");
  from->excludes(cluster);
  command->callback([options, &run] { run = [options] { return show(*options); }; });
}

}  // namespace fallbackd::ctl
