// SPDX-License-Identifier: Apache-2.0
// Private keys of the command line, and the passphrases of encrypted ones: from a file, from the environment
// or from the terminal. Never from the command line, which every process of the machine can read.
#pragma once

#include "base/error.hpp"
#include "cache/crypto.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace fallbackd::ctl {

inline constexpr const char* kPassphraseVariable = "FALLBACKD_KEY_PASSPHRASE";

struct PrivateKeyOptions {
  std::string file;
  std::optional<std::string> passphraseFile;

  /// Adds --key and --passphrase-file to a subcommand.
  void addTo(CLI::App& command);
};

/// Asks for a passphrase only if the key is encrypted. Stage cli; reasons of PrivateKey::parse() and
/// passphraseOf().
Result<cache::PrivateKey> readPrivateKey(const PrivateKeyOptions& options);

enum class Ask : std::uint8_t { once, twice };

/// The first line of the file, or the variable, or what a person types on the terminal, without echo; for a
/// new passphrase, twice. Stage cli; reasons usage (empty, no terminal, two that differ), cancelled (Ctrl-C).
Result<std::string> passphraseOf(const std::optional<std::string>& file, const std::string& what, Ask ask);

}  // namespace fallbackd::ctl
