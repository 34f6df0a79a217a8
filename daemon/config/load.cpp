// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"

#include "base/strings.hpp"
#include "config/files.hpp"
#include "config/names.hpp"
#include "config/raw.hpp"
#include "config/raw_parts.hpp"
#include "config/validate.hpp"

#include <utility>

namespace fallbackd::config {

std::string defaultDropInDir(const std::string& mainFile) {
  const auto slash = mainFile.rfind('/');
  return slash == std::string::npos ? "conf.d" : mainFile.substr(0, slash) + "/conf.d";
}

Loaded load(const std::string& mainFile, const std::optional<std::string>& dropInDir,
            const std::optional<std::string>& listen, const std::optional<std::string>& sources) {
  Loaded loaded;
  Problems problems;
  auto config = std::make_shared<Config>();
  if (listen) {
    if (!isSocketAddress(*listen)) {
      problems.add({"--listen", 0, 0}, quoted(*listen) + " is not ADDRESS:PORT", "for example 0.0.0.0:9477");
    }
    config->telemetry.listen = *listen;
  }
  // A Config that is not loaded from files keeps the model's default: never.
  config->settle = Settle::automatic;
  std::vector<RawWorkload> workloads;

  const auto readOne = [&](const std::string& file, bool dropIn) {
    loaded.files.push_back(file);
    if (const auto text = readText(file, problems)) {
      readDocument(file, *text, dropIn, *config, workloads, problems);
    }
  };
  const auto folder = dropInDir.value_or(defaultDropInDir(mainFile));
  loaded.metadata = metadataOf(mainFile, folder);
  readOne(mainFile, false);
  for (const auto& file : listDropIns(folder, dropInDir.has_value(), problems)) readOne(file, true);

  if (sources && config->kubernetes.sources.empty()) {
    for (const auto word : split(*sources, ',')) {
      const auto source = podSourceOf(word);
      if (source) {
        config->kubernetes.sources.push_back(*source);
      } else {
        problems.add({"--sources", 0, 0}, quoted(word) + " is not a source of pods", "kubelet or apiserver");
      }
    }
  }
  compareWorkloads(workloads, problems);
  for (auto& raw : workloads) config->workloads.push_back(std::move(raw.workload));
  loaded.diagnostics = problems.take();
  if (loaded.diagnostics.empty()) loaded.config = std::move(config);
  return loaded;
}

}  // namespace fallbackd::config
