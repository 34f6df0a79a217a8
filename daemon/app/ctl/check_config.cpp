// SPDX-License-Identifier: Apache-2.0
// fallbackctl check-config: reads the configuration like the daemon.
#include "app/ctl/client.hpp"
#include "app/ctl/commands.hpp"
#include "app/ctl/fields.hpp"
#include "app/ctl/output.hpp"
#include "base/strings.hpp"
#include "config/load.hpp"
#include "config/problems.hpp"
#include "config/provider_file.hpp"
#include "mirror/hosts_edit.hpp"
#include "sys/file.hpp"

#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

struct CheckOptions {
  std::optional<std::string> file;
  std::optional<std::string> dropIns;
  std::string socket = ClientOptions().socket;
};

/// Fills in the files that the daemon of this node reads; without a daemon, those that it would read.
void askDaemon(CheckOptions& options) {
  if (options.file) return;
  options.file = "/etc/fallbackd/fallbackd.yaml";
  const auto root = askJson(options.socket, "/status");
  const auto* config = root && root->is_object() ? root->get_object().if_contains("config") : nullptr;
  if (config == nullptr || !config->is_object()) return;
  options.file = rawText(config->get_object(), "file");
  const auto dropIns = rawText(config->get_object(), "dropIns");
  if (!options.dropIns && !dropIns.empty()) options.dropIns = dropIns;
}

/// What fallbackctl init left for a person to decide.
void findOpenPoints(const std::string& file, config::Problems& problems) {
  constexpr std::size_t kMaxFile = 1 << 20;
  const auto text = sys::readFile(Stage::config, file, kMaxFile);
  if (!text) return;  // the configuration was read a moment ago
  int number = 0;
  for (const auto line : split(*text, '\n')) {
    ++number;
    const auto comment = line.find('#');
    const auto todo = comment == std::string_view::npos ? comment : line.find("TODO:", comment);
    if (todo != std::string_view::npos) {
      problems.add({file, number, static_cast<int>(todo) + 1},
                   "to decide: " + std::string(trim(line.substr(todo + std::string_view("TODO:").size()))),
                   "then remove the line");
    }
  }
}

/// @0.0.0 is what init writes if it knows no version.
void findUnknownVersions(const config::Config& config, config::Problems& problems) {
  for (const auto& workload : config.workloads) {
    if (workload.binary.version != "0.0.0") continue;
    problems.add({workload.definedAt, 0, 0},
                 "workload " + fallbackd::quoted(workload.name) + ": " + workload.binary.toString() +
                     " is not a version that exists",
                 "name the binary's version");
  }
}

/// Notes what is valid but could be better.
void noteMirror(const config::MirrorSettings& mirror) {
  constexpr unsigned kFirstUnprivilegedPort = 1024;
  if (!mirror.listen) {
    const auto blocks = mirror::addressesInBlocks(mirror.hostsDir);
    if (blocks.empty()) return;
    std::printf(
        "note: mirror.listen is off, but files below %s make containerd ask %s first; `fallbackctl mirror "
        "disable "
        "--write` removes that\n",
        mirror.hostsDir.c_str(), blocks.begin()->c_str());
    return;
  }
  unsigned port = 0;
  const auto& text = *mirror.listen;
  std::from_chars(text.data() + text.rfind(':') + 1, text.data() + text.size(), port);
  if (port < kFirstUnprivilegedPort) return;
  std::printf(
      "note: mirror.listen: while the daemon does not run, every process of the node's network can take port "
      "%u, and "
      "containerd would ask it; ports below 1024 need CAP_NET_BIND_SERVICE, for example %s\n",
      port, std::string(mirror::kUsualAddress).c_str());
}

constexpr std::size_t kMaxProviderFile = 128 * 1024;  // as the daemon reads it

/// kubelet's own file, if it exists: in a pipeline it does not. A fault in it does not make the configuration
/// invalid, because somebody else writes that file.
std::vector<config::Diagnostic> checkProviders(const config::Config& config) {
  if (!config.credentialProviders) return {};
  const auto& file = config.credentialProviders->config;
  const auto text = sys::readFile(Stage::config, file, kMaxProviderFile);
  config::Problems problems;
  if (text) {
    for (const auto& provider : config::readProviderFile(file, *text, problems)) {
      if (!provider.needsToken) continue;
      std::printf(
          "note: credential provider %s is not used: it needs a token of the pod's service account "
          "(tokenAttributes)\n",
          provider.name.c_str());
    }
  } else if (text.error().reason != Reason::not_found) {
    problems.add({file, 0, 0}, "cannot be read: " + text.error().message());
  } else {
    std::printf("note: %s is not on this machine and was not checked\n", file.c_str());
  }
  return problems.take();
}

}  // namespace

void addCheckConfig(CLI::App& app, Run& run) {
  auto options = std::make_shared<CheckOptions>();
  auto* command = app.add_subcommand("check-config", "report everything that is wrong with a configuration");
  command->add_option("-c,--config", options->file,
                      "the configuration file (default: what the daemon of this node reads, or else "
                      "/etc/fallbackd/fallbackd.yaml)");
  command->add_option("--drop-ins", options->dropIns, "folder of more workloads (default: conf.d beside it)");
  command->add_option("--socket", options->socket, "the socket of that daemon")->capture_default_str();
  command->callback([options, &run] {
    run = [options] {
      askDaemon(*options);
      const auto loaded = config::load(*options->file, options->dropIns);
      for (const auto& diagnostic : loaded.diagnostics)
        std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
      if (loaded.config == nullptr) {
        complain(std::to_string(loaded.diagnostics.size()) + " problems in " + join(loaded.files, ", "));
        return kUsage;
      }
      config::Problems open;
      for (const auto& file : loaded.files) findOpenPoints(file, open);
      findUnknownVersions(*loaded.config, open);
      const auto points = open.take();
      for (const auto& diagnostic : points) std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
      if (!points.empty()) {
        complain(std::to_string(points.size()) + " points to decide in " + join(loaded.files, ", "));
        return kUsage;
      }
      const auto ofProviders = checkProviders(*loaded.config);
      for (const auto& diagnostic : ofProviders) std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
      if (!ofProviders.empty()) {
        complain("kubelet's credential providers cannot be used as they are");
        return kUsage;
      }
      noteMirror(loaded.config->mirror);
      std::printf("ok: %zu workloads in %s\n", loaded.config->workloads.size(),
                  join(loaded.files, ", ").c_str());
      return kOk;
    };
  });
}

}  // namespace fallbackd::ctl
