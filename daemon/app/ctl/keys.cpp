// fallbackctl keygen
#include "app/ctl/commands.hpp"
#include "app/ctl/output.hpp"
#include "cache/crypto.hpp"
#include "sys/file.hpp"

#include <cstdio>
#include <fcntl.h>
#include <memory>

namespace fallbackd::ctl {

namespace {

struct KeygenOptions {
  std::string type = "p256";
  std::string prefix;
};

/// Never overwrites: a lost private key cannot be had again.
Result<> writeNew(const std::string& path, const std::string& text, mode_t mode) {
  const sys::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return failErrno(Stage::cli, "create " + path);
  FB_CHECK(sys::writeAll(Stage::cli, fd, text, path));
  if (::fsync(fd.get()) != 0) return failErrno(Stage::cli, "fsync " + path);
  return {};
}

Result<> generate(const KeygenOptions& options) {
  FB_TRY(const auto key, cache::PrivateKey::generate(options.type == "ed25519" ? cache::KeyType::ed25519
                                                                               : cache::KeyType::p256));
  FB_TRY(const auto privatePem, key.privatePem());
  FB_TRY(const auto publicPem, key.publicPem());
  FB_TRY(const auto publicKey, cache::PublicKey::parse(publicPem, "the new key"));
  FB_CHECK(writeNew(options.prefix + ".key", privatePem, 0600));
  FB_CHECK(writeNew(options.prefix + ".pub", publicPem, 0644));
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
  command->add_option("--out", options->prefix, "PREFIX of the two files")->required();
  command->callback([options, &run] {
    run = [options] {
      const auto done = generate(*options);
      return done ? kOk : complain(done.error());
    };
  });
}

}  // namespace fallbackd::ctl
