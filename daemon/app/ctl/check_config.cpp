// SPDX-License-Identifier: Apache-2.0
// fallbackctl check-config: reads the configuration like the daemon.
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "config/load.hpp"

#include <cstdio>
#include <memory>
#include <optional>

namespace fallbackd::ctl {

namespace {

struct CheckOptions {
  std::string file = "/etc/fallbackd/fallbackd.yaml";
  std::optional<std::string> dropIns;
};

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
      std::printf("ok: %zu workloads in %zu files\n", loaded.config->workloads.size(), loaded.files.size());
      return kOk;
    };
  });
}

}  // namespace fallbackd::ctl
