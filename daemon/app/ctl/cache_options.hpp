// SPDX-License-Identifier: Apache-2.0
// The location of cache, keys and floor: from a configuration file, from options, or the default.
#pragma once

#include "cache/cache.hpp"
#include "config/model.hpp"
#include "domain/binary_ref.hpp"

#include <optional>
#include <set>
#include <string>

namespace CLI {
class App;
}

namespace fallbackd::ctl {

/// A path on the command line is relative to the working directory.
std::string fromHere(const std::string& path);

struct CacheChoice {
  config::CacheSettings settings;
  std::set<BinaryRef> configured;  // named by the workloads of the configuration file

  [[nodiscard]] cache::NamedBy namedBy(const BinaryRef& ref) const {
    return configured.contains(ref) ? cache::NamedBy::configuration : cache::NamedBy::others;
  }
};

struct CacheOptions {
  std::optional<std::string> configFile;
  std::optional<std::string> dropIns;
  std::optional<std::string> cache;
  std::optional<std::string> keys;
  std::optional<std::string> state;
  std::optional<unsigned> threshold;

  /// Adds --config, --drop-ins, --cache, --keys, --threshold, --state to a subcommand.
  void addTo(CLI::App& command);

  /// The resulting settings; empty (reasons on stderr, exit code 2) if the configuration file is invalid.
  [[nodiscard]] std::optional<CacheChoice> choice() const;
};

}  // namespace fallbackd::ctl
