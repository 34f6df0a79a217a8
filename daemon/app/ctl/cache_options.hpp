// Where cache, keys and floor are: from a configuration file, from flags, or by default.
#pragma once

#include "config/model.hpp"

#include <optional>
#include <string>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

/// A path of the command line is meant from where it was typed.
std::string fromHere(const std::string& path);

struct CacheOptions {
  std::optional<std::string> configFile;
  std::optional<std::string> cache;
  std::optional<std::string> keys;
  std::optional<std::string> state;
  std::optional<unsigned> threshold;

  /// Adds --config, --cache, --keys, --threshold, --state to a subcommand.
  void addTo(CLI::App& command);

  /// The settings that hold; nothing (with the reasons on stderr) where the configuration file is bad:
  /// exit 2.
  [[nodiscard]] std::optional<config::CacheSettings> settings() const;
};

}  // namespace fallbackd::ctl
