// SPDX-License-Identifier: Apache-2.0
// fallbackctl init: kubectl get deploy NAME -o yaml | fallbackctl init > workloads.yaml
#include "app/ctl/commands.hpp"
#include "app/ctl/input.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/starter.hpp"
#include "base/strings.hpp"
#include "config/load.hpp"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

struct InitOptions {
  std::vector<std::string> files;
  std::string space;
  std::optional<std::string> configFile;
  bool shortForm = false;
};

int init(const InitOptions& options) {
  StarterOptions starting;
  if (options.configFile) {
    const auto loaded = config::load(*options.configFile);
    for (const auto& one : loaded.diagnostics) complain(one.toString());
    if (loaded.config == nullptr) return kUsage;
    starting.launcher = loaded.config->launcher;
  }
  if (options.shortForm) starting.form = StarterOptions::Form::short_;
  starting.namespaceGiven = !options.space.empty();
  config::Problems problems;
  std::vector<coverage::Manifest> manifests;
  for (const auto& file : options.files.empty() ? std::vector<std::string>{"-"} : options.files) {
    const auto text = readInput(file);
    if (!text) {
      complain(text.error());
      return kUsage;
    }
    coverage::readManifests(file == "-" ? "standard input" : file, *text, manifests, problems);
  }
  const auto templates =
      coverage::templatesOf(manifests, options.space.empty() ? "default" : options.space, problems);
  const auto wrong = problems.take();
  for (const auto& one : wrong) std::fprintf(stderr, "%s\n", escaped(one.toString()).c_str());
  const auto starter = makeStarter(templates.all, starting);
  const auto others = templates.others.size();
  if (starter.workloads == 0) {
    if (others > 0) {
      complain(templates.others.front() +
               " has no pod template; give it a Pod, or a Deployment, StatefulSet, DaemonSet or Job");
    } else if (wrong.empty()) {
      complain("the input is empty");
    }
    return kUsage;
  }
  std::printf("%s", starter.yaml.c_str());
  if (others > 0) complain(std::to_string(others) + " objects create no pods and are left out");
  if (templates.owned > 0) {
    complain(std::to_string(templates.owned) + " objects are left out, because their owners are there, too");
  }
  if (starter.openPoints > 0)
    complain(std::to_string(starter.openPoints) + " points to decide; look for TODO");
  return wrong.empty() ? kOk : kUsage;
}

}  // namespace

void addInit(CLI::App& app, Run& run) {
  auto options = std::make_shared<InitOptions>();
  auto* command = app.add_subcommand(
      "init", "write a first configuration from `kubectl get deploy NAME -o yaml` on standard input");
  command->add_option("FILE", options->files, "manifests, YAML or JSON; default: standard input");
  command->add_option("-n,--namespace", options->space, "the namespace of objects that name none");
  command->add_option("-c,--config", options->configFile,
                      "the node's configuration: what its launcher allows");
  command->add_flag(
      "--short", options->shortForm,
      "only match and binary, for nodes with kubernetes.sources; and the annotation instead of it");
  command->callback([options, &run] { run = [options] { return init(*options); }; });
}

}  // namespace fallbackd::ctl
