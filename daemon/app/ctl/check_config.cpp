// SPDX-License-Identifier: Apache-2.0
// fallbackctl check-config: reads the configuration like the daemon.
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "config/load.hpp"
#include "config/provider_file.hpp"
#include "sys/file.hpp"

#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

namespace fallbackd::ctl {

namespace {

struct CheckOptions {
  std::string file = "/etc/fallbackd/fallbackd.yaml";
  std::optional<std::string> dropIns;
};

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
  command->add_option("-c,--config", options->file, "the configuration file")->capture_default_str();
  command->add_option("--drop-ins", options->dropIns, "folder of more workloads (default: conf.d beside it)");
  command->callback([options, &run] {
    run = [options] {
      const auto loaded = config::load(options->file, options->dropIns);
      for (const auto& diagnostic : loaded.diagnostics)
        std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
      if (loaded.config == nullptr) {
        complain(std::to_string(loaded.diagnostics.size()) + " problems in " +
                 std::to_string(loaded.files.size()) + " files");
        return kUsage;
      }
      const auto ofProviders = checkProviders(*loaded.config);
      for (const auto& diagnostic : ofProviders) std::fprintf(stderr, "%s\n", diagnostic.toString().c_str());
      if (!ofProviders.empty()) {
        complain("kubelet's credential providers cannot be used as they are");
        return kUsage;
      }
      std::printf("ok: %zu workloads in %zu files\n", loaded.config->workloads.size(), loaded.files.size());
      return kOk;
    };
  });
}

}  // namespace fallbackd::ctl
