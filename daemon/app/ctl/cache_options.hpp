// Where cache, keys and floor are: from a configuration file, from flags, or by default.
#pragma once

#include "base/binary_ref.hpp"
#include "cache/cache.hpp"
#include "config/model.hpp"

#include <optional>
#include <set>
#include <string>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

/// A path of the command line is meant from where it was typed.
std::string fromHere(const std::string& path);

struct CacheChoice {
  config::CacheSettings settings;
  std::set<BinaryRef> configured;  // what the workloads of the configuration file name

  [[nodiscard]] cache::NamedBy namedBy(const BinaryRef& ref) const {
    return configured.contains(ref) ? cache::NamedBy::configuration : cache::NamedBy::others;
  }
};

struct CacheOptions {
  std::optional<std::string> configFile;
  std::optional<std::string> cache;
  std::optional<std::string> keys;
  std::optional<std::string> state;
  std::optional<unsigned> threshold;

  /// Adds --config, --cache, --keys, --threshold, --state to a subcommand.
  void addTo(CLI::App& command);

  /// What holds; nothing (with the reasons on stderr) where the configuration file is bad: exit 2.
  [[nodiscard]] std::optional<CacheChoice> choice() const;
};

}  // namespace fallbackd::ctl
