// SPDX-License-Identifier: Apache-2.0
// fallbackctl keygen
#include "app/ctl/commands.hpp"
#include "app/ctl/new_file.hpp"
#include "app/ctl/output.hpp"
#include "app/ctl/private_key.hpp"
#include "base/clock.hpp"
#include "base/strings.hpp"
#include "cache/crypto.hpp"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>

#include <CLI/CLI.hpp>

namespace fallbackd::ctl {

namespace {

struct KeygenOptions {
  std::string type = "p256";
  std::string prefix;
  std::optional<std::string> notBefore;
  std::optional<std::string> notAfter;
  bool encrypt = false;
  std::optional<std::string> passphraseFile;
};

/// The line in a key file that limits the key's time.
Result<std::string> limit(const std::string& name, const std::optional<std::string>& date) {
  if (!date) return std::string();
  const auto when = parseDate(*date);
  if (!when) {
    return fail(
        Stage::cli, Reason::usage,
        "--" + name + " " + fallbackd::quoted(*date) + " is not a date like 2027-01-31, from 2000 to 9999");
  }
  return "fallbackd-" + name + ": " + rfc3339(*when) + "\n";
}

Result<> generate(const KeygenOptions& options) {
  if (options.passphraseFile && !options.encrypt) {
    return fail(Stage::cli, Reason::usage, "--passphrase-file is for --encrypt");
  }
  FB_TRY(const auto notBefore, limit("not-before", options.notBefore));
  FB_TRY(const auto notAfter, limit("not-after", options.notAfter));
  FB_TRY(const auto key, cache::PrivateKey::generate(options.type == "ed25519" ? cache::KeyType::ed25519
                                                                               : cache::KeyType::p256));
  std::string passphrase;
  if (options.encrypt) {
    FB_TRY(passphrase, passphraseOf(options.passphraseFile, options.prefix + ".key", Ask::twice));
  }
  FB_TRY(const auto privatePem, options.encrypt ? key.encryptedPem(passphrase) : key.privatePem());
  FB_TRY(const auto publicPem, key.publicPem());
  FB_TRY(const auto publicKey, cache::PublicKey::parse(publicPem, "the new key"));
  FB_CHECK(writeNewFile(options.prefix + ".key", privatePem, 0600));
  auto both = writeNewFile(options.prefix + ".pub", notBefore + notAfter + publicPem, 0644);
  // The user does not know of this private key, and the next attempt would not replace it.
  if (!both) static_cast<void>(::unlink((options.prefix + ".key").c_str()));
  FB_CHECK(std::move(both));
  std::printf(
      "%s.key  keep it secret; it signs\n%s.pub  goes into the keys folder of every node\nfingerprint %s\n",
      options.prefix.c_str(), options.prefix.c_str(), publicKey.fingerprintHex().c_str());
  return {};
}

}  // namespace

void addKeygen(CLI::App& app, Run& run) {
  auto options = std::make_shared<KeygenOptions>();
  auto* command = app.add_subcommand("keygen", "make a key pair: PREFIX.key and PREFIX.pub");
  command->add_option("--type", options->type, "p256 or ed25519")
      ->check(CLI::IsMember({"p256", "ed25519"}))
      ->capture_default_str();
  command->add_option("--not-before", options->notBefore, "a date: the key is not valid before it");
  command->add_option("--not-after", options->notAfter,
                      "a date: the key's signatures are not valid after it");
  command->add_flag("--encrypt", options->encrypt, "encrypt the private key with a passphrase (PKCS#8)");
  command->add_option("--passphrase-file", options->passphraseFile,
                      "its first line is the passphrase; without it, the variable " +
                          std::string(kPassphraseVariable) + " has it, or you are asked, twice");
  command->add_option("--out", options->prefix, "PREFIX of the two files")->required();
  command->callback([options, &run] { run = [options] { return exitCodeOf(generate(*options)); }; });
}

}  // namespace fallbackd::ctl
