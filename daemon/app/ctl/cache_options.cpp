// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/cache_options.hpp"

#include "app/ctl/output.hpp"
#include "config/load.hpp"

#include <filesystem>
#include <system_error>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

std::string fromHere(const std::string& path) {
  std::error_code failed;
  const auto whole = std::filesystem::absolute(path, failed);
  return failed ? path : whole.lexically_normal().string();
}

void CacheOptions::addTo(CLI::App& command) {
  auto* config = command.add_option("-c,--config", configFile,
                                    "read the settings from this fallbackd.yaml; binaries that its workloads "
                                    "name may be below the version floor");
  command.add_option("--drop-ins", dropIns, "its folder of more workloads (default: conf.d beside it)")
      ->needs(config);
  command.add_option("--cache", cache, "folder of binaries and attestations (default /opt/bin/fallback)");
  command.add_option("--keys", keys, "folder of public keys (default /etc/fallbackd/keys)");
  command.add_option("--threshold", threshold, "number of different keys that must have signed (default 1)")
      ->check(CLI::Range(1U, config::kMaxThreshold));
  command.add_option("--state", state, "folder of the version floor (default /var/lib/fallbackd)");
}

std::optional<CacheChoice> CacheOptions::choice() const {
  CacheChoice choice;
  auto& settings = choice.settings;
  if (configFile) {
    const auto loaded = config::load(*configFile, dropIns);
    for (const auto& diagnostic : loaded.diagnostics) complain(diagnostic.toString());
    if (loaded.config == nullptr) return std::nullopt;
    settings = loaded.config->cache;
    for (const auto& workload : loaded.config->workloads) choice.configured.insert(workload.binary);
  }
  if (cache) settings.path = fromHere(*cache);
  if (keys) settings.keys = fromHere(*keys);
  if (state) settings.state = fromHere(*state);
  if (threshold) settings.threshold = *threshold;
  return choice;
}

}  // namespace fallbackd::ctl
